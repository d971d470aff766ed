import assert from "node:assert/strict";
import test from "node:test";
import { bytes, type ChannelClosedError, json, mpsc, struct, u32, utf8 } from "../mod.ts";
import {
  channelClosed,
  endpointClosed,
  isPending,
  nextTurn,
  refusalOf,
  rejects,
  throws,
  within,
} from "./support/bounded.ts";
import { collect, fill, pair, range, takeAll } from "./support/channels.ts";

const full = { capacity: 2 };
const timeout = { name: "TimeoutError", code: "TIMEOUT" };

// ---- trySend ----

test("trySend() is true while there is room, false when the ring is full or the channel closed", () => {
  using both = pair(u32, full);
  const { channel, sender, receiver } = both;
  assert.deepEqual([sender.trySend(1), sender.trySend(2), sender.trySend(3)], [true, true, false]);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 1 });
  assert.equal(sender.trySend(4), true);
  channel.close();
  assert.equal(sender.trySend(5), false);
  assert.deepEqual(takeAll(receiver), [2, 4]);
});

test("trySend() does not pass by sends that wait for room", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  assert.ok(sender.trySend(1));
  const pending = sender.send(2);
  assert.equal(sender.trySend(3), false);
  assert.equal(receiver.receiveBatch(1)[0], 1);
  assert.equal(sender.trySend(3), false);
  await within(pending, "the waiting send");
  assert.equal(await receiver.receive(), 2);
  assert.ok(sender.trySend(3));
  assert.equal(await receiver.receive(), 3);
});

// ---- send ----

test("send() resolves when there is room, in the order of the calls", async () => {
  using both = pair(u32, full);
  const { sender, receiver } = both;
  const sends = range(50).map((value) => sender.send(value));
  assert.ok(await isPending(sends[2] as Promise<void>));
  assert.deepEqual(
    await within(Array.fromAsync(range(50), () => receiver.receive()), "all"),
    range(50),
  );
  await within(Promise.all(sends), "the sends");
});

test("send() rejects with the unsent value when closed", async () => {
  using both = pair(struct({ a: u32 }), { capacity: 1 });
  const { channel, sender } = both;
  await sender.send({ a: 1 });
  const values = [{ a: 2 }, { a: 3 }];
  const pending = values.map((value) => sender.send(value));
  channel.close();
  for (const [index, send] of pending.entries()) {
    const error = await rejects(send, channelClosed) as ChannelClosedError;
    assert.equal(error.value, values[index]);
  }
  const late = { a: 4 };
  const error = await rejects(sender.send(late), channelClosed) as ChannelClosedError;
  assert.equal(error.value, late);
});

test("send() with a signal gives up waiting, sends nothing, and leaves the others in order", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  await sender.send(0);
  const controller = new AbortController();
  const first = sender.send(1);
  const aborted = sender.send(2, { signal: controller.signal });
  const last = sender.send(3, { signal: new AbortController().signal });
  const reason = new Error("changed my mind");
  controller.abort(reason);
  assert.equal(await rejects(aborted, { name: "Error" }), reason);
  const received = [await receiver.receive(), await receiver.receive(), await receiver.receive()];
  assert.deepEqual(received, [0, 1, 3]);
  await within(Promise.all([first, last]), "the other sends");
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });
  await rejects(
    (async () => {
      fill(sender, () => 9);
      await sender.send(4, { signal: controller.signal });
    })(),
    { name: "Error", message: /changed my mind/ },
  );
});

test("send() with something that is no signal sends nothing", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  await sender.send(1);
  await rejects(sender.send(2, { signal: {} as AbortSignal }), { name: "TypeError" });
  assert.equal(await receiver.receive(), 1);
  assert.equal(sender.trySend(3), true);
  assert.equal(await receiver.receive(), 3);
});

test("a batch that is refused where the ring begins anew sends nothing, now or later", () => {
  using both = pair(u32, { capacity: 4 });
  const { sender, receiver } = both;
  for (const value of [1, 2, 3, 4]) sender.trySend(value);
  assert.deepEqual([...receiver.receiveBatch(4)], [1, 2, 3, 4]);
  throws(() => sender.sendBatch([-1]), { name: "RangeError" });
  assert.equal(sender.sendBatch([5]), 1);
  assert.deepEqual([...receiver.receiveBatch(4)], [5]);
});

