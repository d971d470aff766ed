/**
 * Who goes first in a sender: whatever waits, in any mixture of verbs, is served in the order it came.
 *
 * @module
 */

import assert from "node:assert/strict";
import test from "node:test";
import { bytes, type ChannelClosedError, custom, json, mpsc, pool, u32 } from "../mod.ts";
import type { Layout } from "../mod.ts";
import { channelClosed, isPending, nextTurn, rejects, within } from "./support/bounded.ts";
import { fill, pair, range, takeAll } from "./support/channels.ts";

/** Receives one value a turn of the event loop, as a slow consumer does. */
async function receiveSlowly(
  receiver: { receive(): Promise<number> },
  isEnough: (received: number[]) => boolean,
): Promise<number[]> {
  const received: number[] = [];
  while (!isEnough(received)) {
    assert.ok(received.length < 200, `not enough after ${received.length} values: ${received}`);
    received.push(await within(receiver.receive(), "a value"));
    await nextTurn();
  }
  return received;
}

/** Sends ones for as long as the channel is open, each when the one before has been sent. */
async function flood(sender: { send(value: number): Promise<void> }): Promise<void> {
  try {
    while (true) await sender.send(1);
  } catch {
    // The channel is closed.
  }
}

const marked = (count: number) => (received: number[]) =>
  received.filter((value) => value >= 100).length === count;

/** Ways to send values of 100 and more, each of which waits for room. */
const verbs: [string, (sender: ReturnType<typeof floodable>) => Promise<unknown>][] = [
  ["sendAll()", ({ sender }) => sender.sendAll(range(8).map((value) => 100 + value))],
  ["send()", async ({ sender }) => {
    for (const value of range(8)) await sender.send(100 + value);
  }],
  ["ready() and trySend()", async ({ sender }) => {
    for (const value of range(8)) while (!sender.trySend(100 + value)) await sender.ready();
  }],
  ["writer.ready() and tryPush()", async ({ sender }) => {
    const writer = sender.writer({ chunk: 1 });
    for (const value of range(8)) while (!writer.tryPush(100 + value)) await writer.ready();
    writer.flush();
  }],
  ["ready() and reserve()", async ({ sender }) => {
    for (const value of range(8)) {
      let room = sender.reserve(1);
      while (room === undefined) {
        await sender.ready();
        room = sender.reserve(1);
      }
      room[0] = 100 + value;
      sender.commit();
    }
  }],
  ["ready() and sendBatch()", async ({ sender }) => {
    const values = range(8).map((value) => 100 + value);
    for (let sent = 0; sent < values.length;) {
      const count = sender.sendBatch(values, sent);
      sent += count;
      if (count === 0) await sender.ready();
    }
  }],
];

function floodable() {
  return pair(u32, { capacity: 2 });
}

for (const [name, send] of verbs) {
  test(`${name} goes on beside loops of send(), in turn`, async () => {
    using both = floodable();
    fill(both.sender, () => 1);
    const floods = [flood(both.sender), flood(both.sender)];
    const sending = send(both);
    const received = await receiveSlowly(both.receiver, marked(8));
    await within(sending, name);
    assert.deepEqual(
      received.filter((value) => value >= 100),
      range(8).map((value) => 100 + value),
    );
    // Three take turns, and what is in the ring comes first.
    assert.ok(received.length <= 3 * 8 + 8, `took ${received.length} values`);
    both.channel.close();
    await within(Promise.all(floods), "the floods");
  });
}

test("what waits is served in the order it came, whatever the verb", async () => {
  using both = pair(u32, { capacity: 4 });
  const { sender, receiver } = both;
  fill(sender, () => 0);
  const writer = sender.writer();
  const done: string[] = [];
  const note = (name: string) => () => void done.push(name);
  const waits = [
    sender.send(1).then(note("send 1")),
    sender.sendAll([2, 3, 4, 5, 6, 7]).then(note("sendAll")),
    sender.ready().then(() => {
      done.push("ready");
      assert.ok(sender.trySend(8), "the room that it waited for");
    }),
    sender.send(9).then(note("send 9")),
    writer.ready().then(() => {
      done.push("writer.ready");
      assert.ok(writer.tryPush(10));
      writer.flush();
    }),
    sender.sendAll([11]).then(note("sendAll 11")),
  ];
  const received: number[] = [];
  while (received.length < 4 + 11) received.push(await within(receiver.receive(), "a value"));
  await within(Promise.all(waits), "all that waits");
  assert.deepEqual(received, [0, 0, 0, 0, ...range(11).map((value) => value + 1)]);
  assert.deepEqual(done, [
    "send 1",
    "sendAll",
    "ready",
    "send 9",
    "writer.ready",
    "sendAll 11",
  ]);
});

