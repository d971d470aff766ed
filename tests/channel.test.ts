import assert from "node:assert/strict";
import test from "node:test";
import {
  type Channel,
  type ChannelClosedError,
  mpsc,
  Receiver,
  Sender,
  u32,
  utf8,
} from "../mod.ts";
import { channelClosed, isPending, nextTurn, rejects, throws, within } from "./support/bounded.ts";
import {
  channelsAlive,
  channelsSettled,
  collect,
  fill,
  pair,
  range,
  takeAll,
} from "./support/channels.ts";

// ---- capacity and limits ----

test("mpsc() holds 1024 values, or 65536 bytes, for up to 256 senders unless told otherwise", () => {
  using numbers = mpsc(u32);
  using texts = mpsc(utf8);
  assert.equal(numbers.capacity, 1024);
  assert.equal(numbers.maxSenders, 256);
  assert.equal(texts.capacity, 65536);
});

test("mpsc() rounds the capacity up to a power of two, and a ring holds just that", () => {
  for (const [capacity, rounded] of [[1, 1], [2, 2], [3, 4], [5, 8], [1000, 1024]] as const) {
    using both = pair(u32, { capacity });
    const { channel, sender, receiver } = both;
    assert.deepEqual(
      [channel.capacity, sender.capacity, receiver.capacity],
      [rounded, rounded, rounded],
    );
    assert.equal(fill(sender, (index) => index), rounded);
    assert.deepEqual(takeAll(receiver), range(rounded));
  }
});

test("mpsc() rounds a capacity in bytes up to a power of two, 64 at least", () => {
  for (const [capacity, rounded] of [[1, 64], [65, 128], [100, 128], [4096, 4096]] as const) {
    using both = pair(utf8, { capacity });
    const { channel, sender, receiver } = both;
    assert.deepEqual(
      [channel.capacity, sender.capacity, receiver.capacity],
      [rounded, rounded, rounded],
    );
  }
});

test("a ring goes on when its counters wrap", () => {
  for (const initialSequence of [2 ** 31 - 3, 2 ** 32 - 3]) {
    using both = pair(u32, { capacity: 4, initialSequence });
    for (let round = 0; round < 8; round++) {
      assert.equal(fill(both.sender, (index) => round * 10 + index), 4);
      assert.deepEqual(takeAll(both.receiver), range(4).map((index) => round * 10 + index));
    }
  }
});

test("sender() opens senders at run time up to maxSenders, and reuses closed ones", async () => {
  using channel = mpsc(u32, { maxSenders: 3 });
  const receiver = channel.receiver();
  const first = channel.sender();
  assert.ok(first.trySend(1));
  const others = [channel.sender(), channel.sender()];
  throws(() => channel.sender(), { name: "TooManyError", code: "TOO_MANY_SENDERS" });
  others[0]?.close();
  assert.equal(await receiver.receive(), 1);
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });
  const last = channel.sender();
  assert.ok(last.trySend(2) && first.trySend(3));
  assert.deepEqual(takeAll(receiver).sort(), [2, 3]);
  receiver.close();
});

test("a ring is reused through thousands of senders opened, closed and drained", () => {
  using both = pair(u32, { maxSenders: 2, capacity: 8 });
  const { channel, sender, receiver } = both;
  for (let cycle = 0; cycle < 3000; cycle++) {
    using passing = cycle % 2 === 0 ? channel.sender() : Sender.open(channel.senderTicket());
    assert.ok(passing.trySend(cycle));
    passing.close();
    assert.deepEqual(takeAll(receiver), [cycle]);
  }
  assert.ok(sender.trySend(7));
  assert.deepEqual(takeAll(receiver), [7]);
  assert.equal(channel.stats().senders, 1);
  assert.equal(channel.stats().sent, 3001);
});

