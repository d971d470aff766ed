/**
 * What a channel counts.
 *
 * @module
 */

import { StructBytes } from "../ffi/abi.ts";
import type { Endpoint } from "./endpoint.ts";
import { check } from "./native.ts";

/** Counters of a channel, over all its rings; read one after the other, not at one instant. */
export interface Statistics {
  /** Messages sent since the channel was created. */
  readonly sent: number;
  /** Messages received. */
  readonly received: number;
  /** Messages sent and not yet received. */
  readonly size: number;
  /** Slots in use: values, or 8-byte slots for layouts of variable length. */
  readonly slotsUsed: number;
  /** Batches published: native commits. */
  readonly commits: number;
  /** Batches given back: native releases. */
  readonly releases: number;
  /** How often a sender found its ring full. */
  readonly timesFull: number;
  /** How often a sender went to sleep for want of room. */
  readonly timesSlept: number;
  /** Senders open now. */
  readonly senders: number;
  /** Senders open, and tickets for senders that have not been used. */
  readonly senderReferences: number;
  /** Tickets for the receiver that have not been used. */
  readonly receiverTickets: number;
  /** Whether the receiver has not been opened, is open, or is gone. */
  readonly receiver: "none" | "open" | "gone";
  /** Why the channel is closed; `"open"` when it is not. */
  readonly closed: "open" | "closed" | "senders gone" | "receiver gone";
  /** Whether nothing is left to receive, or nobody to receive it. */
  readonly drained: boolean;
}

const closeStates = ["open", "closed", "senders gone", "receiver gone"] as const;
const receiverStates = ["none", "open", "gone"] as const;

/** Reads the counters of the endpoint's channel. */
export function readStatistics(endpoint: Endpoint): Statistics {
  const words = new BigUint64Array(StructBytes.statistics / 8);
  check(
    endpoint.symbols.millrace_endpoint_statistics(endpoint.handle, words),
    "read the statistics of a channel",
  );
  const [
    sent = 0,
    received = 0,
    commits = 0,
    releases = 0,
    timesFull = 0,
    timesSlept = 0,
    slotsUsed = 0,
    senders = 0,
    closeState = 0,
    receiverState = 0,
    drained = 0,
    senderReferences = 0,
    receiverTickets = 0,
  ] = Array.from(words, Number);
  return {
    sent,
    received,
    // The receiver may have moved on between the two counts.
    size: Math.max(0, sent - received),
    slotsUsed,
    commits,
    releases,
    timesFull,
    timesSlept,
    senders,
    senderReferences,
    receiverTickets,
    receiver: receiverStates[receiverState] ?? "gone",
    closed: closeStates[closeState] ?? "closed",
    drained: drained !== 0,
  };
}