test("send() of a value that is refused rejects, and those behind it go on", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  await sender.send(1);
  const wrong = sender.send(-1);
  const right = sender.send(2);
  wrong.catch(() => {});
  assert.equal(await receiver.receive(), 1);
  await rejects(wrong, { name: "RangeError" });
  await within(right, "the send behind");
  assert.equal(await receiver.receive(), 2);
});

// ---- sendSync ----

test("sendSync() sends when there is room", () => {
  using both = pair(u32, full);
  both.sender.sendSync(1);
  both.sender.sendSync(2, { timeout: 0 });
  assert.deepEqual(takeAll(both.receiver), [1, 2]);
});

test("sendSync() throws TimeoutError when its time is up, and has sent nothing", () => {
  using both = pair(u32, { capacity: 1 });
  both.sender.sendSync(1);
  for (const wait of ["spin", "yield", "sleep", "block", "timed", "phased"] as const) {
    throws(() => both.sender.sendSync(2, { wait, timeout: 1 }), timeout);
  }
  throws(() => both.sender.sendSync(2, { timeout: 0 }), timeout);
  assert.deepEqual(takeAll(both.receiver), [1]);
});

test("sendSync() throws ChannelClosedError with the value when closed", () => {
  using both = pair(u32, { capacity: 1 });
  both.sender.sendSync(1);
  both.channel.close();
  const error = throws(() => both.sender.sendSync(2), channelClosed) as ChannelClosedError;
  assert.equal(error.value, 2);
});

test("sendSync() throws for a wait it does not know, or a time that cannot be", () => {
  using both = pair(u32);
  const { sender, receiver } = both;
  const send = (options: unknown) => sender.sendSync(1, options as { timeout: number });
  throws(() => send({ wait: "nap" }), {
    name: "TypeError",
    message: /or "phased", received "nap"/,
  });
  throws(() => send({ wait: "timed" }), { name: "TypeError", message: /needs a timeout/ });
  for (const timeout of [-1, NaN, "1", null]) {
    throws(() => send({ timeout }), {
      name: refusalOf(timeout),
      message: /timeout must be a number/,
    });
  }
  assert.deepEqual(takeAll(receiver), []);
});

// ---- batches ----

test("sendBatch() sends what there is room for, and says how many", () => {
  using both = pair(u32, { capacity: 4 });
  const { sender, receiver } = both;
  const values = range(10);
  let sent = 0;
  const received: number[] = [];
  while (sent < 10) {
    const count = sender.sendBatch(values, sent);
    assert.ok(count > 0 && count <= 4);
    sent += count;
    received.push(...receiver.receiveBatch(3));
  }
  received.push(...takeAll(receiver));
  assert.deepEqual(received, values);
  assert.equal(sender.sendBatch([]), 0);
  assert.equal(sender.sendBatch([1], 1), 0);
  assert.equal(sender.sendBatch([1], 5), 0);
});

test("sendBatch() throws ChannelClosedError with what was not sent", () => {
  using both = pair(u32);
  both.channel.close();
  const error = throws(() => both.sender.sendBatch([1, 2, 3], 1), channelClosed);
  assert.deepEqual((error as ChannelClosedError).value, [2, 3]);
});

test("sendBatch() throws for what is not an array, or an index that cannot be", () => {
  using both = pair(u32);
  const batch = (values: unknown, from?: unknown) =>
    both.sender.sendBatch(values as number[], from as number);
  for (const values of [undefined, null, 1, "12", { length: 1, 0: 1 }, new Set([1])]) {
    throws(() => batch(values), { name: "TypeError", message: /array or typed array/ });
  }
  throws(() => batch(new DataView(new ArrayBuffer(4))), { name: "TypeError" });
  for (const from of [-1, 0.5, NaN, "1"]) throws(() => batch([1], from), { name: refusalOf(from) });
});

