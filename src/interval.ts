/**
 * What a channel did between two looks at its statistics.
 *
 * @module
 */

import { checkOptions, outOfRange, wrongType } from "./check.ts";
import { bucketsSince, countOf, quantilesOf } from "./histogram.ts";
import type { LatencyStatistics, Statistics } from "./statistics.ts";

/** The counters of {@linkcode Statistics} that only grow. */
export type CounterName =
  | "sent"
  | "received"
  | "bytesSent"
  | "bytesReceived"
  | "commits"
  | "releases"
  | "timesFull"
  | "timesSlept"
  | "receiverTimesSlept"
  | "senderWakeUps"
  | "receiverWakeUps"
  | "wakeUps"
  | "redelivered"
  | "dropped";

const counters: readonly CounterName[] = [
  "sent",
  "received",
  "bytesSent",
  "bytesReceived",
  "commits",
  "releases",
  "timesFull",
  "timesSlept",
  "receiverTimesSlept",
  "senderWakeUps",
  "receiverWakeUps",
  "wakeUps",
  "redelivered",
  "dropped",
];

/** Options of {@linkcode Channel.stats}. */
export interface StatisticsOptions {
  /** What `stats()` of the same channel gave before. */
  readonly since: Statistics;
}

/** What a channel did in an interval: how much its counters grew, and how fast. */
export interface IntervalStatistics extends Pick<Statistics, CounterName> {
  /** How long the interval was. */
  readonly seconds: number;
  /** Messages sent a second. Every rate is 0 in an interval of no length. */
  readonly sentPerSecond: number;
  /** Messages received a second. */
  readonly receivedPerSecond: number;
  /** Bytes sent a second. */
  readonly bytesSentPerSecond: number;
  /** Bytes received a second. */
  readonly bytesReceivedPerSecond: number;
  /**
   * How long the messages took that were received in the interval. `max` is exact if it is the longest
   * time so far, else at most 0.8 % too high.
   */
  readonly latency: LatencyStatistics | undefined;
}

/** Statistics, and what became of the channel since earlier ones. */
export interface StatisticsSince extends Statistics {
  /** The interval from `since` until now. */
  readonly interval: IntervalStatistics;
}

const action = "read the statistics of a channel";

/** Adds the interval since earlier statistics. */
export function withInterval(now: Statistics, options: StatisticsOptions): StatisticsSince {
  const { since } = checkOptions(action, options);
  checkSince(now, since);
  const grown = Object.fromEntries(
    counters.map((name) => [name, now[name] - since[name]]),
  ) as Record<CounterName, number>;
  const seconds = (now.timeMs - since.timeMs) / 1000;
  const rate = (count: number) => seconds === 0 ? 0 : count / seconds;
  const interval: IntervalStatistics = {
    ...grown,
    seconds,
    sentPerSecond: rate(grown.sent),
    receivedPerSecond: rate(grown.received),
    bytesSentPerSecond: rate(grown.bytesSent),
    bytesReceivedPerSecond: rate(grown.bytesReceived),
    latency: now.latency && since.latency && latencySince(now.latency, since.latency),
  };
  return { ...now, interval };
}

/** Refuses what another channel gave, or nobody. */
function checkSince(now: Statistics, since: Statistics): void {
  const earlier = "what stats() of this channel gave before";
  if (typeof since !== "object" || since === null) {
    throw wrongType(action, "since", earlier, since);
  }
  for (const name of ["timeMs", ...counters] as const) {
    const value: unknown = since[name];
    if (typeof value !== "number") throw wrongType(action, "since", earlier, since);
    if (value >= 0 && value <= now[name]) continue;
    throw outOfRange(
      action,
      `since.${name}`,
      `at most what it is now, ${now[name]}: expected ${earlier}`,
      value,
    );
  }
  const { latency } = since;
  if (now.latency !== undefined && !Array.isArray(latency?.histogram)) {
    throw wrongType(action, "since.latency", "that of a channel with latency: true", latency);
  }
}

function latencySince(now: LatencyStatistics, since: LatencyStatistics): LatencyStatistics {
  const histogram = bucketsSince(now.histogram, since.histogram);
  const count = countOf(histogram);
  const sum = Math.max(0, now.sum - since.sum);
  const max = now.max > since.max ? now.max : Math.min(now.max, histogram.at(-1)?.le ?? 0);
  return {
    ...quantilesOf(histogram, max),
    max,
    mean: count === 0 ? 0 : sum / count,
    sum,
    count,
    histogram,
  };
}
