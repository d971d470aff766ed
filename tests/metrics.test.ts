import assert from "node:assert/strict";
import test from "node:test";
import { bytes, mpmc, mpsc, type SenderTicket, spmc, spsc } from "../mod.ts";
import { type Statistics, struct, u32, u8, utf8 } from "../mod.ts";
import { throws, until } from "./support/bounded.ts";
import { range, takeAll } from "./support/channels.ts";
import { TestWorker, workerKinds } from "./support/workers.ts";

const kinds = { mpsc, spsc, spmc, mpmc };

for (const [kind, create] of Object.entries(kinds)) {
  test(`stats() of ${kind} counts messages, bytes, batches and the largest batch`, () => {
    using channel = create(u32, { capacity: 64 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    sender.sendBatch(range(5));
    sender.sendBatch(range(9));
    sender.sendBatch(range(2));
    receiver.receiveBatch(6);
    const stats = channel.stats();
    assert.deepEqual(pick(stats, "sent", "received", "size", "bytesSent", "bytesReceived"), {
      sent: 16,
      received: 6,
      size: 10,
      bytesSent: 64,
      bytesReceived: 24,
    });
    assert.deepEqual(pick(stats, "commits", "largestBatch", "slotsUsed", "highWater"), {
      commits: 3,
      largestBatch: 9,
      slotsUsed: 10,
      highWater: 16,
    });
    assert.deepEqual(pick(stats, "senders", "receivers", "redelivered"), {
      senders: 1,
      receivers: 1,
      redelivered: 0,
    });
    assert.deepEqual(stats.rings, [{
      ring: 0,
      sent: 16,
      received: 6,
      size: 10,
      used: 10,
      highWater: 16,
      timesFull: 0,
      timesSlept: 0,
    }]);
    takeAll(receiver);
    assert.equal(channel.stats().highWater, 16, "the mark stays");
    assert.equal(channel.stats().largestBatch, 9);
    receiver.close();
    assert.equal(channel.stats().receivers, 0);
  });
}

function pick<Key extends keyof Statistics>(
  statistics: Statistics,
  ...keys: Key[]
): Record<string, unknown> {
  return Object.fromEntries(keys.map((key) => [key, statistics[key]]));
}

test("stats() counts the bytes of a struct with the gaps between its fields", () => {
  using channel = mpsc(struct({ small: u8, large: u32 }), { capacity: 8 });
  using receiver = channel.receiver();
  using sender = channel.sender();
  sender.sendBatch([{ small: 1, large: 2 }, { small: 3, large: 4 }]);
  takeAll(receiver);
  assert.deepEqual(pick(channel.stats(), "bytesSent", "bytesReceived"), {
    bytesSent: 16,
    bytesReceived: 16,
  });
});

for (const [kind, create] of Object.entries(kinds)) {
  test(`stats() of ${kind} counts the bytes of records sent and received the same, without what fills a ring's end`, () => {
    using channel = create(bytes, { capacity: 1024, initialSequence: 2 ** 31 - 100 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    let expected = 0;
    for (let round = 0; round < 200; round++) {
      const lengths = range(3).map((index) => (round * 37 + index * 101) % 200);
      for (const length of lengths) {
        assert.ok(sender.trySend(new Uint8Array(length)));
        expected += 8 + Math.ceil(length / 8) * 8;
      }
      assert.equal(channel.stats().bytesSent, expected);
      for (let index = 0; index < (round % 2 === 0 ? 3 : 1); index++) {
        if (round % 3 === 0) receiver.tryReceive();
        else receiver.receiveBatch(1);
      }
      if (round % 2 === 1) takeAll(receiver);
      assert.equal(channel.stats().size, 0);
      assert.equal(channel.stats().bytesReceived, expected, `after round ${round}`);
    }
  });
}

test("stats() tells of every ring that has a sender, and its counters go on with the next", () => {
  using channel = mpsc(u32, { capacity: 8 });
  using receiver = channel.receiver();
  assert.deepEqual(channel.stats().rings, []);
  const senders = range(3).map(() => channel.sender());
  senders.forEach((sender, index) => sender.sendBatch(range(index + 1)));
  const told = () =>
    channel.stats().rings.map(({ ring, sent, used, highWater }) => [ring, sent, used, highWater]);
  assert.deepEqual(told(), [[0, 1, 1, 1], [1, 2, 2, 2], [2, 3, 3, 3]]);
  assert.equal(channel.stats().slotsUsed, 6);
  assert.equal(channel.stats().highWater, 3, "of one ring");
  senders[1]?.close();
  assert.deepEqual(told().map(([ring]) => ring), [0, 1, 2], "what it sent is still there");
  assert.equal(channel.stats().senders, 2);
  takeAll(receiver);
  assert.deepEqual(told(), [[0, 1, 0, 1], [2, 3, 0, 3]]);
  assert.equal(channel.stats().sent, 6, "what a closed sender sent stays counted");
  using again = channel.sender();
  again.sendBatch(range(1));
  assert.deepEqual(told(), [[0, 1, 0, 1], [1, 3, 1, 2], [2, 3, 0, 3]]);
  for (const sender of senders) sender.close();
});

test("stats().highWater never misses a ring that was found full", () => {
  using channel = mpsc(u32, { capacity: 16 });
  using sender = channel.sender();
  using receiver = channel.receiver();
  sender.sendBatch(range(4));
  takeAll(receiver);
  assert.equal(channel.stats().highWater, 4);
  // In the middle of a window the receiver does not look at the tail again.
  sender.sendBatch(range(4));
  receiver.tryReceive();
  assert.equal(sender.sendBatch(range(20)), 13);
  assert.equal(sender.trySend(1), false);
  assert.equal(channel.stats().timesFull > 0, true);
  receiver.receiveBatch(16);
  takeAll(receiver);
  assert.equal(channel.stats().slotsUsed, 0);
  assert.equal(channel.stats().highWater, 16);
});

for (const [kind, create] of Object.entries(kinds)) {
  for (const workerKind of workerKinds) {
    test(`stats() of ${kind} counts sleeps and wake-ups of both sides with a ${workerKind} Worker`, async () => {
      using channel = create(u32, { capacity: 4, pollBudget: 0, wait: "block" });
      await using worker = new TestWorker(workerKind);
      using sender = channel.sender();
      await worker.call("openReceiver", channel.receiverTicket());
      let woken = 0;
      for (let round = 1; woken < 3; round++) {
        assert.ok(round < 50, "who sleeps is woken");
        const received = worker.call("receiveSync");
        const before = channel.stats().receiverTimesSlept;
        await until(() => channel.stats().receiverTimesSlept > before, "the Worker sleeps");
        assert.equal(channel.stats().receiverWakeUps, woken);
        sender.sendSync(round);
        // Once at most; and not at all if the Worker had just looked up by itself.
        const wakeUps = channel.stats().receiverWakeUps;
        assert.ok(wakeUps === woken || wakeUps === woken + 1, `${wakeUps} after ${woken}`);
        woken = wakeUps;
        assert.equal(await received, round);
      }
      assert.equal(channel.stats().senderWakeUps, 0);
      assert.equal(channel.stats().timesSlept, 0);

      sender.sendBatch(range(4));
      const sent = sender.send(9);
      await until(() => channel.stats().timesSlept === 1, "the sender sleeps");
      assert.equal(channel.stats().rings[0]?.timesSlept, 1);
      assert.equal(await worker.call("receiveSync"), 0);
      await sent;
      const { senderWakeUps, receiverWakeUps, wakeUps } = channel.stats();
      assert.deepEqual([senderWakeUps, receiverWakeUps, wakeUps], [1, 3, 4]);
    });
  }
}

test("a close wakes whoever sleeps, and stats() counts it; who does not sleep is not woken", async () => {
  using channel = mpsc(utf8, { pollBudget: 0 });
  using receiver = channel.receiver();
  using sender = channel.sender();
  for (let count = 0; count < 100; count++) {
    await sender.send("quick");
    assert.equal(await receiver.receive(), "quick");
  }
  assert.equal(channel.stats().wakeUps, 0);
  const receiving = receiver.receive().catch(() => "ended");
  await until(() => channel.stats().receiverTimesSlept === 1, "the receiver sleeps");
  channel.close();
  assert.equal(await receiving, "ended");
  assert.equal(channel.stats().receiverWakeUps, 1);
});

test("stats().senders does not count what is left to be closed after the channel was", () => {
  using channel = mpsc(u32);
  using sender = channel.sender();
  using _receiver = channel.receiver();
  assert.equal(channel.stats().senders, 1);
  channel.close();
  assert.deepEqual(pick(channel.stats(), "senders", "receivers", "closed"), {
    senders: 0,
    receivers: 1,
    closed: "closed",
  });
  assert.ok(sender.closed);
});

for (const [kind, create] of Object.entries({ mpsc, mpmc })) {
  test(`stats() of ${kind} is never impossible while Workers come, send and go`, async () => {
    const [rounds, each] = [12, 300];
    const rings = 2 * rounds;
    using channel = create(u32, { capacity: 16, maxSenders: rings, latency: true });
    using receiver = channel.receiver();
    let before = channel.stats();
    const look = () => {
      // It throws if a counter has shrunk.
      const now = channel.stats({ since: before });
      const told = JSON.stringify(now);
      const counters = ["sent", "received", "bytesSent", "bytesReceived", "commits", "releases"];
      const alsoGrow = ["timesFull", "timesSlept", "wakeUps", "highWater", "largestBatch"];
      for (const key of [...counters, ...alsoGrow] as (keyof Statistics & "sent")[]) {
        assert.ok(now[key] >= before[key], `${key} of ${told} was ${before[key]}`);
      }
      assert.ok(now.size >= 0 && now.slotsUsed <= rings * 16 && now.highWater <= 16, told);
      assert.ok(now.largestBatch <= 16 && now.senders <= 2, told);
      assert.ok(now.rings.length <= rings && receiver.size >= 0, told);
      for (const { used, highWater, size } of now.rings) {
        assert.ok(used <= 16 && highWater <= 16 && size >= 0, told);
      }
      const { p50 = 0, p999 = 0, max = 0, count = 0 } = now.latency ?? {};
      assert.ok(p50 <= p999 && p999 <= max, told);
      // A sender may have published, and not yet counted, one ring full.
      assert.ok(count <= now.sent + 2 * 16, told);
      before = now;
    };
    await using first = new TestWorker("node");
    await using second = new TestWorker("node");
    const last = channel.senderTicket();
    const working = [first, second].map(async (worker) => {
      for (let round = 0; round < rounds; round++) {
        const ticket = channel.senderTicket() as SenderTicket<unknown, unknown>;
        await worker.call("sendAndClose", ticket, "writer", range(each));
      }
    });
    const done = Promise.all(working).then(() => channel.revoke(last));
    let count = 0;
    for await (const batch of receiver.batches({ max: 7 })) {
      count += batch.length;
      look();
    }
    await done;
    look();
    assert.equal(count, 2 * rounds * each);
    assert.deepEqual(pick(before, "sent", "received", "senders", "size", "slotsUsed"), {
      sent: count,
      received: count,
      senders: 0,
      size: 0,
      slotsUsed: 0,
    });
    assert.equal(before.latency?.count, count);
  });
}

for (const [kind, create] of Object.entries({ spmc, mpmc })) {
  for (const workerKind of workerKinds) {
    test(`stats() of ${kind} counts what a ${workerKind} Worker had claimed when it died, once as received`, async () => {
      using channel = create(u32, { capacity: 16, claim: 4, latency: true });
      using sender = channel.sender();
      sender.sendBatch(range(10));
      {
        await using worker = new TestWorker(workerKind);
        await worker.call("openReceiver", channel.receiverTicket());
        assert.equal(await worker.call("receiveSync"), 0, "and three more are claimed");
        assert.deepEqual(pick(channel.stats(), "received", "receivers", "redelivered"), {
          received: 1,
          receivers: 1,
          redelivered: 0,
        });
        // Keeps the channel open while it has no receiver.
        channel.receiverTicket();
      }
      await until(() => channel.stats().receivers === 0, "the Worker is gone");
      using receiver = channel.receiver();
      assert.deepEqual(takeAll(receiver).sort((a, b) => a - b), range(10).slice(1));
      assert.deepEqual(pick(channel.stats(), "sent", "received", "bytesReceived", "redelivered"), {
        sent: 10,
        received: 10,
        bytesReceived: 40,
        redelivered: 3,
      });
      assert.equal(channel.stats().latency?.count, 10);
    });
  }
}

// ---- stats({ since }) ----

for (const [kind, create] of Object.entries(kinds)) {
  test(`stats({ since }) of ${kind} tells how much the counters grew, and how fast`, () => {
    using channel = create(u32, { capacity: 64 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    sender.sendBatch(range(5));
    takeAll(receiver);
    const first = channel.stats();
    sender.sendBatch(range(9));
    sender.sendBatch(range(7));
    receiver.receiveBatch(6);
    const second = channel.stats({ since: first });
    const { seconds, ...interval } = second.interval;
    assert.equal(seconds, (second.timeMs - first.timeMs) / 1000);
    assert.ok(seconds >= 0);
    const rate = (count: number) => seconds === 0 ? 0 : count / seconds;
    assert.deepEqual(interval, {
      sent: 16,
      received: 6,
      bytesSent: 64,
      bytesReceived: 24,
      commits: 2,
      releases: second.releases - first.releases,
      timesFull: second.timesFull,
      timesSlept: 0,
      receiverTimesSlept: 0,
      senderWakeUps: 0,
      receiverWakeUps: 0,
      wakeUps: 0,
      redelivered: 0,
      dropped: 0,
      sentPerSecond: rate(16),
      receivedPerSecond: rate(6),
      bytesSentPerSecond: rate(64),
      bytesReceivedPerSecond: rate(24),
      latency: undefined,
    });
    assert.equal(second.sent, 21, "all counters are there, too");
    // What an interval ends with begins the next one; time that is told is what counts.
    const third = channel.stats({ since: { ...second, timeMs: second.timeMs - 2000 } });
    assert.ok(third.interval.seconds >= 2);
    assert.deepEqual([third.interval.sent, third.interval.sentPerSecond], [0, 0]);
    const fourth = channel.stats({ since: { ...first, timeMs: 0 } });
    assert.equal(fourth.interval.seconds, fourth.timeMs / 1000);
    assert.equal(fourth.interval.sentPerSecond, 16 / (fourth.timeMs / 1000));
  });
}

test("stats().latency.histogram has every message once, in buckets as wide as is promised", () => {
  using channel = mpsc(u32, { capacity: 64, latency: true });
  using sender = channel.sender();
  using receiver = channel.receiver();
  for (let round = 0; round < 200; round++) {
    sender.sendBatch(range(1 + round % 60));
    takeAll(receiver);
  }
  const { latency, received } = channel.stats();
  assert.ok(latency !== undefined);
  const { histogram, count, sum, mean, max, p50, p90, p99, p999 } = latency;
  assert.equal(count, received);
  assert.equal(histogram.reduce((sum, { count }) => sum + count, 0), count);
  assert.ok(histogram.every((bucket) => bucket.count > 0));
  histogram.slice(1).forEach(({ le }, index) => assert.ok(le > (histogram[index]?.le ?? NaN)));
  assert.equal(mean, sum / count);
  const slowest = histogram.at(-1)?.le ?? NaN;
  assert.ok(max <= slowest && slowest <= max * (1 + 1 / 128), `${max} in ${slowest}`);
  for (const [perMille, told] of [[500, p50], [900, p90], [990, p99], [999, p999]] as const) {
    let seen = 0;
    const within = histogram.filter((bucket) => (seen += bucket.count) >= count * perMille / 1000);
    assert.equal(told, Math.min(within[0]?.le ?? NaN, max), `${perMille}`);
  }
});

for (const [kind, create] of Object.entries(kinds)) {
  test(`stats({ since }).interval.latency of ${kind} is of the messages of the interval alone`, async () => {
    using channel = create(u32, { capacity: 64, latency: true });
    using sender = channel.sender();
    using receiver = channel.receiver();
    const aged = async (least: number) => {
      const begin = channel.stats().timeMs;
      await until(() => channel.stats().timeMs - begin > least, "the messages are so old");
    };
    // Three slow ones, and then quick ones only, as far as the first interval tells.
    sender.sendBatch(range(3));
    await aged(30);
    takeAll(receiver);
    const slow = channel.stats();
    assert.ok((slow.latency?.p50 ?? 0) >= 30_000);
    sender.sendBatch(range(40));
    assert.equal(receiver.receiveBatch(64).length, 40);
    const now = channel.stats({ since: slow });
    const { latency } = now.interval;
    assert.ok(latency !== undefined && now.latency !== undefined && slow.latency !== undefined);
    assert.equal(latency.count, 40);
    assert.equal(latency.histogram.reduce((sum, { count }) => sum + count, 0), 40);
    // A float is not as exact as the sums it is the difference of.
    assert.ok(Math.abs(latency.sum - (now.latency.sum - slow.latency.sum)) < 1);
    assert.equal(latency.mean, latency.sum / 40);
    // All of them came at once: what is true of one is true of each.
    const [{ le = NaN } = {}] = latency.histogram;
    assert.equal(latency.histogram.length, 1);
    assert.ok(latency.max <= le && latency.p50 <= latency.max && latency.max <= now.latency.max);
    assert.ok(latency.mean <= latency.max && latency.max <= latency.mean * (1 + 1 / 64));

    const none = channel.stats({ since: now }).interval.latency;
    assert.deepEqual(none, {
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
    // The slowest of all is told exactly, in whatever interval it was.
    sender.sendBatch(range(1));
    await aged(now.latency.max / 1000 + 1);
    takeAll(receiver);
    const slowest = channel.stats({ since: now });
    assert.equal(slowest.interval.latency?.max, slowest.latency?.max);
    assert.equal(slowest.interval.latency?.count, 1);
  });
}

test("stats({ since }) refuses what stats() of this channel did not give before", () => {
  using channel = mpsc(u32, { capacity: 16 });
  using timed = mpsc(u32, { capacity: 16, latency: true });
  using sender = channel.sender();
  const early = channel.stats();
  sender.sendBatch(range(3));
  const since = (value: unknown) => () => channel.stats({ since: value as Statistics });
  for (const wrong of [undefined, null, 1, "stats", [], {}, { ...early, sent: "3" }]) {
    throws(since(wrong), {
      name: "TypeError",
      message: /^Cannot read the statistics .* since must/,
    });
  }
  for (const options of [null, 7, "since"]) {
    throws(() => channel.stats(options as unknown as { since: Statistics }), {
      name: "TypeError",
      message: /options must be an object/,
    });
  }
  // Another channel has sent more, or the time is one to come.
  throws(since({ ...early, sent: 4 }), {
    name: "RangeError",
    message: /since\.sent must be at most/,
  });
  throws(since({ ...early, sent: NaN }), { name: "RangeError", message: /since\.sent/ });
  throws(since({ ...early, timeMs: early.timeMs + 1e9 }), {
    name: "RangeError",
    message: /since\.timeMs must be at most/,
  });
  throws(() => timed.stats({ since: early }), { name: "TypeError", message: /since\.latency/ });
  assert.equal(channel.stats({ since: early }).interval.sent, 3);
  assert.equal(channel.stats({ since: JSON.parse(JSON.stringify(early)) }).interval.sent, 3);
});
