import assert from "node:assert/strict";
import test from "node:test";
import {
  bytes,
  type Channel,
  custom,
  f64,
  json,
  type Layout,
  mpmc,
  mpsc,
  pool,
  spmc,
  spsc,
  struct,
  u32,
  u64,
  utf8,
} from "../mod.ts";
import { endpointClosed, nextTurn, throws, until, within } from "./support/bounded.ts";
import { fill, pair, range, takeAll } from "./support/channels.ts";

const kinds = { mpsc, spsc, spmc, mpmc };

const layouts: Record<string, [layout: Layout<unknown, unknown>, values: unknown[]]> = {
  u32: [u32 as Layout<unknown, unknown>, [1, 2, 3]],
  f64: [f64 as Layout<unknown, unknown>, [0.5, -1, 1e300]],
  u64: [u64 as Layout<unknown, unknown>, [1n, 2n, 3n]],
  struct: [
    struct({ id: u32, at: f64 }) as unknown as Layout<unknown, unknown>,
    [{ id: 1, at: 0.5 }, { id: 2, at: 1 }, { id: 3, at: 2 }],
  ],
  bytes: [bytes as Layout<unknown, unknown>, [
    Uint8Array.of(1),
    new Uint8Array(0),
    Uint8Array.of(2, 3),
  ]],
  utf8: [utf8 as Layout<unknown, unknown>, ["", "Grüße", "water".repeat(20)]],
  json: [json as Layout<unknown, unknown>, [{ a: 1 }, null, [1, "two"]]],
  custom: [
    custom<number>({
      name: "peek.test number",
      encode: (value) => Uint8Array.of(value),
      decode: ([value = 0]) => value,
    }) as Layout<unknown, unknown>,
    [1, 2, 3],
  ],
};

for (const [name, make] of Object.entries(kinds)) {
  test(`peek() shows the value that the next receive gives, in every layout (${name})`, async () => {
    for (const [layoutName, [layout, values]] of Object.entries(layouts)) {
      // So small that the values come to its end.
      const channel: Channel<unknown, unknown> = make(layout, { capacity: 512 });
      using sender = channel.sender();
      using receiver = channel.receiver();
      assert.deepEqual(receiver.peek(), { state: "empty" });
      for (let round = 0; round < 10; round++) {
        for (const value of values) assert.ok(sender.trySend(value));
        for (const value of values) {
          const expected = { state: "ok", value } as const;
          assert.deepEqual(receiver.peek(), expected, layoutName);
          assert.deepEqual(receiver.peek(), expected, layoutName);
          assert.deepEqual(await receiver.receive(), value, layoutName);
        }
      }
      channel.close();
      assert.deepEqual(receiver.peek(), { state: "closed" });
      channel[Symbol.dispose]();
    }
  });

  test(`peek() takes nothing: it counts as there, and no room comes from it (${name})`, () => {
    using channel = make(u32, { capacity: 4 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    fill(sender, (index) => index);
    receiver.peek();
    assert.equal(channel.size, 4);
    assert.equal(sender.trySend(4), false);
    assert.deepEqual(takeAll(receiver), range(4));
  });
}

for (const kind of ["spmc", "mpmc"] as const) {
  test(`peek() holds its value until the turn ends; then another receiver can have it (${kind})`, async () => {
    using channel = kinds[kind](u32, { capacity: 8 });
    using sender = channel.sender();
    using first = channel.receiver();
    using second = channel.receiver();
    sender.sendBatch([1, 2]);
    assert.deepEqual(first.peek(), { state: "ok", value: 1 });
    assert.deepEqual(second.tryReceive(), { state: "ok", value: 2 });
    assert.deepEqual(second.tryReceive(), { state: "empty" });
    assert.equal(await within(second.receive(), "what the other has looked at"), 1);
    assert.deepEqual(first.peek(), { state: "empty" });
    assert.equal(channel.stats().redelivered, 0);
  });
}

test("peek() does not pass by receives that wait", async () => {
  using both = pair(u32);
  const waiting = both.receiver.receive();
  both.sender.sendBatch([1, 2]);
  assert.deepEqual(both.receiver.peek(), { state: "ok", value: 2 });
  assert.equal(await within(waiting, "the receive that waited"), 1);
});

test("peek() leaves what readable() gave to be released", () => {
  using both = pair(u32);
  both.sender.sendBatch([1, 2, 3]);
  both.receiver.readable();
  assert.deepEqual(both.receiver.peek(), { state: "ok", value: 1 });
  both.receiver.release(2);
  assert.deepEqual(both.receiver.peek(), { state: "ok", value: 3 });
  both.receiver.release(1);
});

test("peek() of what cannot be decoded throws, and it stays there", () => {
  const layout = custom<number>({
    name: "peek.test bad",
    encode: (value) => Uint8Array.of(value),
    decode: () => {
      throw new RangeError("cannot decode");
    },
  });
  using both = pair(layout, { capacity: 64 });
  both.sender.trySend(1);
  const bad = { name: "RangeError", message: /cannot decode/ };
  throws(() => both.receiver.peek(), bad);
  throws(() => both.receiver.peek(), bad);
  assert.equal(both.channel.size, 1);
  throws(() => both.receiver.tryReceive(), bad);
  assert.equal(both.channel.size, 0);
});

test("peek() refuses slabs, and closed or busy receivers", async () => {
  using slabs = pool({ slab: 64, count: 1 });
  using channel = mpsc(slabs.layout(), { capacity: 4 });
  const sender = channel.sender();
  using receiver = channel.receiver();
  await sender.send(await slabs.alloc(1));
  throws(() => receiver.peek(), { name: "TypeError", message: /Cannot peek: a slab/ });
  (await receiver.receive()).free();

  using both = pair(u32);
  const loop = both.receiver.run(() => {});
  throws(() => both.receiver.peek(), { name: "TypeError", message: /run\(\) is consuming/ });
  await loop.stop();
  both.receiver.close();
  throws(() => both.receiver.peek(), endpointClosed);
});

test("peek() shows a message in a pool, and keeps no slab", async () => {
  for (const make of [mpsc, mpmc]) {
    using slabs = pool({ slab: 4096, count: 2 });
    using channel = make(utf8, { capacity: 1024 }).withPool(slabs, { threshold: 64 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    for (let round = 0; round < 10; round++) {
      const text = `${round}`.repeat(2000);
      await within(sender.send(text), "a slab");
      for (let looks = 0; looks < 3; looks++) {
        assert.deepEqual(receiver.peek(), { state: "ok", value: text });
      }
      if (round % 2 === 0) await nextTurn();
      assert.equal(await within(receiver.receive(), "the message"), text);
    }
    await until(() => slabs.stats().free === 2, "all slabs are free");
  }
});
