/**
 * The histogram of a channel's latency: its buckets, what they say, and the difference of two.
 *
 * @module
 */

/** Some of the messages that were measured: those of one bucket of a histogram. */
export interface LatencyBucket {
  /**
   * The longest time of the bucket, in microseconds; the shortest is longer than `le` of the bucket
   * before. No bucket is wider than 1/128 of its times.
   */
  readonly le: number;
  /** How many messages took so long: of this bucket alone. */
  readonly count: number;
}

/** The times below which so many of the messages are. */
export interface Quantiles {
  /** Half of the messages took at most this long. */
  readonly p50: number;
  /** 90 % of them took at most this long. */
  readonly p90: number;
  /** 99 % of them. */
  readonly p99: number;
  /** 99.9 % of them. */
  readonly p999: number;
}

/** The messages of all buckets. */
export function countOf(buckets: readonly LatencyBucket[]): number {
  return buckets.reduce((sum, { count }) => sum + count, 0);
}

/** The quantiles of messages of which the slowest took `max`; 0 if there are none. */
export function quantilesOf(buckets: readonly LatencyBucket[], max: number): Quantiles {
  const count = countOf(buckets);
  let [index, seen] = [0, 0];
  // Called in ascending order.
  const atMost = (perMille: number): number => {
    const rank = Math.ceil(count * perMille / 1000);
    while (index < buckets.length && seen < rank) seen += (buckets[index++] as LatencyBucket).count;
    return index === 0 ? 0 : Math.min((buckets[index - 1] as LatencyBucket).le, max);
  };
  return { p50: atMost(500), p90: atMost(900), p99: atMost(990), p999: atMost(999) };
}

/** What was added to the buckets since. */
export function bucketsSince(
  now: readonly LatencyBucket[],
  since: readonly LatencyBucket[],
): LatencyBucket[] {
  const before = new Map(since.map(({ le, count }) => [le, count]));
  return now
    .map(({ le, count }) => ({ le, count: count - (before.get(le) ?? 0) }))
    .filter(({ count }) => count > 0);
}
