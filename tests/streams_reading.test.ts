import assert from "node:assert/strict";
import test from "node:test";
import { bytes, ChannelClosedError, custom, mpmc, mpsc, spmc, spsc, u32 } from "../mod.ts";
import {
  isPending,
  nextTurn,
  rejectionOf,
  rejects,
  throws,
  until,
  within,
} from "./support/bounded.ts";
import { pair, takeAll } from "./support/channels.ts";

const kinds = { mpsc, spsc, spmc, mpmc };
const sharedKinds = { spmc, mpmc };

/** Numbers below 256; 2 cannot be decoded. */
const noTwo = custom<number>({
  name: "streams_reading.test noTwo",
  encode: (value) => Uint8Array.of(value),
  decode: ([value = 0]) => {
    if (value === 2) throw new RangeError("cannot decode 2");
    return value;
  },
});

for (const when of ["before", "after"] as const) {
  test(`a value that cannot be decoded, sent ${when} the read, errors the stream and ends the senders`, async () => {
    using both = pair(noTwo, { capacity: 64 });
    const reader = both.receiver.toReadableStream().getReader();
    if (when === "before") both.sender.sendBatch([1, 2, 3]);
    const reads = [reader.read(), reader.read()] as const;
    reads[1].catch(() => {});
    if (when === "after") both.sender.sendBatch([1, 2, 3]);
    assert.deepEqual(await within(reads[0], "the first read"), { done: false, value: 1 });
    await rejects(reads[1], { name: "RangeError", message: /cannot decode 2/ });
    assert.equal(both.receiver.closed, true);
    const error = await rejectionOf(both.sender.send(4));
    assert.ok(error instanceof ChannelClosedError);
    assert.match(String(error.cause), /cannot decode 2/);
  });
}

test("a pipe whose source cannot be decoded rejects, and its sender does not wait for ever", async () => {
  using both = pair(noTwo, { capacity: 64 });
  const sent = both.sender.sendAll(new Array(50).fill(1).with(10, 2));
  const ends = [both.receiver.toReadableStream().pipeTo(new WritableStream()), sent];
  const [piped, sending] = await within(Promise.allSettled(ends), "both ends");
  assert.equal(piped?.status === "rejected" && piped.reason.name, "RangeError");
  assert.equal(sending?.status === "rejected" && sending.reason.name, "ChannelClosedError");
});

test("a cancel passes its reason on to the senders; without one there is none", async () => {
  for (const reason of [undefined, new TypeError("not what I wanted")]) {
    using both = pair(u32);
    const reader = both.receiver.toReadableStream().getReader();
    const read = reader.read();
    await within(reader.cancel(reason), "the cancel");
    assert.deepEqual(await within(read, "the read"), { done: true, value: undefined });
    const error = await rejectionOf(both.sender.send(4));
    assert.ok(error instanceof ChannelClosedError);
    assert.equal((error.cause as Error | undefined)?.message, reason?.message);
  }
});

test("a pipe whose destination fails passes the failure on to the senders; a loop that is left gives none", async () => {
  using failing = pair(u32);
  failing.sender.trySend(1);
  const destination = new WritableStream({
    write() {
      throw new TypeError("the disk is full");
    },
  });
  const piped = failing.receiver.toReadableStream().pipeTo(destination);
  await rejects(piped, { name: "TypeError", message: /the disk is full/ });
  const error = await rejectionOf(failing.sender.send(2)) as Error;
  assert.equal((error.cause as Error).message, "the disk is full");

  using left = pair(u32);
  left.sender.trySend(1);
  for await (const _ of left.receiver.toReadableStream()) break;
  assert.equal((await rejectionOf(left.sender.send(2)) as Error).cause, undefined);
});

for (const [name, make] of Object.entries(kinds)) {
  test(`a cancel right behind a read loses nothing: the read has the value, or it is still there (${name})`, async () => {
    for (const startedBefore of [true, false]) {
      using channel = make(u32, { capacity: 16 });
      using sender = channel.sender();
      using receiver = channel.receiver();
      sender.trySend(7);
      const reader = receiver.toReadableStream().getReader();
      if (startedBefore) await nextTurn();
      const read = reader.read();
      const cancelled = reader.cancel();
      const result = await within(read, "the read");
      await within(cancelled, "the cancel");
      if (!result.done) assert.equal(result.value, 7);
      else assert.equal(channel.stats().received, 0);
    }
  });
}

for (const [name, make] of Object.entries(sharedKinds)) {
  test(`a cancel leaves what was not read to the other receivers (${name})`, async () => {
    using channel = make(u32, { capacity: 16 });
    using sender = channel.sender();
    using other = channel.receiver();
    const receiver = channel.receiver();
    const reader = receiver.toReadableStream().getReader();
    const read = reader.read();
    assert.ok(await isPending(read));
    sender.sendBatch([1, 2, 3]);
    const cancelled = reader.cancel();
    const result = await within(read, "the read");
    await cancelled;
    const all = [...(result.done ? [] : [result.value]), ...takeAll(other)];
    assert.deepEqual(all, [1, 2, 3]);
    assert.equal(channel.stats().redelivered, 0);
    assert.equal(channel.closed, false);
  });
}

