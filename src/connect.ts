/**
 * Connecting to a channel that another process shares.
 *
 * @module
 */

import { Bells } from "./bells.ts";
import { recordSlotBytes } from "./codec.ts";
import { checkOptions } from "./check.ts";
import {
  type ConnectPlace,
  dial,
  type Dialed,
  type PoolConnectOptions,
  readDescriptor,
} from "./dial.ts";
import { Endpoint, openInfo } from "./endpoint.ts";
import { ConnectError, LayoutError } from "./errors.ts";
import { describe } from "./describe.ts";
import { type BatchOf, codecOf, type Layout } from "./layout.ts";
import { layoutDifference } from "./layout_difference.ts";
import { layoutOf } from "./layout_of.ts";
import { checkPlace, checkReceiverPlace, encodePlace, type PlaceOptions } from "./numa.ts";
import { connectedPool, type PoolLink } from "./pool.ts";
import { checkTerms, type Terms } from "./ticket.ts";

/**
 * Options of {@linkcode Sender.connect} and {@linkcode Receiver.connect}; among them the NUMA node that
 * a sender's ring, or what receivers write, is to lie on.
 */
export interface ConnectOptions<Value, Batch = BatchOf<Value>>
  extends PoolConnectOptions, PlaceOptions {
  /**
   * What the channel's values must be laid out as; anything unless given. A channel that native code
   * shares does not say, so there it is needed.
   */
  readonly layout?: Layout<Value, Batch>;
}

/** What is connected, and what the other side says of it. */
export interface Connected<Value, Batch> {
  readonly endpoint: Endpoint;
  readonly layout: Layout<Value, Batch>;
  readonly terms: Terms;
  /** The pool the channel's messages go through, if there is one. */
  readonly pool: PoolLink | undefined;
}

/** What a share says of its channel. */
export interface SharedTerms extends Terms {
  /** Messages of more bytes go through the channel's pool; undefined: there is none. */
  readonly threshold?: number;
}

/** Opens an endpoint of a channel in another process. Never blocks the event loop. */
export async function connect<Value, Batch>(
  role: "sender" | "receiver",
  place: ConnectPlace,
  options: ConnectOptions<Value, Batch>,
): Promise<Connected<Value, Batch>> {
  const { layout } = checkOptions(`connect a ${role}`, options);
  if (layout !== undefined) codecOf(layout);
  checkPlace(`connect a ${role}`, options);
  return await dial(role, place, options, (dialed) => open(dialed, role, options));
}

function open<Value, Batch>(
  dialed: Dialed,
  role: "sender" | "receiver",
  options: ConnectOptions<Value, Batch>,
): Connected<Value, Batch> {
  const { terms, found } = readTerms(dialed, options.layout);
  const { action, handle } = dialed;
  const wanted = encodePlace(
    role === "sender"
      ? checkPlace(`connect a ${role}`, options, terms.numa)
      : checkReceiverPlace(options, terms),
  );
  // Nobody else has them: other processes wake by the memory itself.
  const info = openInfo(
    action,
    new Bells(1),
    (symbols, info) => symbols.millrace_connect_finish_at(handle, wanted, info),
  );
  const endpoint = new Endpoint(info, new Bells(info.maxSenders));
  const codec = codecOf(found);
  if (info.slotBytes !== (codec.kind === "fixed" ? codec.slotBytes : recordSlotBytes)) {
    throw otherLayout(
      action,
      "the memory is for another layout than it says; look at who listens there",
    );
  }
  const { threshold } = terms;
  const pool = threshold === undefined ? undefined : connectedPool(threshold);
  return { endpoint, layout: found, terms, pool };
}

/** What the other side says of the channel, which may be anything. */
function readTerms<Value, Batch>(
  dialed: Dialed,
  expected: Layout<Value, Batch> | undefined,
): { terms: SharedTerms; found: Layout<Value, Batch> } {
  let unregistered: LayoutError | undefined;
  const said = readDescriptor(dialed, (said) => {
    const terms = said as SharedTerms;
    checkTerms(terms);
    checkThreshold(terms);
    try {
      return { terms, found: layoutOf(terms.layout) as Layout<Value, Batch> };
    } catch (error) {
      if (!(error instanceof LayoutError)) throw error;
      unregistered = error;
    }
  });
  if (unregistered !== undefined) throw unregistered;
  const { action } = dialed;
  if (said === undefined) {
    // Native code shares it.
    if (expected === undefined) {
      throw otherLayout(
        action,
        "the other side does not say how its values are laid out; name it in the option layout",
      );
    }
    const terms: Terms = {
      layout: expected.spec,
      wait: "phased",
      pollBudget: "adaptive",
      claim: 1,
    };
    return { terms, found: expected };
  }
  const { terms, found } = said;
  if (expected === undefined) return { terms, found };
  const difference = layoutDifference(found.spec, expected.spec);
  if (difference === undefined) return { terms, found: expected };
  throw otherLayout(action, `${difference}; use one layout on both sides`);
}

function checkThreshold({ layout, threshold }: SharedTerms): void {
  const isSlab = layout?.kind === "slab";
  if (threshold === undefined ? !isSlab : typeof threshold === "number" && threshold >= 0) return;
  throw new TypeError(
    `Cannot connect: expected the pool of the channel, received ${describe(threshold)}`,
  );
}

function otherLayout(action: string, because: string): ConnectError {
  return new ConnectError("LAYOUT", `Cannot ${action}: ${because}`);
}
