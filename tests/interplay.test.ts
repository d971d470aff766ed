/**
 * Ways of using an endpoint together, or out of turn, that once lost, repeated or blocked something.
 */

import assert from "node:assert/strict";
import test from "node:test";
import { bytes, type Channel, json, mpsc, Receiver, Sender, struct, u32 } from "../mod.ts";
import type { ReceiverTicket, SenderTicket } from "../mod.ts";
import { channelClosed, nextTurn, rejectionOf, throws, until, within } from "./support/bounded.ts";
import { pair, takeAll } from "./support/channels.ts";

const message = (length: number) => new Uint8Array(length);

test("sendAll() of records waits for room for the next one, and lets the event loop turn", async () => {
  using both = pair(bytes, { capacity: 64 });
  const sending = both.sender.sendAll([message(16), message(16), message(16)]);
  let turned = false;
  setImmediate(() => turned = true);
  await until(() => turned, "a turn of the event loop");
  const received = takeAll(both.receiver);
  await within(sending, "sendAll()");
  assert.equal(received.length + takeAll(both.receiver).length, 3);
});

test("Writer.ready() waits for room for the value that tryPush() refused", async () => {
  using both = pair(bytes, { capacity: 64 });
  const writer = both.sender.writer();
  while (writer.tryPush(message(16)));
  const ready = writer.ready();
  let turned = false;
  setImmediate(() => turned = true);
  await until(() => turned, "a turn of the event loop");
  takeAll(both.receiver);
  await within(ready, "ready()");
  assert.ok(writer.tryPush(message(16)));
});

test("what is pushed or reserved does not pass by a send that waits for room", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender, receiver } = both;
  const writer = sender.writer();
  sender.trySend(1);
  const second = sender.send(2);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 1 });
  assert.equal(writer.tryPush(3), false);
  assert.equal(sender.reserve(1), undefined);
  await within(second, "send()");
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 2 });
  assert.ok(writer.tryPush(3));
  writer.flush();
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 3 });
});

test("a send that is aborted lets the next one, which needs less room, through", async () => {
  using both = pair(bytes, { capacity: 64, pollBudget: 0 });
  const { sender } = both;
  sender.trySend(message(16));
  sender.trySend(message(16));
  const abort = new AbortController();
  const large = sender.send(message(24), { signal: abort.signal });
  const small = sender.send(message(8));
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  abort.abort(new Error("enough"));
  assert.equal((await rejectionOf(large) as Error).message, "enough");
  await within(small, "the send behind");
});

test("asyncDispose of a receiver closes it, also when its loop fails", async () => {
  using both = pair(u32);
  both.receiver.run(() => {
    throw new Error("boom");
  });
  both.sender.trySend(1);
  assert.match(String(await rejectionOf(both.receiver[Symbol.asyncDispose]())), /boom/);
  assert.equal(both.channel.stats().receiver, "gone");
});

test("release() refuses what was received otherwise since readable(), and repeats nothing", () => {
  using both = pair(u32, { capacity: 64 });
  const { sender, receiver } = both;
  sender.sendBatch(Array.from({ length: 30 }, (_, index) => index));
  const seen: number[] = [];
  receiver.drain((value) => {
    seen.push(value);
    if (value === 10) receiver.readable();
    if (value === 20) throws(() => receiver.release(1), { name: "RangeError" });
  });
  assert.deepEqual(seen, Array.from({ length: 30 }, (_, index) => index));
});

test("release(0) before any receive does nothing", () => {
  using both = pair(bytes);
  both.receiver.release(0);
});

test("return() of an iterator takes back the next() that waits", async () => {
  using both = pair(u32);
  const iterator = both.receiver[Symbol.asyncIterator]();
  const next = iterator.next();
  await iterator.return?.();
  assert.deepEqual(await within(next, "next()"), { done: true, value: undefined });
  both.sender.trySend(7);
  assert.deepEqual(both.receiver.tryReceive(), { state: "ok", value: 7 });
});

test("a message that cannot be decoded gives its place back", async () => {
  using both = pair(json, { capacity: 64 });
  const room = both.sender.reserve(3) as Uint8Array;
  room.set([0x7b, 0x7b, 0x7b]); // "{{{"
  both.sender.commit();
  both.channel.close();
  throws(() => both.receiver.tryReceive(), { name: "SyntaxError" });
  assert.equal(both.channel.stats().slotsUsed, 0);
  await within(both.channel.drained(), "drained()");
});