test("sendBatch() that throws for a bad value has sent nothing of that call, wherever the ring ends", () => {
  for (let offset = 0; offset < 8; offset++) {
    using both = pair(u32, { capacity: 8 });
    const { sender, receiver } = both;
    for (let index = 0; index < offset; index++) {
      sender.trySend(0);
      receiver.tryReceive();
    }
    const values = [1, 2, 3, -1, 4];
    let sent = 0;
    throws(() => {
      for (let calls = 0; calls < 3; calls++) sent += sender.sendBatch(values, sent);
    }, { name: "RangeError" });
    assert.deepEqual(takeAll(receiver), [1, 2, 3].slice(0, sent), `at ${offset}`);
    assert.equal(sender.sendBatch([...values.slice(sent, 3), 5]), 4 - sent);
    assert.deepEqual(takeAll(receiver), [1, 2, 3, 5].slice(sent));
  }
});

test("sendBatch() with a value that is refused loses nothing that a writer had pushed", () => {
  using both = pair(u32);
  const writer = both.sender.writer();
  writer.push(1);
  throws(() => both.sender.sendBatch([2, -1]), { name: "RangeError" });
  writer.flush();
  assert.deepEqual(takeAll(both.receiver).slice(0, 1), [1]);
});

test("sendAll() sends everything, through a ring much smaller", async () => {
  using both = pair(u32, { capacity: 4 });
  const { sender, receiver } = both;
  const sent = sender.sendAll(new Uint32Array(range(1000))).then(() => sender.close());
  assert.deepEqual(await collect(receiver), range(1000));
  await within(sent, "sendAll()");
});

test("sendAll() rejects with what was not sent when the channel closes", async () => {
  using both = pair(u32, { capacity: 2 });
  const { channel, sender, receiver } = both;
  const sent = sender.sendAll([1, 2, 3, 4, 5]);
  assert.equal(await receiver.receive(), 1);
  assert.ok(await isPending(sent));
  channel.close();
  const error = await rejects(sent, channelClosed) as ChannelClosedError;
  const delivered = await collect(receiver);
  assert.deepEqual([1, ...delivered, ...(error.value as number[])], [1, 2, 3, 4, 5]);
});

test("sendAll() with a signal gives up waiting", async () => {
  using both = pair(u32, { capacity: 2 });
  const controller = new AbortController();
  const sent = both.sender.sendAll([1, 2, 3], { signal: controller.signal });
  assert.ok(await isPending(sent));
  controller.abort(new Error("enough"));
  await rejects(sent, { name: "Error", message: /enough/ });
  assert.deepEqual(takeAll(both.receiver), [1, 2]);
});

test("sendAll() that is aborted has told what it had sent, so that the program can go on", async () => {
  using both = pair(u32, { capacity: 4 });
  const controller = new AbortController();
  const values = range(20);
  const told: number[] = [];
  const onSent = (sent: number) => void told.push(sent);
  const sending = both.sender.sendAll(values, { signal: controller.signal, onSent });
  assert.deepEqual(told, [4]);
  const received = [await both.receiver.receive(), await both.receiver.receive()];
  while (told.at(-1) !== 6) await within(nextTurn(), "two more to be sent");
  controller.abort(new Error("enough"));
  await rejects(sending, { name: "Error", message: /enough/ });
  received.push(...takeAll(both.receiver));
  assert.deepEqual(received, values.slice(0, told.at(-1)));
  // Each time more than before.
  assert.ok(told.every((sent, index) => index === 0 || sent > (told[index - 1] ?? 0)), `${told}`);
});

test("sendAll() and sendAllSync() that meet a bad value have told what they had sent", async () => {
  for (const isSync of [false, true]) {
    for (const layout of [u32, json] as unknown as (typeof u32)[]) {
      for (const bad of [0, 1, 3, 7, 10]) {
        using both = pair(layout, { capacity: layout === u32 ? 16 : 1024 });
        const values: number[] = range(12);
        values[bad] = layout === u32 ? -1 : 1n as unknown as number;
        let sent = 0;
        const onSent = (count: number) => void (sent = count);
        const refused = { name: layout === u32 ? "RangeError" : "TypeError" };
        if (isSync) throws(() => both.sender.sendAllSync(values, { onSent }), refused);
        else await rejects(both.sender.sendAll(values, { onSent }), refused);
        assert.ok(sent <= bad);
        assert.deepEqual(takeAll(both.receiver), values.slice(0, sent));
      }
    }
  }
});