test("ready() has the first chance to use its room, also where a send() in front of it comes back at once", async () => {
  using both = pair(u32, { capacity: 2 });
  const { sender, receiver } = both;
  fill(sender, () => 0);
  // Room for two comes at once: for the send and for the ready. The first to go on is the send's loop.
  const flooding = flood(sender);
  let turns = 0;
  const loop = (async () => {
    while (turns < 5) {
      await sender.ready();
      if (sender.trySend(100)) turns++;
    }
  })();
  for (let looks = 0; turns < 5; looks++) {
    assert.ok(looks < 100, `${turns} turns in ${looks} looks`);
    receiver.receiveBatch(2);
    await nextTurn();
  }
  await within(loop, "the loop");
  both.channel.close();
  await within(flooding, "the flood");
});

test("a ready() whose room is not used holds the others back for one turn of the event loop only", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  sender.trySend(0);
  const ready = sender.ready();
  const behind = sender.send(1);
  assert.equal(await receiver.receive(), 0);
  await within(ready, "ready()");
  await within(behind, "the send behind it");
  assert.equal(await receiver.receive(), 1);
});

test("200 calls of ready() that use nothing do not keep a send() waiting for ever", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  sender.trySend(0);
  const readies = range(200).map(() => sender.ready());
  const behind = sender.send(1);
  assert.equal(await receiver.receive(), 0);
  await within(Promise.all([...readies, behind]), "all");
  assert.equal(await receiver.receive(), 1);
});

test("a ready() that waits for more room than there is blocks no call that does not wait", async () => {
  using both = pair(bytes, { capacity: 256 });
  const { sender, receiver } = both;
  assert.ok(sender.trySend(new Uint8Array(100)));
  assert.ok(sender.trySend(new Uint8Array(40)));
  const ready = sender.ready({ bytes: 120 });
  assert.ok(await isPending(ready));
  assert.ok(sender.trySend(new Uint8Array(1)));
  assert.equal(sender.sendBatch([new Uint8Array(1)]), 1);
  assert.ok(sender.reserve(8));
  sender.commit();
  sender.sendSync(new Uint8Array(1), { timeout: 1000 });
  sender.sendAllSync([new Uint8Array(1)], { timeout: 1000 });
  const writer = sender.writer();
  assert.ok(writer.tryPush(new Uint8Array(1)));
  writer.flush();
  // One that waits does so behind it.
  const send = sender.send(new Uint8Array(1));
  assert.ok(await isPending(send));
  takeAll(receiver);
  await within(Promise.all([ready, send]), "ready() and the send behind it");
});

test("a send() or sendAll() that waits goes before trySend() and its like, whatever room there is by then", async () => {
  for (const first of ["send", "sendAll"] as const) {
    using both = pair(u32, { capacity: 2 });
    const { sender, receiver } = both;
    fill(sender, () => 0);
    const waiting = first === "send" ? sender.send(1) : sender.sendAll([1, 2, 3]);
    assert.equal(sender.trySend(9), false);
    assert.equal(receiver.receiveBatch(1).length, 1);
    assert.equal(sender.trySend(9), false);
    assert.equal(sender.sendBatch([9]), 0);
    assert.equal(sender.reserve(1), undefined);
    assert.equal(sender.writer().tryPush(9), false);
    const received: number[] = [];
    while (received.length < (first === "send" ? 2 : 4)) received.push(await receiver.receive());
    await within(waiting, first);
    assert.deepEqual(received.slice(1), first === "send" ? [1] : [1, 2, 3]);
    assert.ok(sender.trySend(9));
  }
});

test("a blocking send comes after what waits in its own thread, and does not wait for a ready() there", async () => {
  using both = pair(u32, { capacity: 4 });
  const { sender, receiver } = both;
  fill(sender, () => 0);
  const waits = [sender.send(1), sender.ready(), sender.sendAll([2, 3])];
  receiver.receiveBatch(4);
  sender.sendSync(4, { timeout: 1000 });
  assert.deepEqual(takeAll(receiver), [1, 2, 3, 4]);
  await within(Promise.all(waits), "what waited");
});

