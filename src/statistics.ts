/**
 * What a channel counts.
 *
 * @module
 */

import { Limits, Status, StructBytes } from "../ffi/abi.ts";
import type { Endpoint } from "./endpoint.ts";
import { countOf, type LatencyBucket, type Quantiles, quantilesOf } from "./histogram.ts";
import { check } from "./native.ts";

/**
 * Counters of a channel since it was created, over all its rings; read one after the other, not at
 * one instant.
 */
export interface Statistics {
  /** Messages sent. */
  readonly sent: number;
  /** Messages received, and given back by the receiver. */
  readonly received: number;
  /** Messages sent and not yet received. */
  readonly size: number;
  /**
   * Bytes of the ring that the messages sent took: the bytes of a value for fixed layouts; for
   * layouts of variable length the payload, filled up to a multiple of 8, and 8 bytes in front of it.
   * Of a message that went through a pool only what stands for it in the ring.
   */
  readonly bytesSent: number;
  /** Bytes received, counted in the same way. */
  readonly bytesReceived: number;
  /** Slots in use: values, or 8-byte slots for layouts of variable length. */
  readonly slotsUsed: number;
  /**
   * The most slots of one ring that were seen in use: by a receiver whenever it looks for messages,
   * by a sender whenever it looks for room. Never more than there were; a ring that was found full is
   * never missed, a peak that both looked past is.
   */
  readonly highWater: number;
  /** Batches published: native commits. */
  readonly commits: number;
  /** Batches given back: native releases. */
  readonly releases: number;
  /** The most messages published at once. */
  readonly largestBatch: number;
  /** How often a sender found its ring full. */
  readonly timesFull: number;
  /**
   * How often a sender went to sleep for want of room. A call that blocks looks up five times a
   * second, and each time counts.
   */
  readonly timesSlept: number;
  /** How often a receiver went to sleep for want of messages, counted in the same way. */
  readonly receiverTimesSlept: number;
  /** How often somebody woke a sender that slept: a receiver that made room, or a close. */
  readonly senderWakeUps: number;
  /** How often somebody woke a receiver that slept: a sender, or a close. */
  readonly receiverWakeUps: number;
  /** Wake-ups of senders and receivers together. What does not sleep is not woken. */
  readonly wakeUps: number;
  /**
   * Messages that a receiver had claimed when its thread died, and that were offered to the others
   * again. Always 0 for the kinds with one receiver.
   */
  readonly redelivered: number;
  /**
   * Messages that their sender dropped to make room, by {@linkcode Sender.forceSend}: they were sent, and
   * not received.
   */
  readonly dropped: number;
  /** Senders open now; those that are still to be closed after the channel was do not count. */
  readonly senders: number;
  /** Receivers open now. */
  readonly receivers: number;
  /** Senders open, and tickets for senders that have not been used. */
  readonly senderReferences: number;
  /** Tickets for receivers that have not been used. */
  readonly receiverTickets: number;
  /** Whether a receiver has not been opened yet, is open, or is gone. */
  readonly receiver: "none" | "open" | "gone";
  /** Why the channel is closed; `"open"` when it is not. */
  readonly closed: "open" | "closed" | "senders gone" | "receiver gone" | "corrupt" | "peer died";
  /** Whether nothing is left to receive, or nobody to receive it. */
  readonly drained: boolean;
  /** The rings that have a sender, or hold what a sender that is gone has left. */
  readonly rings: readonly RingStatistics[];
  /** How long messages took, if the channel was created with `{ latency: true }`. */
  readonly latency: LatencyStatistics | undefined;
  /** When this was read, in milliseconds of the system's monotonic clock. */
  readonly timeMs: number;
}

/**
 * How long messages lay in the channel: from the commit that sent them until the receiver gave them
 * back, which it does when it stops taking values, and every 64 messages while it goes on. Times are
 * in microseconds.
 *
 * The quantiles come from a histogram with buckets at most 1/128 of their values wide: each is at most
 * 0.8 % above the true one, and never below. Times are taken to the nanosecond; from 73 minutes on
 * only the maximum tells them apart.
 */
export interface LatencyStatistics extends Quantiles {
  /** The longest, exactly. */
  readonly max: number;
  /** The mean, exactly. */
  readonly mean: number;
  /** All times together. */
  readonly sum: number;
  /** Messages measured: those received. All times are 0 if there are none. */
  readonly count: number;
  /** The histogram itself: its buckets that are not empty, the shortest times first. */
  readonly histogram: readonly LatencyBucket[];
}

/** One ring of a channel. Its counters go on when another sender gets the ring. */
export interface RingStatistics {
  /** The number of the ring. */
  readonly ring: number;
  /** Messages sent through it. */
  readonly sent: number;
  /** Messages received from it, or dropped. */
  readonly received: number;
  /** Messages in it. */
  readonly size: number;
  /** Slots in use. */
  readonly used: number;
  /** The most slots that were seen in use: see {@linkcode Statistics.highWater}. */
  readonly highWater: number;
  /** How often its sender found it full. */
  readonly timesFull: number;
  /** How often its sender went to sleep for want of room. */
  readonly timesSlept: number;
}