test("sendAll() refuses an onSent that is no function", async () => {
  using both = pair(u32);
  const options = { onSent: 1 } as unknown as { onSent(): void };
  await rejects(both.sender.sendAll([1], options), { name: "TypeError", message: /onSent/ });
  throws(() => both.sender.sendAllSync([1], options), { name: "TypeError", message: /onSent/ });
  assert.deepEqual(takeAll(both.receiver), []);
});

test("sendAllSync() sends everything there is room for, and says in its TimeoutError how many", () => {
  using both = pair(u32, { capacity: 4 });
  both.sender.sendAllSync([1, 2]);
  const error = throws(() => both.sender.sendAllSync([3, 4, 5, 6], { timeout: 1 }), timeout);
  assert.match(error.message, /\b2\b.*(sent|of)|sent.*\b2\b/);
  assert.deepEqual(takeAll(both.receiver), [1, 2, 3, 4]);
});

// ---- ready ----

test("ready() resolves at once when there is room, and when there is again", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  await within(sender.ready(), "room");
  sender.trySend(1);
  const ready = sender.ready();
  assert.ok(await isPending(ready));
  receiver.tryReceive();
  await within(ready, "room again");
  assert.ok(sender.trySend(2));
  const closing = sender.ready();
  both.channel.close();
  await rejects(closing, channelClosed);
  await rejects(sender.ready(), channelClosed);
});

test("ready() with a signal gives up waiting", async () => {
  using both = pair(u32, { capacity: 1 });
  both.sender.trySend(1);
  const controller = new AbortController();
  const ready = both.sender.ready({ signal: controller.signal });
  controller.abort(new Error("enough"));
  await rejects(ready, { name: "Error", message: /enough/ });
});

// ---- the writer ----

test("writer() publishes when its chunk is full", () => {
  using both = pair(u32, { capacity: 64 });
  const { sender, receiver } = both;
  const writer = sender.writer({ chunk: 4 });
  for (const value of [1, 2, 3]) writer.push(value);
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });
  writer.push(4);
  assert.deepEqual(takeAll(receiver), [1, 2, 3, 4]);
  assert.equal(both.channel.stats().commits, 1);
});

test("writer() publishes a quarter of the ring at a time unless told otherwise", () => {
  using both = pair(u32, { capacity: 64 });
  const writer = both.sender.writer();
  for (const value of range(15)) writer.push(value);
  assert.equal(both.channel.stats().sent, 0);
  writer.push(15);
  assert.equal(both.channel.stats().sent, 16);
});

test("writer() publishes at flush() and when disposed of", () => {
  using both = pair(u32);
  const { sender, receiver } = both;
  {
    using writer = sender.writer();
    writer.push(1);
    writer.flush();
    assert.deepEqual(takeAll(receiver), [1]);
    writer.flush();
    writer.push(2);
  }
  assert.deepEqual(takeAll(receiver), [2]);
  assert.ok(sender.trySend(3), "the sender stays open");
});

test("writer() publishes before the turn of the event loop ends", async () => {
  for (const layout of [u32, utf8]) {
    using both = pair(layout as typeof u32);
    const writer = both.sender.writer();
    const value = (layout === utf8 ? "late" : 1) as number;
    writer.push(value);
    assert.deepEqual(both.receiver.tryReceive(), { state: "empty" });
    await nextTurn();
    assert.deepEqual(takeAll(both.receiver), [value]);
    // And again, not only the first time.
    writer.push(value);
    await nextTurn();
    assert.deepEqual(takeAll(both.receiver), [value]);
  }
});

test("writer() and its sender share one order", async () => {
  using both = pair(u32);
  const { sender, receiver } = both;
  const writer = sender.writer();
  const other = sender.writer();
  writer.push(1);
  other.push(2);
  assert.ok(sender.trySend(3));
  writer.push(4);
  await sender.send(5);
  writer.push(6);
  assert.equal(sender.sendBatch([7, 8]), 2);
  writer.push(9);
  writer.flush();
  assert.deepEqual(takeAll(receiver), range(9).map((index) => index + 1));
});

