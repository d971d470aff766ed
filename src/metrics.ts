/**
 * What the exporters tell about a channel: one table of metrics, for Prometheus and OpenTelemetry.
 *
 * @module
 */

import { ChannelClosedError } from "./errors.ts";
import { describe } from "./describe.ts";
import type { Statistics } from "./statistics.ts";

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

/** The quantiles that both exporters tell, by the name of their label. */
export const quantiles = [["0.5", "p50"], ["0.9", "p90"], ["0.99", "p99"], [
  "0.999",
  "p999",
]] as const;

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
