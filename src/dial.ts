/**
 * How one process reaches what another shares: an address or a socket, a bounded wait for the answer,
 * and what the other side says of itself.
 *
 * @module
 */

import { Limits, Role, StructBytes } from "../ffi/abi.ts";
import { checkDuration, checkOptions } from "./check.ts";
import { ConnectError } from "./errors.ts";
import { check, errorOf, native } from "./native.ts";
import { checkAnswer, checkPlace, putUsers } from "./place.ts";
import { noteClosed, noteOpened } from "./reload.ts";
import { nowMs, setImmediate, setTimeout } from "./timers.ts";

/** Where something is shared: an address, or the other end of a connected pair of sockets. */
export type ConnectPlace = string | { readonly fd: number };

/** Options of {@linkcode Pool.connect}, and of everything that connects. */
export interface PoolConnectOptions {
  /** How long to wait for the other side, in milliseconds; 5000 unless given. */
  readonly timeout?: number;
  /** Aborts: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Users, by number, whose shares are good beside those of this user and of the superuser. */
  readonly users?: readonly number[];
}

/** What a connection leads to, before it is opened. */
export interface Dialed {
  /** The connection's handle, and then the endpoint's. */
  readonly handle: number;
  /** What is being done, for errors. */
  readonly action: string;
}

const timeoutDefaultMs = 5000;
/** The other side mostly answers within a fraction of that: until then it is looked for every turn. */
const pollEveryTurnMs = 2;
const pollLeastMs = 1;
const pollMostMs = 10;

/**
 * Connects, and has `open` do the rest once the other side has answered. Never blocks the event loop. If
 * `open` throws, the connection is given up.
 */
export async function dial<Opened>(
  role: keyof typeof Role,
  place: ConnectPlace,
  options: PoolConnectOptions,
  open: (dialed: Dialed) => Opened,
): Promise<Opened> {
  const what = `connect a ${role}`;
  const { address, addressBytes, fd } = checkPlace(what, place);
  const { timeout = timeoutDefaultMs, signal, users = [] } = checkOptions(what, options);
  checkDuration(what, "timeout", timeout, "milliseconds");
  signal?.throwIfAborted();
  const words = new Uint32Array(StructBytes.connectOptions / 4);
  words[0] = Role[role];
  words[1] = fd;
  putUsers(what, users, words, 2);
  const action = `${what} to ${
    typeof place === "string" ? JSON.stringify(place) : `the descriptor ${fd}`
  }`;
  const { symbols } = native();
  const handle = checkAnswer(symbols.millrace_connect_begin(words, address, addressBytes), action);
  let isOpen = false;
  const pending = { abandon: () => void symbols.millrace_endpoint_abandon(handle) };
  noteOpened(pending);
  try {
    await answered(handle, action, timeout, signal);
    const opened = open({ handle, action });
    isOpen = true;
    return opened;
  } finally {
    noteClosed(pending);
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
  const start = nowMs();
  let pauseMs = pollLeastMs;
  while (true) {
    const answer = symbols.millrace_connect_poll(handle);
    if (answer < 0) throw errorOf(answer, action);
    if (answer > 0) return;
    const waitedMs = nowMs() - start;
    if (waitedMs >= timeoutMs) {
      throw new ConnectError(
        "TIMEOUT",
        `Cannot ${action}: the other side did not answer within ${timeoutMs} ms; ` +
          "give it a longer timeout, or look whether it runs",
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

/**
 * What the other side says of what it shares, as data that may be anything; undefined if it is native
 * code, which says nothing. `read` checks it, and throws if it makes no sense.
 */
export function readDescriptor<Read>(
  { handle, action }: Dialed,
  read: (said: unknown) => Read,
): Read | undefined {
  const buffer = new Uint8Array(Limits.descriptorBytes);
  const length = check(
    native().symbols.millrace_connect_descriptor(handle, buffer, buffer.length),
    action,
  );
  if (length === 0) return undefined;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(buffer.subarray(0, length));
    return read(JSON.parse(text));
  } catch (cause) {
    throw new ConnectError(
      "NOT_UNDERSTOOD",
      `Cannot ${action}: what the other side says of what it shares makes no sense; ` +
        "look at who listens there",
      { cause },
    );
  }
}

/** The other way: what every process that connects is told. */
export function encodeDescriptor(
  action: string,
  said: { readonly pollBudget: unknown },
): Uint8Array {
  const { pollBudget } = said;
  // JSON has no infinity.
  const budget = pollBudget === Infinity ? Number.MAX_VALUE : pollBudget;
  const encoded = new TextEncoder().encode(JSON.stringify({ ...said, pollBudget: budget }));
  if (encoded.length <= Limits.descriptorBytes) return encoded;
  throw new RangeError(
    `Cannot ${action}: the description of its layout must take at most ${Limits.descriptorBytes} ` +
      `bytes, received one of ${encoded.length}; take shorter names of fields`,
  );
}