test("push() blocks on a full ring until its time is up, and has published what came before", () => {
  using both = pair(u32, { capacity: 4 });
  const { sender, receiver } = both;
  const writer = sender.writer({ chunk: 100, timeout: 1 });
  for (const value of range(4)) writer.push(value);
  throws(() => writer.push(4), timeout);
  assert.deepEqual(takeAll(receiver), range(4));
  writer.push(5);
  writer.flush();
  assert.deepEqual(takeAll(receiver), [5]);
});

test("tryPush() is false when the ring is full; ready() then resolves when it is not", async () => {
  using both = pair(utf8, { capacity: 64 });
  const { sender, receiver } = both;
  const writer = sender.writer();
  const sent: string[] = [];
  const received: string[] = [];
  for (const index of range(200)) {
    const text = `message ${index}`;
    while (!writer.tryPush(text)) {
      const ready = writer.ready();
      received.push(...takeAll(receiver));
      await within(ready, "room");
    }
    sent.push(text);
  }
  writer.flush();
  received.push(...takeAll(receiver));
  assert.deepEqual(received, sent);
});

test("flush() on a closed channel throws with what was pushed and not sent", () => {
  using both = pair(u32);
  const writer = both.sender.writer();
  writer.push(1);
  writer.push(2);
  both.channel.close();
  const error = throws(() => writer.flush(), channelClosed) as ChannelClosedError;
  assert.deepEqual(Array.from(error.value as Uint32Array), [1, 2]);
  assert.deepEqual(both.receiver.tryReceive(), { state: "closed" });
});

test("push() on a closed channel throws with every value that was not sent, exactly once", async () => {
  using both = pair(utf8, { capacity: 64 });
  const { channel, sender, receiver } = both;
  const writer = sender.writer({ chunk: 100 });
  const unsent: string[] = [];
  writer.push("sent");
  writer.flush();
  writer.push("a");
  channel.close();
  // The turn's own flush meets the close; the next call tells.
  await nextTurn();
  const error = throws(() => writer.push("b"), channelClosed) as ChannelClosedError;
  unsent.push(...(error.value as string[]));
  assert.deepEqual(await collect(receiver), ["sent"]);
  assert.ok(unsent.length === 1 || unsent.length === 2);
  assert.equal(unsent[0], "a");
});

test("trySend() on a closed channel does not swallow what a writer had pushed", () => {
  using both = pair(u32);
  const { channel, sender } = both;
  const writer = sender.writer();
  writer.push(1);
  channel.close();
  assert.equal(sender.trySend(2), false);
  const error = throws(() => writer.flush(), channelClosed) as ChannelClosedError;
  assert.equal(Array.from(error.value as Uint32Array)[0], 1);
});

test("push() after close() of the sender throws, whatever was pending", () => {
  using both = pair(u32);
  const { channel, sender } = both;
  const writer = sender.writer();
  writer.push(1);
  channel.close();
  sender.close();
  throws(() => writer.push(2), { name: "ChannelClosedError" });
});

test("writer() throws for a chunk that cannot be", () => {
  using both = pair(u32);
  for (const chunk of [0, -1, 1.5, NaN, "4"]) {
    throws(() => both.sender.writer({ chunk: chunk as number }), { name: refusalOf(chunk) });
  }
  throws(() => both.sender.writer({ wait: "nap" as "spin" }), { name: "TypeError" });
});

// ---- reserve and commit ----

test("reserve() gives what is free in one run, and undefined when the ring is full", () => {
  using both = pair(u32, { capacity: 8 });
  const { sender, receiver } = both;
  const room = sender.reserve(5) as Uint32Array;
  room.set([1, 2, 3, 4, 5]);
  sender.commit(3);
  assert.deepEqual(takeAll(receiver), [1, 2, 3]);
  const toEnd = sender.reserve(8) as Uint32Array;
  assert.equal(toEnd.length, 5, "up to the ring's end");
  toEnd.set([4, 5, 6, 7, 8]);
  sender.commit();
  const again = sender.reserve(8) as Uint32Array;
  assert.equal(again.length, 3);
  again.set([9, 10, 11]);
  sender.commit();
  assert.equal(sender.reserve(1), undefined);
  assert.deepEqual(takeAll(receiver), range(8).map((index) => index + 4));
});