/** What is counted over all rings, without a look at the single ones. */
export type Counters = Omit<Statistics, "rings" | "latency" | "timeMs">;

const closeStates = [
  "open",
  "closed",
  "senders gone",
  "receiver gone",
  "corrupt",
  "peer died",
] as const;
const receiverStates = ["none", "open", "gone"] as const;

/** Reads the counters of the endpoint's channel. */
export function readCounters(endpoint: Endpoint): Counters {
  return countersOf(readWords(endpoint));
}

/** Reads the counters of the endpoint's channel, and those of its rings. */
export function readStatistics(endpoint: Endpoint): Statistics {
  const words = readWords(endpoint);
  return {
    ...countersOf(words),
    rings: readRings(endpoint, words[22]),
    latency: readLatency(endpoint),
    timeMs: endpoint.symbols.millrace_now_ms(),
  };
}

function readWords(endpoint: Endpoint): number[] {
  const words = new BigUint64Array(StructBytes.statistics / 8);
  check(
    endpoint.symbols.millrace_endpoint_statistics(endpoint.handle, words),
    "read the statistics of a channel",
  );
  return Array.from(words, Number);
}

function countersOf(words: readonly number[]): Counters {
  const [
    sent = 0,
    taken = 0,
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
    bytesSent = 0,
    bytesReceived = 0,
    largestBatch = 0,
    highWater = 0,
    receiverTimesSlept = 0,
    senderWakeUps = 0,
    receiverWakeUps = 0,
    redelivered = 0,
    receivers = 0,
    _ringsUsed = 0,
    dropped = 0,
  ] = words;
  return {
    sent,
    received: Math.max(0, taken - dropped),
    // The receiver may have moved on between the two counts.
    size: Math.max(0, sent - taken),
    bytesSent,
    bytesReceived,
    slotsUsed,
    highWater,
    commits,
    releases,
    largestBatch,
    timesFull,
    timesSlept,
    receiverTimesSlept,
    senderWakeUps,
    receiverWakeUps,
    wakeUps: senderWakeUps + receiverWakeUps,
    redelivered,
    dropped,
    senders,
    receivers,
    senderReferences,
    receiverTickets,
    receiver: receiverStates[receiverState] ?? "gone",
    closed: closeStates[closeState] ?? "closed",
    drained: drained !== 0,
  };
}

const ringWords = StructBytes.ringStatistics / 8;

/** Reads the counters of the rings that have a sender. */
export function readRings(
  endpoint: Endpoint,
  ringsMax: number = readWords(endpoint)[22] ?? 0,
): RingStatistics[] {
  // Never of no length: Bun gives those no address.
  const words = new BigUint64Array(Math.max(1, ringsMax) * ringWords);
  const count = check(
    endpoint.symbols.millrace_endpoint_rings(endpoint.handle, words, ringsMax),
    "read the statistics of the rings",
  );
  return Array.from({ length: count }, (_, index) => {
    const [
      ring = 0,
      sent = 0,
      received = 0,
      used = 0,
      highWater = 0,
      timesFull = 0,
      timesSlept = 0,
    ] = Array.from(words.subarray(index * ringWords, (index + 1) * ringWords), Number);
    const size = Math.max(0, sent - received);
    return { ring, sent, received, size, used, highWater, timesFull, timesSlept };
  });
}

const nanosecondsPerMicrosecond = 1000;
const bucketWords = StructBytes.bucket / 8;
/** Room for all buckets; one is enough, since nothing comes between a call that fills it and its reading. */
let bucketRoom: BigUint64Array<ArrayBuffer> | undefined;

function readLatency(endpoint: Endpoint): LatencyStatistics | undefined {
  const summary = new BigUint64Array(StructBytes.latency / 8);
  bucketRoom ??= new BigUint64Array(Limits.buckets * bucketWords);
  const answer = endpoint.symbols.millrace_endpoint_histogram(
    endpoint.handle,
    summary,
    bucketRoom,
    Limits.buckets,
  );
  // The channel does not track latency.
  if (answer === Status.invalidArgument) return undefined;
  check(answer, "read the latency of a channel");
  const times = bucketRoom;
  const histogram = Array.from({ length: answer }, (_, index) => ({
    le: Number(times[index * bucketWords]) / nanosecondsPerMicrosecond,
    count: Number(times[index * bucketWords + 1]),
  }));
  const count = countOf(histogram);
  const sum = Number(summary[1]) / nanosecondsPerMicrosecond;
  const max = Number(summary[2]) / nanosecondsPerMicrosecond;
  const mean = count === 0 ? 0 : sum / count;
  return { ...quantilesOf(histogram, max), max, mean, sum, count, histogram };
}