test("commit() after a close is a ChannelClosedError whatever was reserved", () => {
  using both = pair(json, { capacity: 64 });
  both.sender.reserve(3);
  both.channel.close();
  throws(() => both.sender.commit(), channelClosed);
});

test("a put that is refused spoils no reservation", () => {
  using both = pair(struct({ a: u32, b: u32 }), { capacity: 4 });
  const { sender } = both;
  sender.reserve(1)?.set(0, { a: 1, b: 2 });
  throws(() => sender.trySend({ a: 99, b: -1 }), { name: "RangeError" });
  throws(() => sender.sendBatch([{ a: 98, b: -1 }]), { name: "RangeError" });
  sender.commit();
  assert.deepEqual(takeAll(both.receiver), [{ a: 1, b: 2 }]);
});

test("a signal aborted by the value's own code leaves nothing waiting", async () => {
  using both = pair(json, { capacity: 64, pollBudget: 1000 });
  const { sender, receiver } = both;
  while (sender.trySend(1));
  const abort = new AbortController();
  let calls = 0;
  const sending = sender.send({
    toJSON() {
      // First by send() itself, then when there is room for what waits.
      if (++calls === 2) abort.abort();
      return 1;
    },
  } as never, { signal: abort.signal });
  receiver.receiveBatch(2);
  assert.equal((await within(rejectionOf(sending), "the abort") as Error).name, "AbortError");
  takeAll(receiver);
  assert.ok(sender.trySend(2));
  assert.equal(both.channel.stats().slotsUsed, 2, "the aborted value was not sent");
});

test("after a view's buffer is transferred away every receive says so", () => {
  using channel: Channel<number, Uint32Array> = mpsc(u32);
  const [first, second] = [channel.sender(), channel.sender()];
  const receiver = channel.receiver();
  first.trySend(1);
  const view = receiver.readable() as Uint32Array<ArrayBuffer>;
  structuredClone(view.buffer, { transfer: [view.buffer] });
  receiver.release();
  second.trySend(2);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 2 });
  first.trySend(3);
  for (let attempt = 0; attempt < 2; attempt++) {
    throws(() => receiver.tryReceive(), { name: "MillraceError", code: "MEMORY_TRANSFERRED" });
  }
});

// ---- the thread that made a channel, or let a view go, is gone ----

/** Has a Worker do a task, and terminates it once it has answered. */
async function fromDeadWorker<Answer>(task: string, ticket?: unknown): Promise<Answer> {
  const url = new URL("./support/owner_worker.js", import.meta.url).href;
  const worker = new Worker(url, { type: "module" });
  const answer = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
  worker.postMessage({ task, ticket });
  try {
    return await within(answer, `the Worker's ${task}`) as Answer;
  } finally {
    worker.terminate();
  }
}

test("a receiver does not wait for senders that nobody can open any more", async () => {
  const ticket = await fromDeadWorker<ReceiverTicket<number>>("receiverTicket");
  using receiver = Receiver.open(ticket);
  const error = await within(rejectionOf(receiver.receive()), "the end of the channel");
  assert.equal((error as Error).name, "ChannelClosedError");
});

test("a sender does not wait for a receiver that nobody can open any more", async () => {
  const ticket = await fromDeadWorker<SenderTicket<number>>("senderTicket");
  // The Worker may be gone before the ticket is used, or while the sender waits for room.
  const sending = async () => {
    using sender = Sender.open(ticket);
    await sender.sendAll([1, 2, 3]);
  };
  const error = await within(rejectionOf(sending()), "the end of the channel");
  assert.equal((error as Error).name, "ChannelClosedError");
});

test("a view that outlives its Worker and its channel reads zeros, not someone's memory", async () => {
  const channel = mpsc(u32);
  const sender = channel.sender();
  sender.sendBatch([1, 2, 3]);
  const view = await fromDeadWorker<Uint32Array>("transferView", channel.receiverTicket());
  await until(() => channel.stats().receiver === "gone", "the end of the Worker");
  sender.close();
  channel[Symbol.dispose]();
  assert.deepEqual([...view], [0, 0, 0]);
});
