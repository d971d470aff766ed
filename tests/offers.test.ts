/**
 * Receivers that share a channel: what one of them has claimed and does not look at, was woken for and does
 * not take, or has a busy thread for, another one gets. And "empty" is true when it is said.
 */

import assert from "node:assert/strict";
import test from "node:test";
import { type Channel, custom, mpmc, type Receiver, type Sender, spmc, u32 } from "../mod.ts";
import { Waiter } from "../src/waiter.ts";
import { isPending, nextTurn, until, within } from "./support/bounded.ts";
import { range } from "./support/channels.ts";
import { TestWorker } from "./support/workers.ts";

const kinds = { spmc, mpmc };

interface Scene extends Disposable {
  readonly channel: Channel<number, Uint32Array>;
  readonly sender: Sender<number, Uint32Array>;
  readonly a: Receiver<number, Uint32Array>;
  readonly b: Receiver<number, Uint32Array>;
}

function open(kind: keyof typeof kinds, options: Parameters<typeof mpmc>[1] = {}): Scene {
  const channel = kinds[kind](u32, { capacity: 2048, ...options });
  const [sender, a, b] = [channel.sender(), channel.receiver(), channel.receiver()];
  return {
    channel,
    sender,
    a,
    b,
    [Symbol.dispose]() {
      for (const endpoint of [a, b, sender]) endpoint.close();
      channel[Symbol.dispose]();
    },
  };
}

const numbers = (count: number, from: number) => range(count).map((index) => from + index);

/** Receives `count` values with receive(), within bounds. */
async function take(receiver: Receiver<number, Uint32Array>, count: number): Promise<number[]> {
  const values: number[] = [];
  while (values.length < count) {
    values.push(await within(receiver.receive(), `value ${values.length} of ${count}`));
  }
  return values;
}

