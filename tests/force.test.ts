/**
 * forceSend(): the newest messages are there, the oldest are dropped.
 *
 * @module
 */

import assert from "node:assert/strict";
import test from "node:test";
import { bytes, json, type Layout, mpmc, mpsc, pool, spmc, spsc, u32, utf8 } from "../mod.ts";
import { isPending, throws, within } from "./support/bounded.ts";
import { fill, range, takeAll } from "./support/channels.ts";
import { TestWorker } from "./support/workers.ts";

const kinds = { spmc, mpmc };

for (const [kind, make] of Object.entries(kinds)) {
  test(`${kind}: forceSend() drops the oldest, and counts them`, () => {
    using channel = make(u32, { capacity: 4, initialSequence: 2 ** 32 - 3 });
    const sender = channel.sender();
    const receiver = channel.receiver();
    for (const value of range(100)) assert.equal(sender.forceSend(value), true);
    assert.equal(receiver.size, 4);
    const { sent, received, dropped, size, slotsUsed } = channel.stats();
    assert.deepEqual({ sent, received, dropped, size, slotsUsed }, {
      sent: 100,
      received: 0,
      dropped: 96,
      size: 4,
      slotsUsed: 4,
    });
    assert.deepEqual(takeAll(receiver), [96, 97, 98, 99]);
    const after = channel.stats();
    assert.deepEqual([after.received, after.dropped, after.size], [4, 96, 0]);
    assert.equal(sender.forceSend(7), true);
    assert.deepEqual([takeAll(receiver), channel.stats().dropped], [[7], 96]);
  });

  test(`${kind}: forceSend() of messages of variable length drops as many as need be`, () => {
    for (const layout of [utf8, json] as unknown as Layout<string>[]) {
      using channel = make(layout, { capacity: 256 });
      const sender = channel.sender();
      const receiver = channel.receiver();
      const sent: string[] = [];
      for (const index of range(500)) {
        const value = `${index} `.padEnd(1 + (index * 37) % 110, "x");
        assert.equal(sender.forceSend(value), true);
        sent.push(value);
      }
      const left = takeAll(receiver);
      assert.ok(left.length >= 1);
      assert.deepEqual(left, sent.slice(-left.length));
      const stats = channel.stats();
      assert.deepEqual([stats.dropped + stats.received, stats.size, stats.slotsUsed], [500, 0, 0]);
    }
  });

  test(`${kind}: forceSend() drops nothing that a receiver is at work on, nor what is behind it`, async () => {
    using channel = make(u32, { capacity: 4 });
    const sender = channel.sender();
    const receiver = channel.receiver();
    fill(sender, (value) => value);
    const values = receiver[Symbol.asyncIterator]();
    assert.deepEqual(await values.next(), { done: false, value: 0 });
    assert.equal(sender.forceSend(4), false);
    assert.deepEqual([channel.stats().dropped, channel.size], [0, 4]);
    // It is handled when the next one is asked for, which then is in hand.
    assert.deepEqual(await values.next(), { done: false, value: 1 });
    assert.equal(sender.forceSend(4), true);
    assert.equal(sender.forceSend(5), false);
    await values.return?.();
    assert.equal(sender.forceSend(5), true);
    assert.deepEqual([takeAll(receiver), channel.stats().dropped], [[2, 3, 4, 5], 0]);
  });

  test(`${kind}: forceSend() comes after what waits, and sends that, too`, async () => {
    using channel = make(u32, { capacity: 2 });
    const sender = channel.sender();
    const receiver = channel.receiver();
    fill(sender, (value) => value);
    const waiting = [sender.send(2), sender.sendAll([3, 4, 5])];
    assert.ok(await isPending(waiting[0] as Promise<void>));
    assert.equal(sender.forceSend(6), true);
    await within(Promise.all(waiting), "what waited");
    assert.deepEqual([takeAll(receiver), channel.stats().dropped], [[5, 6], 5]);
  });

  test(`${kind}: forceSend() beside receivers in Workers: each value once, in order, and none is missing`, async () => {
    const count = 20_000;
    await using first = new TestWorker("web");
    await using second = new TestWorker("node");
    const workers = [first, second];
    using channel = make(u32, { capacity: 16 });
    const sender = channel.sender();
    for (const worker of workers) await worker.call("openReceiver", channel.receiverTicket());
    const receiving = workers.map((worker, index) =>
      worker.call("receiveRest", index === 0 ? "tryReceive" : "receive")
    );
    let refused = 0;
    for (const value of range(count)) {
      if (!sender.forceSend(value)) refused++;
      if (value % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    sender.close();
    const received = (await Promise.all(receiving)) as number[][];
    for (const values of received) {
      assert.deepEqual(values, values.toSorted((a, b) => a - b));
    }
    const all = received.flat();
    assert.equal(new Set(all).size, all.length, "none came twice");
    assert.equal(all.length + channel.stats().dropped + refused, count);
  });
}

test("forceSend() is refused where only the receiver takes from a ring, and where slabs would be lost", () => {
  for (const make of [mpsc, spsc]) {
    using channel = make(u32);
    throws(() => channel.sender().forceSend(1), { name: "TypeError", message: /use spmc or mpmc/ });
  }
  using slabs = pool({ slab: 1024, count: 2 });
  using handles = spmc(slabs.layout());
  using slab = slabs.allocSync();
  throws(() => handles.sender().forceSend(slab), { name: "TypeError", message: /slabs/ });
  using pooled = spmc(bytes).withPool(slabs, { threshold: 1 });
  throws(() => pooled.sender().forceSend(new Uint8Array(2)), {
    name: "TypeError",
    message: /pool/,
  });
});

test("forceSend() refuses what can never be sent, and tells that the channel is closed; nothing is dropped", () => {
  using channel = spmc(u32, { capacity: 2 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  fill(sender, (value) => value);
  throws(() => sender.forceSend(-1), { name: "RangeError" });
  throws(() => sender.forceSend("1" as never), { name: "TypeError" });
  channel.close();
  assert.equal(sender.forceSend(1), false);
  sender.close();
  throws(() => sender.forceSend(1), { name: "ChannelClosedError", code: "ENDPOINT_CLOSED" });
  assert.deepEqual([takeAll(receiver), channel.stats().dropped], [[0, 1], 0]);
});