test("a sender closed with values in its ring keeps its place until they are received", () => {
  using channel = mpsc(u32, { maxSenders: 2, capacity: 4 });
  const receiver = channel.receiver();
  using kept = channel.sender();
  for (let cycle = 0; cycle < 100; cycle++) {
    const passing = channel.sender();
    assert.equal(passing.sendBatch([cycle, cycle, cycle]), 3);
    passing.close();
    assert.deepEqual(takeAll(receiver), [cycle, cycle, cycle]);
  }
  assert.ok(kept.trySend(1));
  assert.deepEqual(takeAll(receiver), [1]);
  receiver.close();
});

test("stats() counts what was sent, received, published, and who is there", () => {
  using channel = mpsc(u32, { capacity: 4 });
  assert.equal(channel.stats().receiver, "none");
  assert.equal(channel.stats().senders, 0);
  const sender = channel.sender();
  channel.senderTicket();
  const receiver = channel.receiver();
  assert.equal(sender.sendBatch([1, 2, 3, 4, 5]), 4);
  receiver.receiveBatch(1);
  const { sent, received, size, slotsUsed, commits, senders, senderReferences, closed, drained } =
    channel.stats();
  assert.deepEqual({ sent, received, size, slotsUsed, commits, senders, senderReferences }, {
    sent: 4,
    received: 1,
    size: 3,
    slotsUsed: 3,
    commits: 1,
    senders: 1,
    senderReferences: 2,
  });
  assert.equal(closed, "open");
  assert.equal(drained, false);
  assert.ok(channel.stats().timesFull >= 1);
  channel.close();
  assert.equal(channel.stats().closed, "closed");
  assert.equal(channel.stats().receiver, "open");
  receiver.close();
  assert.equal(channel.stats().receiver, "gone");
  assert.equal(channel.stats().drained, true);
});

test("size counts what was sent and not received, over all senders", async () => {
  using channel = mpsc(u32, { capacity: 4 });
  using receiver = channel.receiver();
  using first = channel.sender();
  using second = channel.sender();
  first.sendBatch([1, 2]);
  second.sendBatch([3]);
  assert.equal(channel.size, 3);
  assert.equal(receiver.size, 3);
  await receiver.receive();
  assert.equal(channel.size, 2);
  assert.equal(receiver.size, 2);
  takeAll(receiver);
  assert.equal(channel.size, 0);
  assert.equal(receiver.size, 0);
});

// ---- the end of a channel ----

test("close() refuses new values at once and lets the receiver drain to the last one", async () => {
  using both = pair(u32);
  const { channel, sender, receiver } = both;
  sender.sendBatch([1, 2, 3]);
  assert.equal(channel.closed, false);
  channel.close();
  channel.close();
  assert.deepEqual([channel.closed, sender.closed, receiver.closed], [true, true, true]);
  assert.equal(sender.trySend(4), false);
  const error = await rejects(sender.send(5), channelClosed) as ChannelClosedError;
  assert.equal(error.value, 5);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 1 });
  assert.equal(await receiver.receive(), 2);
  assert.deepEqual(await collect(receiver), [3]);
  assert.deepEqual(receiver.tryReceive(), { state: "closed" });
  await rejects(receiver.receive(), channelClosed);
  assert.equal(await receiver.ready(), false);
  assert.deepEqual(await collect(receiver), []);
});

test("close() wakes pending receives and sends of every endpoint", async () => {
  using channel = mpsc(u32, { capacity: 1 });
  using full = channel.sender();
  using receiver = channel.receiver();
  using idle = channel.sender();
  assert.ok(full.trySend(1));
  const sends = [full.send(2), full.send(3)];
  assert.ok(await isPending(sends[0] as Promise<void>));
  channel.close();
  for (const [index, send] of sends.entries()) {
    const error = await rejects(send, channelClosed) as ChannelClosedError;
    assert.equal(error.value, index + 2);
  }
  assert.equal(idle.closed, true);
  assert.deepEqual(await collect(receiver), [1]);

  using empty = pair(u32);
  const receives = [empty.receiver.receive(), empty.receiver.receive()];
  const ready = empty.receiver.ready();
  assert.ok(await isPending(receives[0] as Promise<number>));
  empty.channel.close();
  for (const receive of receives) {
    const error = await rejects(receive, channelClosed);
    assert.equal("value" in error, false);
  }
  assert.equal(await within(ready, "ready() of a closed channel"), false);
});