test("a writer pushes nothing past a send() that waits, by whatever way", async () => {
  using both = pair(u32, { capacity: 8 });
  const { sender, receiver } = both;
  const writer = sender.writer({ chunk: 8 });
  for (const value of range(8)) writer.push(value);
  const waiting = sender.send(8);
  receiver.receiveBatch(1);
  assert.equal(writer.tryPush(9), false);
  receiver.receiveBatch(1);
  // Served now: the value goes in, and the writer after it.
  assert.equal(writer.tryPush(9), true);
  const late = sender.sendAll([10, 11, 12]);
  assert.equal(writer.tryPush(13), false);
  const received = takeAll(receiver);
  await within(Promise.all([waiting, late]), "what waits");
  writer.push(13);
  writer.flush();
  assert.deepEqual([...received, ...takeAll(receiver)], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
});

test("alloc() of a pool is served in the order of the calls, tryAlloc() after those that wait", async () => {
  using slabs = pool({ slab: 64, count: 1 });
  const held = await slabs.alloc();
  const order: number[] = [];
  const waits = range(3).map((index) =>
    slabs.alloc().then((slab) => {
      order.push(index);
      slab.free();
    })
  );
  held.free();
  assert.equal(slabs.tryAlloc(), undefined);
  await within(Promise.all(waits), "all");
  assert.deepEqual(order, [0, 1, 2]);
});

// ---- what was refused ----

test("a trySend() that is refused, and a send() that has to wait, leave a reservation as it is", () => {
  using both = pair(bytes, { capacity: 256 });
  const { channel, sender, receiver } = both;
  sender.trySend(new Uint8Array(100));
  sender.trySend(new Uint8Array(56));
  const calls: [string, () => unknown][] = [
    ["trySend", () => sender.trySend(new Uint8Array(120))],
    ["send", () => sender.send(new Uint8Array(120)).catch(() => {})],
    ["sendBatch", () => sender.sendBatch([new Uint8Array(120)])],
    ["sendAll", () => sender.sendAll([new Uint8Array(120)]).catch(() => {})],
    ["tryPush", () => sender.writer().tryPush(new Uint8Array(120))],
    ["ready", () => sender.ready({ bytes: 120 }).catch(() => {})],
  ];
  // A wait of its own holds back a second reservation: one at a time.
  const [name, call] = calls[0] as (typeof calls)[0];
  const room = sender.reserve(4) as Uint8Array;
  room.fill(1);
  assert.equal(call(), false, name);
  for (const [, call] of calls.slice(1)) call();
  assert.equal(sender.reserve(1000 / 10), undefined);
  sender.commit();
  assert.deepEqual(receiver.receiveBatch(9).map(({ length }) => length), [100, 56, 4]);
  channel.close();
});

test("a struct or batch that is refused leaves what was written in place for commit()", () => {
  using both = pair(u32, { capacity: 8 });
  const { sender, receiver } = both;
  const room = sender.reserve(4) as Uint32Array;
  room.set([1, 2, 3, 4]);
  assert.throws(() => sender.sendBatch([9, -1]), { name: "RangeError" });
  sender.commit();
  assert.deepEqual(takeAll(receiver), [1, 2, 3, 4]);
});

test("reserve() on a closed channel throws ChannelClosedError, also where there is room", async () => {
  for (const layout of [u32, bytes] as unknown as Layout<number, Uint32Array>[]) {
    for (const end of ["receiver", "channel"] as const) {
      using both = pair(layout, { capacity: 64 });
      if (end === "receiver") both.receiver.close();
      else both.channel.close();
      assert.throws(() => both.sender.reserve(4), { name: "ChannelClosedError" });
      await rejects(both.sender.ready(), { name: "ChannelClosedError" });
    }
  }
});

const refusals: [string, Layout<unknown>, unknown, unknown, string][] = [
  ["u32", u32 as unknown as Layout<unknown>, 1, -1, "RangeError"],
  ["u32", u32 as unknown as Layout<unknown>, 1, "x", "TypeError"],
  ["json", json as Layout<unknown>, [1, 2], () => {}, "TypeError"],
  ["json", json as Layout<unknown>, [1, 2], "x".repeat(200), "RangeError"],
  ["bytes", bytes as Layout<unknown>, new Uint8Array(8), "x", "TypeError"],
  ["bytes", bytes as Layout<unknown>, new Uint8Array(8), new Uint8Array(200), "RangeError"],
];

for (const [name, layout, good, bad, error] of refusals) {
  test(`${name}: ${error} at once for what can never be sent, on a full ring, and behind others`, async () => {
    using both = pair(layout, { capacity: name === "u32" ? 4 : 64 });
    const { sender, receiver } = both;
    for (const isPending of [false, true]) {
      fill(sender, () => good);
      const waiting = isPending ? sender.send(good) : undefined;
      const writer = sender.writer();
      const refused = { name: error };
      assert.throws(() => sender.trySend(bad), refused, "trySend");
      assert.throws(() => sender.sendSync(bad), refused, "sendSync");
      assert.throws(() => writer.tryPush(bad), refused, "tryPush");
      assert.throws(() => writer.push(bad), refused, "push");
      assert.throws(() => sender.sendBatch([bad, good]), refused, "sendBatch");
      assert.throws(() => sender.sendAllSync([bad, good]), refused, "sendAllSync");
      await rejects(sender.send(bad), refused);
      await rejects(sender.sendAll([bad, good]), refused);
      const received = takeAll(receiver);
      await waiting;
      assert.deepEqual([...received, ...takeAll(receiver)].filter((value) => value === bad), []);
    }
  });
}

test("a value that waits is not encoded again and again to find that there is still no room", async () => {
  let encoded = 0;
  const layout = custom<number>({
    name: "order: counts its encodes",
    encode: (value) => {
      encoded++;
      return new Uint8Array(value);
    },
    decode: ({ length }) => length,
  });
  for (const verb of ["send", "sendAll"] as const) {
    using channel = mpsc(layout, { capacity: 256, pollBudget: 5000 });
    const sender = channel.sender();
    const receiver = channel.receiver();
    fill(sender, () => 120);
    const waiting = verb === "send" ? sender.send(100) : sender.sendAll([100]);
    encoded = 0;
    assert.ok(await isPending(waiting, 20));
    assert.equal(encoded, 0);
    assert.equal(await receiver.receive(), 120);
    await within(waiting, "the send");
    assert.deepEqual(receiver.receiveBatch(9), [120, 100]);
    assert.ok(encoded <= 2, `encoded ${encoded} times`);
  }
});

// ---- what was dropped ----

test("writer.ready() does not wait for a value that was dropped", async () => {
  using both = pair(bytes, { capacity: 256 });
  const { sender, receiver } = both;
  const writer = sender.writer();
  sender.trySend(new Uint8Array(100));
  sender.trySend(new Uint8Array(56));
  const large = new Uint8Array(120);
  // Dropped before it is waited for: another value is pushed.
  assert.equal(writer.tryPush(large), false);
  assert.equal(writer.tryPush(new Uint8Array(1)), true);
  await within(writer.ready(), "ready() after a smaller value");
  // Dropped while it is waited for.
  assert.equal(writer.tryPush(large), false);
  const ready = writer.ready();
  assert.ok(await isPending(ready));
  assert.equal(writer.tryPush(new Uint8Array(1)), true);
  await within(ready, "the wait for the large one");
  // Dropped after its wait was given up.
  assert.equal(writer.tryPush(large), false);
  await rejects(writer.ready({ timeout: 1 }), { name: "TimeoutError" });
  await within(writer.ready(), "ready() after the wait was given up");
  // Refused in another verb of the sender: of no meaning for the writer.
  assert.equal(sender.trySend(large), false);
  await within(writer.ready(), "ready() after a trySend()");
  // And with bytes for what comes next.
  assert.equal(writer.tryPush(large), false);
  await within(writer.ready({ bytes: 1 }), "ready() for a byte");
  assert.ok(await isPending(writer.ready({ bytes: 120 })));
  takeAll(receiver);
});

test("writer.ready() does not wait for a slab when what needed one was dropped", async () => {
  using slabs = pool({ slab: 1024, count: 1 });
  using channel = mpsc(bytes, { capacity: 256 }).withPool(slabs, { threshold: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  using held = await slabs.alloc();
  const writer = sender.writer();
  assert.equal(writer.tryPush(new Uint8Array(1000)), false);
  assert.equal(writer.tryPush(new Uint8Array(10)), true);
  await within(writer.ready(), "ready() after a small value");
  assert.equal(sender.trySend(new Uint8Array(1000)), false);
  await within(writer.ready(), "ready() after a trySend() of a large value");
  await within(sender.ready({ bytes: 10 }), "ready() of the sender, for a small value");
  // For one that only a slab can hold, the sender waits for a slab.
  const large = sender.ready({ bytes: 1000 });
  assert.ok(await isPending(large));
  held.free();
  await within(large, "a slab");
  assert.ok(sender.trySend(new Uint8Array(1000)));
  assert.deepEqual(receiver.receiveBatch(9).map(({ length }) => length), [10, 1000]);
});

// ---- how much was sent ----

test("onSent says exactly how many were sent, also when the channel closes in the middle", async () => {
  for (const verb of ["sendAll", "sendAllSync"] as const) {
    for (const stop of [0, 1, 2, 3, 5]) {
      using both = pair(json as Layout<unknown>, { capacity: 8192 });
      const { channel, sender, receiver } = both;
      // The end of the ring comes in the middle: what is before it is published before the rest is put.
      sender.trySend("x".repeat(4000));
      receiver.receiveBatch(1);
      const values = range(8).map((index) => ({
        toJSON: () => {
          if (index === stop) channel.close();
          return "x".repeat(index % 2 === 0 ? 1500 : 10);
        },
      }));
      let told = 0;
      const onSent = (sent: number) => {
        assert.ok(sent > told, "more each time");
        told = sent;
      };
      let error: unknown;
      try {
        if (verb === "sendAll") await sender.sendAll(values, { onSent, timeout: 1000 });
        else sender.sendAllSync(values, { onSent, timeout: 1000 });
      } catch (caught) {
        error = caught;
      }
      const received = takeAll(receiver);
      assert.equal(told, received.length, `${verb}, closed at ${stop}`);
      if ((error as Error).name !== "ChannelClosedError") throw error;
      assert.deepEqual((error as ChannelClosedError).value, values.slice(told));
    }
  }
});

test("sendAll() in parts tells each part, and what is missing when the channel closes", async () => {
  using both = pair(u32, { capacity: 2 });
  const { channel, sender, receiver } = both;
  const parts: number[] = [];
  const sending = sender.sendAll([1, 2, 3, 4, 5], { onSent: (sent) => void parts.push(sent) });
  assert.deepEqual(parts, [2]);
  assert.equal(await receiver.receive(), 1);
  while (parts.length < 2) await nextTurn();
  channel.close();
  const error = await rejects(sending, channelClosed) as ChannelClosedError;
  assert.deepEqual([parts, error.value], [[2, 3], [4, 5]]);
  assert.deepEqual(takeAll(receiver), [2, 3]);
});

test("sendAll() that times out says how many were sent", async () => {
  using both = pair(u32, { capacity: 2 });
  const error = await rejects(both.sender.sendAll([1, 2, 3], { timeout: 1 }), {
    name: "TimeoutError",
    message: /^Cannot send all: waited 1 ms; sent 2 of 3$/,
  });
  assert.equal((error as Error & { sent: number }).sent, 2);
  assert.deepEqual(takeAll(both.receiver), [1, 2]);
});

test("onSent may throw, send, or close: what was sent stays sent, and is told", async () => {
  using both = pair(u32, { capacity: 2 });
  const { sender, receiver } = both;
  const failing = sender.sendAll([1, 2, 3], {
    onSent: () => {
      throw new Error("not today");
    },
  });
  await rejects(failing, { name: "Error", message: /not today/ });
  assert.deepEqual(takeAll(receiver), [1, 2]);
  const inner: boolean[] = [];
  const sending = sender.sendAll([3, 4, 5], { onSent: () => void inner.push(sender.trySend(9)) });
  const received: number[] = [];
  while (received.length < 3) received.push(await within(receiver.receive(), "a value"));
  await within(sending, "sendAll()");
  received.push(...takeAll(receiver));
  assert.equal(received.filter((value) => value === 9).length, inner.filter(Boolean).length);
  assert.deepEqual(received.filter((value) => value !== 9), [3, 4, 5]);
  fill(sender, () => 0);
  const closing = sender.sendAll([6, 7], { onSent: () => sender.close() });
  await receiver.receive();
  const error = await rejects(closing, { name: "ChannelClosedError" }) as ChannelClosedError;
  assert.deepEqual(error.value, [7]);
  assert.deepEqual(takeAll(receiver), [0, 6]);
});