for (const kind of Object.keys(kinds) as (keyof typeof kinds)[]) {
  test(`${kind}: a receive that a synchronous call has served takes no other receiver's wake-up`, async () => {
    for (const serve of ["tryReceive", "receiveBatch", "drain", "readable"] as const) {
      using scene = open(kind, { pollBudget: 0 });
      const { channel, sender, a, b } = scene;
      const asleep = (count: number) =>
        until(() => channel.stats().receiverTimesSlept >= count, `${count} sleeps`);
      let forA = a.receive();
      const forB = b.receive();
      await asleep(2);
      sender.trySend(0); // the receivers are woken in turn: a
      assert.equal(await within(forA, "the first value"), 0);
      forA = a.receive();
      await asleep(3);
      sender.trySend(1); // rings the bell of b, whose turn has not come yet
      if (serve === "receiveBatch") a.receiveBatch(1);
      else if (serve === "drain") a.drain(() => {});
      else a[serve]();
      assert.equal(await within(forA, "the receive that was served"), 1);
      await asleep(4); // b has looked, and sleeps again
      sender.trySend(2);
      assert.equal(await within(forB, `b, after ${serve}() of a`), 2);
      assert.equal(channel.stats().receiverTimesSlept, 4);
    }
  });

  test(`${kind}: ready() takes nothing: another receiver can have the value`, async () => {
    using scene = open(kind, { pollBudget: 0 });
    const { sender, a, b } = scene;
    const ready = a.ready();
    const received = b.receive();
    assert.ok(await isPending(ready) && await isPending(received));
    sender.trySend(7);
    assert.equal(await within(received, "the value"), 7);
    sender.trySend(8);
    assert.equal(await within(ready, "ready()"), true);
    assert.equal(await within(a.ready(), "ready() of what is there"), true);
    assert.deepEqual(b.tryReceive(), { state: "ok", value: 8 });
    assert.deepEqual(a.tryReceive(), { state: "empty" });
    assert.ok(await isPending(a.ready()));
  });

  test(`${kind}: what drain() leaves when its handler throws goes to a receiver that sleeps`, async () => {
    using scene = open(kind, { pollBudget: 0 });
    const { sender, a, b } = scene;
    sender.sendBatch(range(100));
    assert.throws(() =>
      a.drain(() => {
        throw new Error("stop");
      }), /stop/);
    assert.deepEqual((await take(b, 99)).sort((x, y) => x - y), numbers(99, 1));
  });

  test(`${kind}: what readable() shows stays with its receiver until some is released, then it is for all`, async () => {
    using scene = open(kind);
    const { sender, a, b, channel } = scene;
    sender.sendBatch(range(1000));
    assert.equal(a.readable()?.length, 1000);
    for (let turn = 0; turn < 3; turn++) await nextTurn();
    assert.deepEqual(b.tryReceive(), { state: "empty" });
    a.release(1);
    a.release(1); // in the same turn
    assert.deepEqual(await take(b, 998), numbers(998, 2));
    assert.throws(() => a.release(1), RangeError);
    assert.equal(channel.size, 0);
  });

  test(`${kind}: the rest of a claim is its receiver's again, if no other takes it`, async () => {
    using scene = open(kind, { claim: 16 });
    const { sender, a, b, channel } = scene;
    sender.sendBatch(range(16));
    for (let value = 0; value < 8; value++) {
      assert.equal(await a.receive(), value);
      await nextTurn();
    }
    assert.deepEqual(b.tryReceive(), { state: "ok", value: 8 });
    await nextTurn();
    assert.deepEqual(a.tryReceive(), { state: "ok", value: 9 });
    assert.deepEqual(Array.from(a.receiveBatch(100)), numbers(6, 10));
    assert.deepEqual([channel.stats().redelivered, channel.size], [0, 0]);
  });

  test(`${kind}: a loop that is left gives back what it has claimed`, async () => {
    using scene = open(kind, { claim: 64, pollBudget: 0 });
    const { sender, a, b } = scene;
    sender.sendBatch(range(64));
    for await (const value of a) {
      assert.equal(value, 0);
      break;
    }
    assert.deepEqual(await take(b, 63), numbers(63, 1));
    sender.sendBatch(range(64));
    const loop = a.run(() => {
      throw new Error("stop");
    });
    await assert.rejects(loop.finished, /stop/);
    assert.deepEqual(await take(b, 63), numbers(63, 1));
  });

  test(`${kind}: a value whose receiver's thread is busy goes to another that sleeps`, async () => {
    const channel = kinds[kind](u32, { capacity: 64 });
    const sender = channel.sender();
    const hold = new Int32Array(new SharedArrayBuffer(8));
    await using busy = new TestWorker("web");
    await using idle = new TestWorker("web");
    try {
      const ending = busy.call("receiveWhileBusy", channel.receiverTicket(), hold);
      const receiving = idle.call("receiveSome", channel.receiverTicket(), 20);
      // The busy one waits for a value, and its thread stands still.
      await until(() => Atomics.load(hold, 0) === 1, "the busy Worker is busy");
      await until(() => channel.stats().receivers === 2, "both are open");
      for (let value = 0; value < 20; value++) sender.trySend(value);
      const values = await receiving;
      assert.deepEqual(values.sort((x, y) => x - y), range(20));
      sender.close();
      Atomics.store(hold, 1, 1);
      Atomics.notify(hold, 1);
      await ending;
    } finally {
      Atomics.store(hold, 1, 1);
      Atomics.notify(hold, 1);
      channel[Symbol.dispose]();
    }
  });
}

test("mpmc: so does one whose sender's thread does not turn either", async () => {
  using channel = mpmc(u32, { capacity: 64, pollBudget: 0 });
  const idle = channel.receiver();
  const hold = new Int32Array(new SharedArrayBuffer(8));
  await using busy = new TestWorker("web");
  await using sending = new TestWorker("web");
  try {
    // The receivers are woken in turn, so this one is the next.
    const received = idle.receive();
    await until(() => channel.stats().receiverTimesSlept === 1, "it sleeps");
    const before = channel.sender();
    before.trySend(0);
    assert.equal(await within(received, "the first value"), 0);
    const next = idle.receive();
    const ending = busy.call("receiveWhileBusy", channel.receiverTicket(), hold);
    await until(() => Atomics.load(hold, 0) === 1, "the busy Worker is busy");
    const sent = sending.call("sendAndBlock", channel.senderTicket(), 1, hold);
    assert.equal(await within(next, "the value"), 1);
    before.close();
    Atomics.store(hold, 1, 1);
    Atomics.notify(hold, 1);
    await Promise.all([ending, sent]);
  } finally {
    Atomics.store(hold, 1, 1);
    Atomics.notify(hold, 1);
    idle.close();
  }
});