test("a channel ends when its last sender closes, not before", async () => {
  using channel = mpsc(u32);
  using receiver = channel.receiver();
  const pending = receiver.receive();
  assert.ok(await isPending(pending), "a channel that never had a sender does not end");
  const [first, second] = [channel.sender(), channel.sender()];
  first.close();
  assert.equal(channel.closed, false);
  assert.ok(second.trySend(1));
  second.close();
  assert.equal(channel.closed, true);
  assert.equal(channel.stats().closed, "senders gone");
  assert.equal(await pending, 1);
  await rejects(receiver.receive(), channelClosed);
  throws(() => channel.sender(), channelClosed);
});

test("an outstanding sender ticket keeps the channel from ending; revoke() gives it up", async () => {
  using channel = mpsc(u32);
  using receiver = channel.receiver();
  const ticket = channel.senderTicket();
  channel.sender().close();
  const pending = receiver.receive();
  assert.ok(await isPending(pending));
  assert.equal(channel.closed, false);
  assert.equal(channel.revoke(ticket), true);
  await rejects(pending, channelClosed);
  assert.equal(channel.closed, true);
  assert.equal(channel.revoke(ticket), false);
  throws(() => Sender.open(ticket), { name: "TicketError", code: "TICKET_USED" });
});

test("revoke() of another channel's ticket leaves nobody waiting", async () => {
  using channel = mpsc(u32);
  using other = mpsc(u32);
  using receiver = other.receiver();
  const ticket = other.senderTicket();
  const pending = receiver.receive();
  // Long enough for the receiver to have fallen asleep on the bell of its own channel.
  assert.ok(await isPending(pending, 20));
  const revoked = (() => {
    try {
      return channel.revoke(ticket);
    } catch {
      return false;
    }
  })();
  // Whether it is refused or done: a receiver whose channel has ended must hear of it.
  if (!revoked) assert.equal(other.revoke(ticket), true);
  await rejects(pending, channelClosed);
});

test("closing the receiver closes the channel for its senders", async () => {
  using channel = mpsc(u32, { capacity: 1 });
  const receiver = channel.receiver();
  using sender = channel.sender();
  assert.ok(sender.trySend(1));
  const pending = sender.send(2);
  assert.ok(await isPending(pending));
  receiver.close();
  const error = await rejects(pending, channelClosed) as ChannelClosedError;
  assert.equal(error.value, 2);
  assert.equal(sender.trySend(3), false);
  assert.equal(channel.closed, true);
  assert.equal(channel.stats().closed, "receiver gone");
  throws(() => channel.receiver(), { name: "ReceiverTakenError", code: "RECEIVER_TAKEN" });
});

// ---- drained() and disposal ----

test("drained() resolves when the last value is taken, by whatever method", async () => {
  const takes: Record<string, (channel: Channel<number, Uint32Array>) => unknown> = {
    tryReceive: (channel) => takeAll(channel.receiver()),
    receive: (channel) => channel.receiver().receive(),
    receiveSync: (channel) => channel.receiver().receiveSync(),
    receiveBatch: (channel) => channel.receiver().receiveBatch(10),
    "receiveBatch into an array": (channel) => channel.receiver().receiveBatch([0, 0]),
    iterate: (channel) => collect(channel.receiver()),
    "iterate and break": async (channel) => {
      for await (const _ of channel.receiver()) break;
    },
    "one next() of an iterator": (channel) => channel.receiver()[Symbol.asyncIterator]().next(),
    batches: (channel) => collect(channel.receiver().batches()),
    release: (channel) => {
      const receiver = channel.receiver();
      receiver.readable();
      receiver.release();
    },
    drain: (channel) => channel.receiver().drain(() => {}),
    run: (channel) => channel.receiver().run(() => {}).finished,
    stream: (channel) => Array.fromAsync(channel.receiver().toReadableStream()),
    "one read of a stream": (channel) => channel.receiver().toReadableStream().getReader().read(),
    "close of the receiver": (channel) => channel.receiver().close(),
  };
  for (const [name, take] of Object.entries(takes)) {
    using channel = mpsc(u32, { capacity: 256 });
    channel.sender().trySend(1);
    const drained = channel.drained();
    channel.close();
    assert.ok(await isPending(drained, 3), name);
    await within(Promise.resolve(take(channel)), name);
    await within(drained, `drained() after ${name}`);
    await channel.drained();
    assert.equal(channel.stats().drained, true);
  }
});

