import assert from "node:assert/strict";
import test from "node:test";
import {
  bytes,
  type ChannelClosedError,
  f64,
  i64,
  json,
  type Layout,
  mpsc,
  type ReceiverTicket,
  type SenderTicket,
  struct,
  u32,
  u64,
  u8,
  utf8,
} from "../mod.ts";
import { channelClosed, nextTurn, rejects, until, within } from "./support/bounded.ts";
import { collect, range } from "./support/channels.ts";
import type { Receiving, Sending } from "./support/worker_tasks.ts";
import { TestWorker, workerKinds } from "./support/workers.ts";

const sendings: readonly Sending[] = [
  "trySend",
  "send",
  "sendSync",
  "sendBatch",
  "sendAll",
  "sendAllSync",
  "writer",
];
const receivings: readonly Receiving[] = [
  "tryReceive",
  "receive",
  "receiveSync",
  "iterate",
  "batches",
  "run",
];

type AnySenderTicket = SenderTicket<unknown, unknown>;
type AnyReceiverTicket = ReceiverTicket<unknown, ArrayLike<unknown>>;

const point = struct({ id: u64, at: struct({ x: f64, y: f64 }), flags: u8 });
const layouts: Record<string, { layout: Layout<unknown, ArrayLike<unknown>>; values: unknown[] }> =
  {
    u32: { layout: u32 as Layout<unknown, ArrayLike<unknown>>, values: range(300) },
    i64: {
      layout: i64 as Layout<unknown, ArrayLike<unknown>>,
      values: range(300).map((value) => -BigInt(value)),
    },
    struct: {
      layout: point as Layout<unknown, ArrayLike<unknown>>,
      values: range(300).map((value) => ({
        id: BigInt(value),
        at: { x: value / 2, y: -value / 3 - 1 },
        flags: value % 256,
      })),
    },
    bytes: {
      layout: bytes as Layout<unknown, ArrayLike<unknown>>,
      values: range(300).map((value) => new Uint8Array(value % 50).fill(value)),
    },
    utf8: {
      layout: utf8 as Layout<unknown, ArrayLike<unknown>>,
      values: range(300).map((value) => (value % 2 ? "é" : "e").repeat(value % 40)),
    },
    json: {
      layout: json as unknown as Layout<unknown, ArrayLike<unknown>>,
      values: range(300).map((value) => ({ value, list: [null, `${value}`] })),
    },
  };

