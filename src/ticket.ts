/**
 * Tickets: what is posted to a Worker so that it can open an endpoint of a channel.
 *
 * @module
 */

import { Limits, StructBytes } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { checkInteger } from "./check.ts";
import { LayoutError, TicketError } from "./errors.ts";
import { describe } from "./describe.ts";
import type { BatchOf, Layout, LayoutSpec } from "./layout.ts";
import { layoutOf } from "./layout_of.ts";
import { checkPlace, type NumaMode } from "./numa.ts";
import { type PoolLink, poolLinkOf } from "./pool.ts";
import { copyOfWords, isSharedArrayBuffer } from "./typed_array.ts";
import { checkPollBudget, type PollBudget } from "./waiter.ts";
import { checkStrategy, type WaitStrategy } from "./wait_strategy.ts";

/** What whoever opens an endpoint elsewhere is told of the channel. Plain data. */
export interface Terms {
  /** How the channel's values are laid out. */
  readonly layout: LayoutSpec;
  /** The channel's wait strategy for blocking calls. */
  readonly wait: WaitStrategy;
  /** The channel's polling budget for async waits. */
  readonly pollBudget: PollBudget;
  /** How many messages a receiver claims at once. */
  readonly claim: number;
  /** The channel's `numa`, if it was given. */
  readonly numa?: NumaMode;
  /** The node of the channel's `node`, which receivers keep to unless told otherwise. */
  readonly node?: "local" | number;
}

/** What every ticket carries. Plain data: it survives `postMessage`. */
export interface Ticket extends Terms {
  /** Marks the object as a ticket, and says for what. */
  readonly millrace: "sender" | "receiver";
  /** The right itself; good once, in the process that issued it. */
  readonly right: BigUint64Array;
  /** The channel's bells. */
  readonly bells: SharedArrayBuffer;
  /** The pool the channel's messages go through, if there is one. */
  readonly pool?: PoolLink;
  /** The file of the native library that issued it. */
  readonly library?: string;
}

/**
 * A one-shot right to open a sender: post it to a Worker and give it to {@linkcode Sender.open}
 * there.
 */
export interface SenderTicket<Value, Batch = BatchOf<Value>> extends Ticket {
  /** Marks the object as a sender's ticket. */
  readonly millrace: "sender";
  /** Only for the type checker: nothing is stored here. */
  readonly types?: readonly [Value, Batch];
}

/**
 * A one-shot right to open the receiver: post it to a Worker and give it to
 * {@linkcode Receiver.open} there.
 */
export interface ReceiverTicket<Value, Batch = BatchOf<Value>> extends Ticket {
  /** Marks the object as a receiver's ticket. */
  readonly millrace: "receiver";
  /** Only for the type checker: nothing is stored here. */
  readonly types?: readonly [Value, Batch];
}

/**
 * Checks the form of what is said to be a ticket; whether it is genuine the library says. What is returned
 * is a copy: each part was looked at once, and is what was checked.
 */
export function checkTicket(ticket: unknown, kind: Ticket["millrace"]): Ticket {
  const { millrace, layout, bells, wait, pollBudget, claim, numa, node, library, ...rest } =
    (ticket ?? {}) as Partial<Ticket>;
  const right = copyOfWords(rest.right, StructBytes.ticket / 8);
  if (millrace !== "sender" && millrace !== "receiver") {
    throw new TypeError(`Cannot open a ${kind}: expected a ticket, received ${describe(ticket)}`);
  }
  if (millrace !== kind) {
    throw new TicketError(
      "TICKET_ROLE",
      `Cannot open a ${kind}: this ticket is for a ${millrace}; open it as one`,
    );
  }
  const isWhole = right !== undefined &&
    typeof layout === "object" && layout !== null &&
    (library === undefined || typeof library === "string") &&
    isSharedArrayBuffer(bells) && bells.byteLength <= Bells.bytesOf(Limits.senders);
  if (!isWhole) {
    throw new TicketError(
      "TICKET_FORGED",
      `Cannot open a ${kind}: this ticket was not issued by Millrace; post it as it was issued`,
    );
  }
  try {
    const terms = { layout: structuredClone(layout), wait, pollBudget, claim, numa, node };
    checkTerms(terms);
    const pool = poolLinkOf(rest.pool);
    if (pool === undefined && (rest.pool !== undefined || terms.layout.kind === "slab")) {
      throw new TypeError(
        `Cannot open the ticket: expected the pool of the channel, received ${describe(rest.pool)}`,
      );
    }
    return { millrace, right, bells, library, pool, ...terms } as Ticket;
  } catch (cause) {
    const message = `Cannot open a ${kind}: the ticket was altered; post it as it was issued`;
    throw new TicketError("TICKET_FORGED", message, { cause });
  }
}

/** Throws if it is nothing that a channel says of itself. */
export function checkTerms({ wait, pollBudget, claim, numa, node }: Partial<Terms>): void {
  checkStrategy(wait);
  checkPollBudget(pollBudget);
  checkInteger("receive", "claim", claim, 1);
  checkPlace("open an endpoint", { numa, node });
}

/** The layout a ticket carries; one that no channel can have means that it was altered. */
export function layoutOfTicket<Value, Batch>(
  ticket: Ticket,
): Layout<Value, Batch> {
  try {
    return layoutOf(ticket.layout) as Layout<Value, Batch>;
  } catch (cause) {
    if (cause instanceof LayoutError) throw cause;
    const message =
      `Cannot open a ${ticket.millrace}: the ticket was altered; post it as it was issued`;
    throw new TicketError("TICKET_FORGED", message, { cause });
  }
}

/** Whether a ticket's plain parts agree with the channel its right is for. */
export function isConsistent(
  ticket: Ticket,
  slotBytes: number,
  maxSenders: number,
  codecSlotBytes: number,
): boolean {
  return slotBytes === codecSlotBytes && Bells.fits(ticket.bells, maxSenders);
}