test("commit() sends nothing when zero, and throws for more than was reserved", () => {
  using both = pair(u32, { capacity: 8 });
  const { sender, receiver } = both;
  throws(() => sender.commit(1), { name: "RangeError" });
  sender.reserve(2);
  for (const count of [3, -1, 0.5, NaN, "1"]) {
    throws(() => sender.commit(count as number), { name: refusalOf(count) });
  }
  sender.commit(0);
  throws(() => sender.commit(1), { name: "RangeError" });
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });
  for (const count of [0, -1, 1.5, NaN, "1"]) {
    throws(() => sender.reserve(count as number), { name: refusalOf(count) });
  }
});

test("commit() throws RangeError when another send came between, and harms nothing", () => {
  const between: Record<string, (both: ReturnType<typeof opened>) => unknown> = {
    trySend: ({ sender }) => sender.trySend(9),
    sendBatch: ({ sender }) => sender.sendBatch([9]),
    push: ({ sender }) => sender.writer().push(9),
  };
  const opened = () => pair(u32, { capacity: 4 });
  for (const [name, send] of Object.entries(between)) {
    using both = opened();
    const { sender, receiver } = both;
    (sender.reserve(4) as Uint32Array).set([1, 2, 3, 4]);
    send(both);
    throws(() => sender.commit(4), { name: "RangeError" });
    sender.writer().flush();
    assert.deepEqual(takeAll(receiver), [9], name);
    assert.equal(fill(sender, (index) => index), 4, name);
    assert.deepEqual(takeAll(receiver), range(4), name);
  }
  using both = pair(utf8, { capacity: 256 });
  (both.sender.reserve(64) as Uint8Array).fill(65);
  both.sender.trySend("hello");
  throws(() => both.sender.commit(), { name: "RangeError" });
  assert.deepEqual(takeAll(both.receiver), ["hello"]);
});

test("reserve() publishes what a writer had pushed: commit() is good after the turn has ended", async () => {
  for (const layout of [u32, json] as unknown as (typeof u32)[]) {
    using both = pair(layout, { capacity: 64 });
    const writer = both.sender.writer();
    writer.push(1);
    writer.push(2);
    const room = both.sender.reserve(1) as unknown as Uint32Array | Uint8Array;
    assert.deepEqual(takeAll(both.receiver), [1, 2]);
    // A 3, as a number and as JSON.
    room[0] = layout === u32 ? 3 : 0x33;
    await nextTurn();
    both.sender.commit();
    assert.deepEqual(takeAll(both.receiver), [3]);
    writer.push(4);
    both.channel.close();
    const error = throws(() => both.sender.reserve(1), channelClosed) as ChannelClosedError;
    assert.deepEqual(Array.from(error.value as number[]), [4]);
    writer.flush();
  }
});

test("commit() throws ChannelClosedError when the channel was closed meanwhile", () => {
  for (const layout of [u32, bytes]) {
    using both = pair(layout as typeof u32);
    assert.ok(both.sender.reserve(1));
    both.channel.close();
    throws(() => both.sender.commit(), channelClosed);
    assert.deepEqual(both.receiver.tryReceive(), { state: "closed" });
  }
});

// ---- streams ----

function streamOf(values: readonly number[]): ReadableStream<number> {
  return new ReadableStream({
    start(controller) {
      for (const value of values) controller.enqueue(value);
      controller.close();
    },
  });
}

test("toWritableStream() sends what is written, and closing it ends the channel", async () => {
  using both = pair(u32, { capacity: 4 });
  const received = collect(both.receiver);
  await within(streamOf(range(100)).pipeTo(both.sender.toWritableStream()), "the pipe");
  assert.deepEqual(await received, range(100));
  assert.equal(both.sender.closed, true);
});

test("toWritableStream() holds back a writer while the ring is full", async () => {
  using both = pair(u32, { capacity: 2 });
  const { sender, receiver } = both;
  const writer = sender.toWritableStream().getWriter();
  const writes = range(5).map((value) => writer.write(value));
  assert.ok(await isPending(writes[2] as Promise<void>));
  assert.ok((writer.desiredSize ?? 0) <= 0);
  const received = [];
  for (let count = 0; count < 5; count++) {
    received.push(await within(receiver.receive(), "a value"));
  }
  assert.deepEqual(received, range(5));
  await within(Promise.all(writes), "the writes");
  await within(writer.close(), "the close");
  await rejects(receiver.receive(), channelClosed);
});

