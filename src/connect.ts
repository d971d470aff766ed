/**
 * Connecting to a channel that another process shares.
 *
 * @module
 */

import { Limits, Role, StructBytes } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { recordSlotBytes } from "./codec.ts";
import { Endpoint, type EndpointInfo, openInfo } from "./endpoint.ts";
import { ConnectError, LayoutError } from "./errors.ts";
import { codecOf, describe, type Layout } from "./layout.ts";
import { layoutOf } from "./layout_of.ts";
import { check, errorOf, native } from "./native.ts";
import {
  checkPlace as checkNode,
  checkReceiverPlace,
  encodePlace,
  type PlaceOptions,
} from "./numa.ts";
import { checkAnswer, checkPlace, putUsers } from "./place.ts";
import { checkTerms, type Terms } from "./ticket.ts";

/** Where a channel is shared: an address, or the other end of a connected pair of sockets. */
export type ConnectPlace = string | { readonly fd: number };

/**
 * Options of {@linkcode Sender.connect} and {@linkcode Receiver.connect}; among them the NUMA node that
 * a sender's ring, or what receivers write, is to lie on.
 */
export interface ConnectOptions<Value, Batch = Value[]> extends PlaceOptions {
  /**
   * What the channel's values must be laid out as; anything unless given. A channel that native code
   * shares does not say, so there it is needed.
   */
  readonly layout?: Layout<Value, Batch>;
  /** How long to wait for the other side, in milliseconds; 5000 unless given. */
  readonly timeout?: number;
  /** Aborts: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Users, by number, whose channels are good beside those of this user and of the superuser. */
  readonly users?: readonly number[];
}

/** What is connected, and what the other side says of it. */
export interface Connected<Value, Batch> {
  readonly endpoint: Endpoint;
  readonly layout: Layout<Value, Batch>;
  readonly terms: Terms;
}

const timeoutDefaultMs = 5000;
/** The other side mostly answers within a fraction of that: until then it is looked for every turn. */
const pollEveryTurnMs = 2;
const pollLeastMs = 1;
const pollMostMs = 10;

/** Opens an endpoint of a channel in another process. Never blocks the event loop. */
export async function connect<Value, Batch>(
  role: "sender" | "receiver",
  place: ConnectPlace,
  options: ConnectOptions<Value, Batch>,
): Promise<Connected<Value, Batch>> {
  const action = `connect a ${role}`;
  const { address, addressBytes, fd } = checkPlace(action, place);
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `Cannot ${action}: options must be an object, received ${describe(options)}`,
    );
  }
  const { layout, timeout = timeoutDefaultMs, signal, users = [] } = options;
  if (layout !== undefined) codecOf(layout);
  checkNode(action, options);
  if (typeof timeout !== "number" || !(timeout >= 0)) {
    throw new RangeError(
      `Cannot ${action}: timeout must be a number of milliseconds, received ${describe(timeout)}`,
    );
  }
  signal?.throwIfAborted();
  const words = new Uint32Array(StructBytes.connectOptions / 4);
  words[0] = Role[role];
  words[1] = fd;
  putUsers(action, users, words, 2);
  const to = `${action} to ${typeof place === "string" ? describe(place) : `the descriptor ${fd}`}`;
  const { symbols } = native();
  const handle = checkAnswer(symbols.millrace_connect_begin(words, address, addressBytes), to);
  let isOpen = false;
  try {
    await answered(handle, to, timeout, signal);
    const { terms, found } = readTerms(handle, to, layout);
    const wanted = role === "sender"
      ? checkNode(action, options, terms.numa)
      : checkReceiverPlace(options, terms);
    const { info, bells } = finish(handle, to, encodePlace(wanted));
    isOpen = true;
    const endpoint = new Endpoint(info, bells);
    const codec = codecOf(found);
    if (info.slotBytes !== (codec.kind === "fixed" ? codec.slotBytes : recordSlotBytes)) {
      endpoint.close();
      throw otherLayout(to, "the memory is for another layout than it says");
    }
    return { endpoint, layout: found, terms };
  } finally {
    if (!isOpen) symbols.millrace_endpoint_close(handle);
  }
}

/** Resolves when the other side has let this one in. */
async function answered(
  handle: number,
  action: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { symbols } = native();
  const start = performance.now();
  let pauseMs = pollLeastMs;
  while (true) {
    const answer = symbols.millrace_connect_poll(handle);
    if (answer < 0) throw errorOf(answer, action);
    if (answer > 0) return;
    const waitedMs = performance.now() - start;
    if (waitedMs >= timeoutMs) {
      throw new ConnectError(
        "TIMEOUT",
        `Cannot ${action}: the other side did not answer within ${timeoutMs} ms`,
      );
    }
    if (waitedMs < pollEveryTurnMs) {
      await new Promise<void>((resolve) => setImmediate(resolve));
    } else {
      await new Promise<void>((resolve) => setTimeout(resolve, pauseMs));
      pauseMs = Math.min(2 * pauseMs, pollMostMs);
    }
    signal?.throwIfAborted();
  }
}

/** What the other side says of the channel, which may be anything. */
function readTerms<Value, Batch>(
  handle: number,
  action: string,
  expected: Layout<Value, Batch> | undefined,
): { terms: Terms; found: Layout<Value, Batch> } {
  const buffer = new Uint8Array(Limits.descriptorBytes);
  const length = check(
    native().symbols.millrace_connect_descriptor(handle, buffer, buffer.length),
    action,
  );
  if (length === 0) {
    // Native code shares it.
    if (expected === undefined) {
      throw otherLayout(action, "the other side does not say how its values are laid out: name it");
    }
    const terms: Terms = {
      layout: expected.spec,
      wait: "phased",
      pollBudget: "adaptive",
      claim: 1,
    };
    return { terms, found: expected };
  }
  let terms: Terms;
  let found: Layout<Value, Batch>;
  try {
    terms = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(buffer.subarray(0, length)),
    );
    checkTerms(terms);
    found = layoutOf(terms.layout) as Layout<Value, Batch>;
  } catch (cause) {
    if (cause instanceof LayoutError) throw cause;
    throw new ConnectError(
      "NOT_UNDERSTOOD",
      `Cannot ${action}: what the other side says of its values makes no sense`,
      { cause },
    );
  }
  if (expected === undefined) return { terms, found };
  const [theirs, ours] = [JSON.stringify(found.spec), JSON.stringify(expected.spec)];
  if (theirs === ours) return { terms, found: expected };
  throw otherLayout(action, `its values are ${describe(theirs)}, expected ${describe(ours)}`);
}

function otherLayout(action: string, because: string): ConnectError {
  return new ConnectError("LAYOUT", `Cannot ${action}: ${because}`);
}

function finish(
  handle: number,
  action: string,
  place: Uint32Array,
): { info: EndpointInfo; bells: Bells } {
  // Nobody else has them: other processes wake by the memory itself.
  let bells = new Bells(1);
  const info = openInfo(
    action,
    bells,
    (symbols, info) => symbols.millrace_connect_finish_at(handle, place, info),
  );
  bells = new Bells(info.maxSenders);
  return { info, bells };
}