test("a stream ends when its receiver is closed, and errors when that is run by a loop", async () => {
  using both = pair(u32);
  const reader = both.receiver.toReadableStream().getReader();
  const read = reader.read();
  assert.ok(await isPending(read));
  both.receiver.close();
  assert.deepEqual(await within(read, "the read"), { done: true, value: undefined });

  using other = pair(u32);
  const stream = other.receiver.toReadableStream();
  const loop = other.receiver.run(() => {});
  await rejects(stream.getReader().read(), { name: "TypeError", message: /run\(\) is consuming/ });
  await within(loop.stop(), "the loop goes on");
  assert.equal(other.receiver.closed, false);
});

test("toReadableStream() with highWaterMark takes so many ahead", async () => {
  using both = pair(u32, { capacity: 8 });
  both.sender.sendBatch([1, 2, 3, 4]);
  const reader = both.receiver.toReadableStream({ highWaterMark: 2 }).getReader();
  await nextTurn();
  await nextTurn();
  assert.equal(both.receiver.size, 2);
  assert.deepEqual(await reader.read(), { done: false, value: 1 });
  await nextTurn();
  assert.equal(both.receiver.size, 1);
});

test("toReadableStream() throws for an option that cannot be, and takes nothing", () => {
  using both = pair(u32);
  both.sender.trySend(1);
  const make = (options: unknown) => both.receiver.toReadableStream(options as { type: "bytes" });
  for (const highWaterMark of ["1", null, 1n]) {
    throws(() => make({ highWaterMark }), { name: "TypeError", message: /highWaterMark must be/ });
  }
  for (const highWaterMark of [-1, NaN]) {
    throws(() => make({ highWaterMark }), { name: "RangeError", message: /highWaterMark must be/ });
  }
  for (const type of ["byte", null, 1]) {
    throws(() => make({ type }), { name: "TypeError", message: /type must be "bytes"/ });
  }
  throws(() => make({ type: "bytes" }), { name: "TypeError", message: /the layout "bytes"/ });
  throws(() => make(null), { name: "TypeError", message: /options must be an object/ });
  assert.deepEqual(takeAll(both.receiver), [1]);
});

// ---- bytes ----

test("a stream of bytes fills the reader's own buffer, message after message", async () => {
  using both = pair(bytes, { capacity: 256 });
  const reader = both.receiver.toReadableStream({ type: "bytes" }).getReader({ mode: "byob" });
  const first = reader.read(new Uint8Array(2));
  assert.ok(await isPending(first));
  // An empty message has no bytes to give.
  for (const message of [[], [1, 2, 3], [], [4]]) both.sender.trySend(Uint8Array.from(message));
  assert.deepEqual([...((await within(first, "the first read")).value ?? [])], [1, 2]);
  assert.deepEqual([...((await reader.read(new Uint8Array(8))).value ?? [])], [3]);
  assert.deepEqual([...((await reader.read(new Uint8Array(8))).value ?? [])], [4]);
  const last = reader.read(new Uint8Array(8));
  assert.ok(await isPending(last));
  both.channel.close();
  const end = await within(last, "the end");
  assert.deepEqual([end.done, end.value?.length], [true, 0]);
});

test("a stream of bytes has a default reader as well, and errors with the reason of the close", async () => {
  using both = pair(bytes, { capacity: 256 });
  both.sender.trySend(Uint8Array.of(1, 2));
  both.sender.trySend(Uint8Array.of(3));
  both.channel.close(new Error("dry"));
  const reader = both.receiver.toReadableStream({ type: "bytes" }).getReader();
  assert.deepEqual([...((await reader.read()).value ?? [])], [1, 2]);
  assert.deepEqual([...((await reader.read()).value ?? [])], [3]);
  const error = await rejectionOf(reader.read());
  assert.match(String((error as Error).cause), /dry/);
});

for (const when of ["before the read", "during the read"] as const) {
  test(`an end in the middle of an element of the reader's buffer, ${when}, errors the stream, and nothing else`, async () => {
    using both = pair(bytes, { capacity: 256 });
    const reader = both.receiver.toReadableStream({ type: "bytes" }).getReader({ mode: "byob" });
    const closed = rejectionOf(reader.closed);
    const whole = reader.read(new Uint16Array(4));
    if (when === "during the read") assert.ok(await isPending(whole));
    for (const message of [[1], [2]]) both.sender.trySend(Uint8Array.from(message));
    const { value } = await within(whole, "an element of two messages");
    assert.deepEqual([...new Uint8Array(value?.buffer ?? new ArrayBuffer(0), 0, 2)], [1, 2]);

    if (when === "before the read") {
      both.sender.trySend(Uint8Array.of(3));
      both.sender.close();
    }
    const half = rejectionOf(reader.read(new Uint16Array(4)));
    if (when === "during the read") {
      both.sender.trySend(Uint8Array.of(3));
      await until(() => both.receiver.size === 0, "the byte is taken");
      both.sender.close();
    }
    const error = await within(half, "the read");
    assert.ok(error instanceof TypeError);
    assert.equal(await within(closed, "reader.closed"), error);
  });
}