test("toWritableStream() ends the sender when it is aborted, also while a write waits", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  const writer = sender.toWritableStream().getWriter();
  writer.closed.catch(() => {});
  await writer.write(1);
  const waiting = writer.write(2);
  waiting.catch(() => {});
  await nextTurn();
  await within(writer.abort(new Error("enough")), "the abort", 2000);
  assert.equal(sender.closed, true);
  assert.equal(await receiver.receive(), 1);
  const error = await rejects(receiver.receive(), channelClosed);
  assert.equal((error.cause as Error).message, "enough");
});

test("toWritableStream() errors when the channel is closed", async () => {
  using both = pair(u32);
  const writer = both.sender.toWritableStream().getWriter();
  writer.closed.catch(() => {});
  await writer.write(1);
  both.channel.close();
  const error = await rejects(writer.write(2), channelClosed) as ChannelClosedError;
  assert.equal(error.value, 2);
});

// ---- close ----

test("close() delivers what was sent and pushed, rejects what still waits, and is idempotent", async () => {
  using both = pair(u32, { capacity: 4 });
  const { sender, receiver } = both;
  const writer = sender.writer();
  writer.push(1);
  sender.close();
  sender.close();
  assert.equal(sender.closed, true);
  assert.deepEqual(await collect(receiver), [1]);

  using waiting = pair(u32, { capacity: 1 });
  assert.ok(waiting.sender.trySend(1));
  const pending = waiting.sender.send(2);
  waiting.sender.close();
  const error = await rejects(pending, endpointClosed) as ChannelClosedError;
  assert.equal(error.value, 2);
  assert.deepEqual(await collect(waiting.receiver), [1]);
});

test("await using a sender waits for its pending sends", async () => {
  using channel = mpsc(u32, { capacity: 1 });
  using receiver = channel.receiver();
  const received = collect(receiver);
  await within(
    (async () => {
      await using sender = channel.sender();
      for (const value of range(20)) void sender.send(value);
    })(),
    "await using",
  );
  assert.deepEqual(await received, range(20));
});

test("every method of a closed sender says so", async () => {
  using both = pair(u32, { capacity: 4 });
  const { sender } = both;
  const writer = sender.writer();
  sender.close();
  const unsent = (error: Error) => (error as ChannelClosedError).value;
  assert.equal(unsent(throws(() => sender.trySend(1), endpointClosed)), 1);
  assert.equal(unsent(await rejects(sender.send(1), endpointClosed)), 1);
  assert.equal(unsent(throws(() => sender.sendSync(1), endpointClosed)), 1);
  assert.deepEqual(unsent(throws(() => sender.sendBatch([1, 2]), endpointClosed)), [1, 2]);
  assert.deepEqual(unsent(throws(() => sender.sendBatch([1, 2], 1), endpointClosed)), [2]);
  assert.deepEqual(unsent(await rejects(sender.sendAll([1]), endpointClosed)), [1]);
  assert.deepEqual(unsent(throws(() => sender.sendAllSync([1]), endpointClosed)), [1]);
  await rejects(sender.ready(), endpointClosed);
  throws(() => sender.writer(), endpointClosed);
  throws(() => sender.reserve(1), endpointClosed);
  throws(() => sender.commit(), endpointClosed);
  throws(() => writer.push(1), endpointClosed);
  throws(() => writer.tryPush(1), endpointClosed);
  await rejects(writer.ready(), endpointClosed);
  writer[Symbol.dispose]();
  const stream = sender.toWritableStream().getWriter();
  stream.closed.catch(() => {});
  await rejects(stream.write(1), endpointClosed);
  assert.equal(sender.closed, true);
  assert.equal(sender.capacity, 4);
  assert.equal(sender.ref(), sender);
  assert.equal(sender.unref(), sender);
  sender.close();
  sender[Symbol.dispose]();
  await sender[Symbol.asyncDispose]();
});