for (const kind of workerKinds) {
  test(`every layout and every way to send arrive from a Worker (${kind})`, async () => {
    await using worker = new TestWorker(kind);
    for (const [name, { layout, values }] of Object.entries(layouts)) {
      for (const how of sendings) {
        using channel = mpsc(layout, { capacity: name === "u32" ? 8 : 512 });
        using receiver = channel.receiver();
        const sent = worker.call("sendAndClose", channel.senderTicket(), how, values);
        const received = await collect(receiver);
        assert.deepEqual(received, values, `${name} by ${how}`);
        await sent;
        assert.equal(channel.stats().closed, "senders gone");
      }
    }
  });

  test(`every way to receive works in a Worker (${kind})`, async () => {
    await using worker = new TestWorker(kind);
    for (const [name, { layout, values }] of Object.entries(layouts)) {
      for (const how of receivings) {
        using channel = mpsc(layout, { capacity: name === "u32" ? 8 : 512 });
        const received = worker.call("receiveAll", channel.receiverTicket(), how);
        {
          await using sender = channel.sender();
          await within(sender.sendAll(values), "sendAll()");
        }
        assert.deepEqual(await received, values, `${name} by ${how}`);
        await within(channel.drained(), "drained()");
      }
    }
  });

  test(`several Workers send to one receiver, each in its own order (${kind})`, async () => {
    const count = 4;
    const each = 5000;
    const workers = range(count).map(() => new TestWorker(kind));
    try {
      using channel = mpsc(u32, {
        capacity: 64,
        maxSenders: count,
        initialSequence: 2 ** 32 - 100,
      });
      using receiver = channel.receiver();
      const sent = workers.map((worker, index) =>
        worker.call(
          "sendAndClose",
          channel.senderTicket() as AnySenderTicket,
          sendings[2 + index] as Sending,
          range(each).map((value) => index * each + value),
        )
      );
      const next = range(count).map((index) => index * each);
      let received = 0;
      await within(
        (async () => {
          for await (const value of receiver) {
            const index = Math.floor(value / each);
            assert.equal(value, next[index]);
            next[index] = value + 1;
            received++;
          }
        })(),
        "the end of the channel",
        20_000,
      );
      assert.equal(received, count * each);
      await Promise.all(sent);
    } finally {
      for (const worker of workers) await worker[Symbol.asyncDispose]();
    }
  });

  test(`a conversation with a Worker loses no wake-up, hot or cold (${kind})`, async () => {
    await using worker = new TestWorker(kind);
    using there = mpsc(u32, { capacity: 4 });
    using back = mpsc(u32, { capacity: 4 });
    using receiver = back.receiver();
    const echo = worker.call(
      "echo",
      there.receiverTicket() as AnyReceiverTicket,
      back.senderTicket() as AnySenderTicket,
    );
    using sender = there.sender();
    for (const value of range(1000)) {
      await sender.send(value);
      assert.equal(await within(receiver.receive(), `answer ${value}`), value);
      if (value % 100 !== 0) continue;
      // Long enough for both event loops to fall asleep.
      for (let turn = 0; turn < 10; turn++) await nextTurn();
    }
    sender.close();
    assert.equal(await echo, 1000);
    await rejects(receiver.receive(), channelClosed);
  });

  test(`a writer in a Worker publishes before its turn ends, without a flush (${kind})`, async () => {
    await using worker = new TestWorker(kind);
    using channel = mpsc(u32);
    using receiver = channel.receiver();
    await worker.call("openSender", channel.senderTicket() as AnySenderTicket);
    await worker.call("pushOnly", [1, 2, 3]);
    const received = range(3).map(() => receiver.receive());
    assert.deepEqual(await within(Promise.all(received), "the values"), [1, 2, 3]);
    await worker.call("closeSender");
  });

  test(`closing the receiver in a Worker ends the senders elsewhere (${kind})`, async () => {
    await using worker = new TestWorker(kind);
    using channel = mpsc(u32, { capacity: 1 });
    using sender = channel.sender();
    await worker.call("openReceiver", channel.receiverTicket() as AnyReceiverTicket);
    assert.ok(sender.trySend(1));
    const pending = rejects(sender.send(2), channelClosed);
    await nextTurn();
    await worker.call("closeReceiver");
    const error = await pending as ChannelClosedError;
    assert.equal(error.value, 2);
    assert.equal(channel.stats().closed, "receiver gone");
  });

  test(`closing the channel here ends an async send and receive in a Worker (${kind})`, async () => {
    await using worker = new TestWorker(kind);
    using full = mpsc(u32, { capacity: 1 });
    await worker.call("openSender", full.senderTicket() as AnySenderTicket);
    const sent = worker.call("send", "send", [1, 2]);
    await until(() => full.stats().timesFull > 0, "the Worker waits for room");
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    full.close();
    const error = await rejects(sent, channelClosed);
    assert.equal((error as { value?: unknown }).value, 2);
    await worker.call("closeSender");

    using empty = mpsc(u32);
    const received = worker.call(
      "receiveAll",
      empty.receiverTicket() as AnyReceiverTicket,
      "iterate",
    );
    await until(() => empty.stats().receiver === "open", "the Worker waits for a value");
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    empty.close();
    assert.deepEqual(await received, []);
  });

  test(`stop() ends a loop although a Worker goes on sending, and loses nothing (${kind})`, async () => {
    await using worker = new TestWorker(kind);
    using channel = mpsc(u32, { capacity: 256 });
    using receiver = channel.receiver();
    const values: number[] = [];
    const loop = receiver.run((value) => {
      values.push(value);
    });
    const sent = worker.call(
      "sendAndClose",
      channel.senderTicket() as AnySenderTicket,
      "sendSync",
      range(100_000),
    );
    await until(() => loop.messages > 1000, "the loop runs");
    await within(loop.stop(), "stop()");
    const handled = loop.messages;
    assert.ok(handled <= 100_000);
    for await (const value of receiver) values.push(value);
    await sent;
    assert.deepEqual(values, range(100_000));
  });

  test(`a ring is handed from one Worker's sender to the next, and the next (${kind})`, async () => {
    await using worker = new TestWorker(kind);
    using channel = mpsc(utf8, { capacity: 256, maxSenders: 2 });
    using receiver = channel.receiver();
    using _kept = channel.sender();
    for (const round of range(50)) {
      const values = range(20).map((value) => `${round}:${value}`);
      const sent = worker.call(
        "sendAndClose",
        channel.senderTicket() as unknown as AnySenderTicket,
        "sendSync",
        values,
      );
      for (const value of values) assert.equal(await within(receiver.receive(), value), value);
      await sent;
      // The close comes after the values: whoever opens the next sender must have seen it.
      await until(() => {
        assert.deepEqual(receiver.tryReceive(), { state: "empty" });
        return channel.stats().senders === 1;
      }, "the Worker's sender is gone");
    }
  });
}
