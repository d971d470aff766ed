/**
 * What the exporters tell about a channel: one table of metrics, for Prometheus and OpenTelemetry.
 *
 * @module
 */

import { ChannelClosedError } from "./errors.ts";
import { describe } from "./describe.ts";
import type { LatencyStatistics, Statistics } from "./statistics.ts";

/** What can be observed: a channel of any kind. */
export interface Observable {
  /** What it has counted; throws {@linkcode ChannelClosedError} once it is disposed of. */
  stats(): Statistics;
}

/** One number of a metric, and the labels that tell it from the others of the same metric. */
export interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** A metric: its name in words with dots between, what it is, and how it is read. */
export interface Metric {
  readonly name: string;
  /** A counter only grows. */
  readonly type: "counter" | "gauge";
  /** As in UCUM, which OpenTelemetry uses. */
  readonly unit: string;
  readonly help: string;
  read(statistics: Statistics): Sample[];
}

function one(value: number): Sample[] {
  return [{ value }];
}

function sides(sender: number, receiver: number): Sample[] {
  return [
    { value: sender, labels: { side: "sender" } },
    { value: receiver, labels: { side: "receiver" } },
  ];
}

/** All but the latency, which each exporter has its own form for. */
export const metrics: readonly Metric[] = [
  {
    name: "sent.messages",
    type: "counter",
    unit: "{message}",
    help: "Messages sent",
    read: ({ sent }) => one(sent),
  },
  {
    name: "received.messages",
    type: "counter",
    unit: "{message}",
    help: "Messages received",
    read: ({ received }) => one(received),
  },
  {
    name: "redelivered.messages",
    type: "counter",
    unit: "{message}",
    help: "Messages offered again because the receiver that had claimed them died",
    read: ({ redelivered }) => one(redelivered),
  },
  {
    name: "dropped.messages",
    type: "counter",
    unit: "{message}",
    help: "Messages that their sender dropped to make room for newer ones",
    read: ({ dropped }) => one(dropped),
  },
  {
    name: "sent.bytes",
    type: "counter",
    unit: "By",
    help: "Bytes sent, with the record headers of messages of variable length",
    read: ({ bytesSent }) => one(bytesSent),
  },
  {
    name: "received.bytes",
    type: "counter",
    unit: "By",
    help: "Bytes received, with the record headers of messages of variable length",
    read: ({ bytesReceived }) => one(bytesReceived),
  },
  {
    name: "sent.batches",
    type: "counter",
    unit: "{batch}",
    help: "Batches published",
    read: ({ commits }) => one(commits),
  },
  {
    name: "received.batches",
    type: "counter",
    unit: "{batch}",
    help: "Batches given back by receivers",
    read: ({ releases }) => one(releases),
  },
  {
    name: "full",
    type: "counter",
    unit: "{time}",
    help: "How often a sender found its ring full",
    read: ({ timesFull }) => one(timesFull),
  },
  {
    name: "sleeps",
    type: "counter",
    unit: "{time}",
    help: "How often a side went to sleep, for want of room or of messages",
    read: ({ timesSlept, receiverTimesSlept }) => sides(timesSlept, receiverTimesSlept),
  },
  {
    name: "wakeups",
    type: "counter",
    unit: "{time}",
    help: "How often a sleeping side was woken",
    read: ({ senderWakeUps, receiverWakeUps }) => sides(senderWakeUps, receiverWakeUps),
  },
  {
    name: "senders",
    type: "gauge",
    unit: "{sender}",
    help: "Senders open now",
    read: ({ senders }) => one(senders),
  },
  {
    name: "receivers",
    type: "gauge",
    unit: "{receiver}",
    help: "Receivers open now",
    read: ({ receivers }) => one(receivers),
  },
  {
    name: "open",
    type: "gauge",
    unit: "1",
    help: "1 while the channel accepts messages, 0 once it is closed",
    read: ({ closed }) => one(closed === "open" ? 1 : 0),
  },
  {
    name: "waiting.messages",
    type: "gauge",
    unit: "{message}",
    help: "Messages sent and not yet received",
    read: ({ size }) => one(size),
  },
  {
    name: "used.slots",
    type: "gauge",
    unit: "{slot}",
    help: "Slots in use, over all rings",
    read: ({ slotsUsed }) => one(slotsUsed),
  },
  {
    name: "high_water.slots",
    type: "gauge",
    unit: "{slot}",
    help: "The most slots of one ring that were seen in use",
    read: ({ highWater }) => one(highWater),
  },
  {
    name: "ring.used.slots",
    type: "gauge",
    unit: "{slot}",
    help: "Slots in use, of each ring that has a sender",
    read: ({ rings }) => rings.map(({ ring, used }) => ringSample(ring, used)),
  },
  {
    name: "ring.high_water.slots",
    type: "gauge",
    unit: "{slot}",
    help: "The most slots seen in use, of each ring that has a sender",
    read: ({ rings }) => rings.map(({ ring, highWater }) => ringSample(ring, highWater)),
  },
  {
    name: "largest_batch.messages",
    type: "gauge",
    unit: "{message}",
    help: "The most messages published at once",
    read: ({ largestBatch }) => one(largestBatch),
  },
];

function ringSample(ring: number, value: number): Sample {
  return { value, labels: { ring: String(ring) } };
}

/** Up to what times, in seconds, the exporters count messages. */
const latencyBounds = [
  ...[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4],
  ...[1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
];
const microsecondsPerSecond = 1e6;

/** What the exporters tell of a channel's latency, in seconds. */
export interface ExportedLatency {
  /** How many messages took at most `le`, by the text of the bound; the last is `+Inf`. */
  readonly buckets: readonly (readonly [le: string, count: number])[];
  readonly sum: number;
  readonly count: number;
  readonly max: number;
}

/**
 * The latency with the bounds of the exporters. A bucket of the channel's own that has a bound in its
 * middle counts above it, so that no message is told to be faster than it was.
 */
export function exportLatency({ histogram, sum, count, max }: LatencyStatistics): ExportedLatency {
  let [index, seen] = [0, 0];
  const buckets = latencyBounds.map((bound) => {
    for (let bucket; (bucket = histogram[index]) !== undefined; index++) {
      if (bucket.le / microsecondsPerSecond > bound) break;
      seen += bucket.count;
    }
    return [String(bound), seen] as const;
  });
  return {
    buckets: [...buckets, ["+Inf", count]],
    sum: sum / microsecondsPerSecond,
    count,
    max: max / microsecondsPerSecond,
  };
}

/** What a channel has counted, or undefined if it was disposed of: then there is nothing to tell. */
export function observe(channel: Observable): Statistics | undefined {
  try {
    const statistics = channel.stats();
    if (Array.isArray(statistics?.rings)) return statistics;
    // A pool has stats(), too, of another kind.
    throw new TypeError(`Cannot tell metrics: expected a channel, received ${describe(channel)}`);
  } catch (error) {
    if (error instanceof ChannelClosedError) return undefined;
    throw error;
  }
}

/** Checks that something can be observed. */
export function checkObservable(action: string, name: unknown, channel: unknown): void {
  if (typeof name !== "string") {
    throw new TypeError(`Cannot ${action}: a name must be a string, received ${describe(name)}`);
  }
  if (typeof (channel as Partial<Observable> | null | undefined)?.stats === "function") return;
  throw new TypeError(
    `Cannot ${action} "${name}": expected a channel, received ${describe(channel)}`,
  );
}