test("drained() resolves for an empty channel at its close, and for every caller", async () => {
  using both = pair(u32);
  const waits = [both.channel.drained(), both.channel.drained()];
  assert.ok(await isPending(Promise.race(waits)));
  both.channel.close();
  await within(Promise.all(waits), "drained()");
});

test("drained() resolves when the channel is disposed of", async () => {
  const channel = mpsc(u32);
  channel.sender().trySend(1);
  const drained = channel.drained();
  channel[Symbol.dispose]();
  await within(drained, "drained()");
  await channel.drained();
});

test("dispose closes the channel; endpoints drain on, and the last one frees its memory", async () => {
  const before = await channelsSettled();
  const channel = mpsc(u32);
  assert.equal(channelsAlive(), before + 1);
  const [sender, receiver] = [channel.sender(), channel.receiver()];
  const ticket = channel.senderTicket();
  sender.trySend(1);
  channel[Symbol.dispose]();
  channel[Symbol.dispose]();
  assert.equal(channel.closed, true);
  assert.equal(sender.trySend(2), false);
  throws(() => Sender.open(ticket), { name: "TicketError" });
  assert.deepEqual(await collect(receiver), [1]);
  assert.equal(channelsAlive(), before + 1);
  receiver.close();
  sender.close();
  assert.equal(channelsAlive(), before);
});

test("unused tickets do not keep the memory of a channel that was disposed of", async () => {
  const before = await channelsSettled();
  const channel = mpsc(u32);
  const tickets = [channel.senderTicket(), channel.receiverTicket(), channel.senderTicket()];
  const receiver = Receiver.open(tickets[1] as ReturnType<typeof channel.receiverTicket>);
  channel[Symbol.dispose]();
  assert.equal(channelsAlive(), before + 1);
  receiver.close();
  assert.equal(channelsAlive(), before);
  throws(() => Sender.open(tickets[0] as ReturnType<typeof channel.senderTicket>), {
    name: "TicketError",
  });
});

test("using closes every endpoint and the channel", async () => {
  const before = await channelsSettled();
  {
    using channel = mpsc(u32);
    using receiver = channel.receiver();
    using sender = channel.sender();
    await sender.send(1);
    assert.equal(await receiver.receive(), 1);
  }
  assert.equal(channelsAlive(), before);
});

test("await using waits until what was sent is received", async () => {
  const before = await channelsSettled();
  const received: number[] = [];
  let consumed: Promise<void> | undefined;
  await within(
    (async () => {
      await using channel = mpsc(u32, { capacity: 4 });
      const receiver = channel.receiver();
      consumed = (async () => {
        await using _ = receiver;
        for await (const value of receiver) {
          received.push(value);
          await nextTurn();
        }
      })();
      await using sender = channel.sender();
      for (const value of range(100)) await sender.send(value);
      assert.ok(received.length < 100);
    })(),
    "await using",
  );
  assert.deepEqual(received, range(100));
  await within(consumed as Promise<void>, "the consumer");
  assert.equal(channelsAlive(), before);
});

test("await using does not wait for a receiver that never was", async () => {
  await within(
    (async () => {
      await using channel = mpsc(u32);
      channel.sender().trySend(1);
    })(),
    "await using of a channel without a receiver",
    2000,
  );
});

test("a sender of one channel is unaffected by the end of another", async () => {
  using one = pair(u32);
  {
    using other = pair(u32);
    other.sender.trySend(1);
  }
  assert.ok(one.sender.trySend(2));
  assert.equal(await one.receiver.receive(), 2);
});