for (const kind of Object.keys(kinds) as (keyof typeof kinds)[]) {
  test(`${kind}: a thread that blocks offers what it has claimed before`, async () => {
    const channel = kinds[kind](u32, { capacity: 16, claim: 16 });
    await using worker = new TestWorker("web");
    const [sender, a] = [channel.sender(), channel.receiver()];
    sender.sendBatch(range(16));
    assert.equal(a.readable()?.length, 16);
    const receiving = worker.call("receiveSome", channel.receiverTicket(), 31);
    await until(() => channel.stats().receiverTimesSlept >= 1, "the Worker sleeps");
    assert.deepEqual(a.tryReceive(), { state: "ok", value: 0 });
    // In the same turn. There is room for all of it only if the Worker receives what is claimed here.
    for (let value = 16; value < 32; value++) sender.sendSync(value, { timeout: 10_000 });
    const values = await within(receiving, "the values");
    assert.deepEqual(values.sort((x, y) => x - y), numbers(31, 1));
    for (const endpoint of [a, sender]) endpoint.close();
    channel[Symbol.dispose]();
  });

  test(`${kind}: what receiveBatch() leaves behind a value that cannot be decoded is for all`, async () => {
    using channel = kinds[kind](
      custom<number>({
        name: "offers-odd",
        encode: (value) => Uint8Array.of(value),
        decode: (bytes) => {
          if (bytes[0] === 2) throw new Error("two");
          return bytes[0] as number;
        },
      }),
    );
    using sender = channel.sender();
    using a = channel.receiver();
    using b = channel.receiver();
    for (const value of [0, 1, 2, 3]) assert.ok(sender.trySend(value));
    assert.deepEqual(a.receiveBatch(4), [0, 1]);
    await nextTurn();
    await assert.rejects(within(b.receive(), "the value that cannot be decoded"), /two/);
    assert.equal(await within(b.receive(), "the value behind it"), 3);
  });

  test(`${kind}: what readable() showed is for all once the view is good no longer`, async () => {
    using scene = open(kind);
    const { sender, a, b } = scene;
    sender.sendBatch(range(10));
    assert.equal(a.readable()?.length, 10);
    assert.equal(await a.ready(), true);
    assert.throws(() => a.release(1), RangeError);
    await nextTurn();
    assert.deepEqual(await take(b, 10), range(10));
  });
}

test("a sleeper looks by itself for what another was woken for, also if that was so before it slept", async () => {
  const [words, done] = [new Int32Array(new SharedArrayBuffer(4)), Promise.withResolvers<void>()];
  let isArmed = false;
  const waiter = new Waiter(
    words,
    0,
    {
      attempt: () => {
        if (isArmed) done.resolve();
        return isArmed;
      },
      arm: () => isArmed = true,
      disarm: () => {},
      orphans: () => 0,
      isLeft: () => true,
    },
    0,
  );
  waiter.start();
  await within(done.promise, "a look");
  waiter.cancel();
});

test('mpmc: "empty" is said only when there was a moment without a message', async () => {
  // Each thread sends one and receives one: whenever one looks, there is a message for it.
  const threads = 3;
  const count = 20_000;
  const channel = mpmc(u32, { capacity: 4 });
  const workers = range(threads).map(() => new TestWorker("web"));
  try {
    const tickets = workers.map(() => ({
      sender: channel.senderTicket(),
      receiver: channel.receiverTicket(),
    }));
    const misses = await Promise.all(
      workers.map((worker, index) =>
        worker.call("sendOneReceiveOne", tickets[index] as (typeof tickets)[number], count)
      ),
    );
    assert.deepEqual(misses, workers.map(() => 0));
  } finally {
    await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
    channel[Symbol.dispose]();
  }
});
