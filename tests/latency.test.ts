import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { build as buildHistogram } from "hdr-histogram-js";
import {
  bytes,
  type LatencyStatistics,
  mpmc,
  mpsc,
  type ReceiverTicket,
  spmc,
  spsc,
  u32,
  utf8,
} from "../mod.ts";
import { throws, within } from "./support/bounded.ts";
import { range, takeAll } from "./support/channels.ts";
import { TestWorker, workerKinds } from "./support/workers.ts";

const kinds = { mpsc, spsc, spmc, mpmc };

/** What `stats().latency` promises: a quantile is at most this far above the true one. */
const errorMost = 1 / 128;
/** What three significant digits of HdrHistogram promise. */
const peerErrorMost = 1 / 1000;

function nowNs(): number {
  return Number(process.hrtime.bigint());
}

function spin(durationNs: number): void {
  const until = nowNs() + durationNs;
  while (nowNs() < until);
}

function latencyOf(channel: { stats(): { latency: LatencyStatistics | undefined } }) {
  const { latency } = channel.stats();
  assert.ok(latency !== undefined);
  return latency;
}

test("stats().latency is undefined unless it was asked for", () => {
  using plain = mpsc(u32);
  assert.equal(plain.stats().latency, undefined);
  using off = mpsc(u32, { latency: false });
  assert.equal(off.stats().latency, undefined);
  using on = mpsc(u32, { latency: true });
  assert.deepEqual(latencyOf(on), {
    p50: 0,
    p90: 0,
    p99: 0,
    p999: 0,
    max: 0,
    mean: 0,
    sum: 0,
    count: 0,
    histogram: [],
  });
});

test("mpsc() throws TypeError for a latency that is no boolean", () => {
  for (const latency of [1, null, "true", {}]) {
    throws(() => mpsc(u32, { latency: latency as boolean }), {
      name: "TypeError",
      message: /latency must be a boolean, received/,
    });
  }
});

for (const [kind, create] of Object.entries(kinds)) {
  test(`stats().latency of ${kind} agrees with HdrHistogram over times taken around it`, () => {
    using channel = create(u32, { capacity: 16, latency: true });
    using sender = channel.sender();
    using receiver = channel.receiver();
    // Each time the library takes lies between two that are taken here: from after the send to before
    // the receive, and from before the send to after the receive. So do all quantiles.
    const options = { bitBucketSize: 64, numberOfSignificantValueDigits: 3 } as const;
    const [inner, outer] = [buildHistogram(options), buildHistogram(options)];
    let [least, sum] = [0, 0];
    const count = 400;
    for (let index = 0; index < count; index++) {
      const before = nowNs();
      assert.ok(sender.trySend(index));
      const sent = nowNs();
      // 10 µs to a millisecond, most of them short.
      spin(10_000 * 100 ** ((index * 7919 % count) / count));
      const receiving = nowNs();
      assert.deepEqual(receiver.tryReceive(), { state: "ok", value: index });
      const after = nowNs();
      inner.recordValue(receiving - sent);
      outer.recordValue(after - before);
      least += receiving - sent;
      sum += after - before;
    }
    const latency = latencyOf(channel);
    assert.equal(latency.count, count);
    const quantiles = [[50, latency.p50], [90, latency.p90], [99, latency.p99], [
      99.9,
      latency.p999,
    ]];
    for (const [percentile = 0, us = 0] of quantiles) {
      const least = inner.getValueAtPercentile(percentile) / (1 + peerErrorMost);
      const most = outer.getValueAtPercentile(percentile) * (1 + errorMost);
      const told = `p${percentile}: ${us * 1000} ns, from ${least} to ${most}`;
      assert.ok(us * 1000 >= least - 1 && us * 1000 <= most + 1, told);
    }
    assert.ok(latency.max * 1000 >= inner.maxValue / (1 + peerErrorMost) - 1);
    assert.ok(latency.max * 1000 <= outer.maxValue * (1 + peerErrorMost) + 1);
    assert.ok(latency.mean * 1000 >= least / count - 1 && latency.mean * 1000 <= sum / count + 1);
  });

  test(`stats().latency of ${kind} counts every message with the age of its own batch`, () => {
    using channel = create(u32, { capacity: 16, latency: true, initialSequence: 2 ** 31 - 5 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    for (let round = 1; round <= 20; round++) {
      const begin = nowNs();
      sender.sendBatch(range(5));
      spin(200_000);
      sender.sendBatch(range(3));
      assert.equal(receiver.receiveBatch(2).length, 2);
      takeAll(receiver);
      const tookUs = (nowNs() - begin) / 1000;
      const latency = latencyOf(channel);
      assert.equal(latency.count, 8 * round);
      // Five of eight are old, three are young: the median is an old one's, the mean is between.
      assert.ok(latency.p50 >= 200, `${latency.p50} µs`);
      if (round === 1) {
        assert.ok(latency.max <= tookUs, `${latency.max} of ${tookUs} µs`);
        assert.ok(latency.mean < latency.max);
        assert.ok(latency.mean >= 125);
      }
    }
  });

  test(`stats().latency of ${kind} counts records, and not what fills a ring's end`, () => {
    using channel = create(bytes, { capacity: 1024, latency: true });
    using sender = channel.sender();
    using receiver = channel.receiver();
    let sent = 0;
    const begin = nowNs();
    for (let round = 0; round < 300; round++) {
      for (let index = 0; index < 3; index++) {
        assert.ok(sender.trySend(new Uint8Array((round * 37 + index * 101) % 200)));
        sent++;
      }
      if (round % 2 === 0) receiver.receiveBatch(2);
      takeAll(receiver);
      assert.equal(latencyOf(channel).count, sent);
    }
    assert.ok(latencyOf(channel).max <= (nowNs() - begin) / 1000);
  });
}

for (const [kind, create] of Object.entries(kinds)) {
  for (const workerKind of workerKinds) {
    test(`stats().latency of ${kind} measures from one thread to the other, in a ${workerKind} Worker`, async () => {
      using channel = create(utf8, { capacity: 512, latency: true });
      await using worker = new TestWorker(workerKind);
      const begin = nowNs();
      const ticket = channel.receiverTicket() as ReceiverTicket<unknown, ArrayLike<unknown>>;
      const received = worker.call("receiveAll", ticket, "batches");
      const sender = channel.sender();
      const messages = range(3000).map((value) => `message ${value}`);
      await within(sender.sendAll(messages), "the sender");
      sender.close();
      assert.deepEqual(await received, messages);
      const tookUs = (nowNs() - begin) / 1000;
      const { p50, p90, p99, p999, max, mean, count } = latencyOf(channel);
      assert.equal(count, 3000);
      assert.ok(p50 > 0 && p50 <= p90 && p90 <= p99 && p99 <= p999 && p999 <= max);
      assert.ok(mean > 0 && mean <= max && max <= tookUs);
    });
  }
}
