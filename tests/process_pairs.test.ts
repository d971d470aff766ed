/**
 * Channels between processes, in every pairing of languages: nothing is lost, doubled or out of order.
 */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  type Channel,
  closeFd,
  mpmc,
  mpsc,
  Receiver,
  Sender,
  socketPair,
  spmc,
  spsc,
  u32,
} from "../mod.ts";
import { within } from "./support/bounded.ts";
import { commandOf, runtime, startProgram } from "./support/runtime.ts";
import {
  assertNothingLeft,
  belongings,
  hasSaid,
  type Language,
  Peers,
  resultOf,
  sumOf,
} from "./support/processes.ts";

const peers = new Peers();
after(() => peers[Symbol.dispose]());

const languages: readonly Language[] = ["deno", "bun", "c", "zig"];
const limitMs = 60_000;

/** Messages of each pairing and direction. */
const messages = 10_000_000;
/** Messages of each process where there are several. */
const fewer = 400_000;

const sequenceBits = 28;
const sequenceMask = 2 ** sequenceBits - 1;

/** Receives to the end; the values of each sender must come one by one, from 0 on. */
async function receiveAll(open: Receiver<number, Uint32Array>): Promise<Map<number, number>> {
  using receiver = open;
  const next = new Map<number, number>();
  for await (const batch of receiver.batches()) {
    let id = -1;
    let expected = 0;
    for (let index = 0; index < batch.length; index++) {
      const value = batch[index] as number;
      if (value >>> sequenceBits !== id) {
        next.set(id, expected);
        id = value >>> sequenceBits;
        expected = next.get(id) ?? 0;
      }
      if ((value & sequenceMask) !== expected++) {
        assert.fail(`expected ${expected - 1} of ${id}, received ${value & sequenceMask}`);
      }
    }
    next.set(id, expected);
  }
  next.delete(-1);
  return next;
}

async function sendAll(sender: Sender<number, Uint32Array>, count: number): Promise<void> {
  const values = new Uint32Array(4096);
  for (let next = 0; next < count;) {
    const length = Math.min(values.length, count - next);
    for (let index = 0; index < length; index++) values[index] = next++;
    await sender.sendAll(values.subarray(0, length));
  }
  sender.close();
}

for (const language of languages) {
  test(`${runtime} receives ${messages} messages from ${language}, in order`, async () => {
    const before = belongings();
    const channel = mpsc(u32, { capacity: 2 ** 14, shared: true });
    const address = peers.address();
    channel.share(address, { receivers: false, limit: 1 });
    const child = peers.start(language, "send", address, 3, messages);
    const received = await within(receiveAll(channel.receiver()), "the end", limitMs);
    assert.deepEqual([...received], [[3, messages]]);
    assert.deepEqual(await resultOf(child, "sent"), { count: messages, sum: sumOf(messages) });
    channel[Symbol.dispose]();
    await assertNothingLeft(before);
  });

  test(`${runtime} sends ${messages} messages to ${language}, in order`, async () => {
    const before = belongings();
    const channel = mpsc(u32, { capacity: 2 ** 14, shared: true });
    const address = peers.address();
    channel.share(address, { senders: false, limit: 1 });
    const child = peers.start(language, "receive", address);
    await within(sendAll(channel.sender(), messages), "everything to be sent", limitMs);
    assert.deepEqual(await resultOf(child, "received"), {
      count: messages,
      sum: sumOf(messages),
    });
    channel[Symbol.dispose]();
    await assertNothingLeft(before);
  });

  test(`${runtime} connects to ${language}, which keeps the channel, and sends`, async () => {
    const before = belongings();
    const address = peers.address();
    const keeper = peers.start(language, "keep-receive", address, "mpsc", 1);
    await hasSaid(keeper, "shared");
    const sender = await Sender.connect<number, Uint32Array>(address, { layout: u32 });
    await within(sendAll(sender, fewer), "everything to be sent", limitMs);
    assert.deepEqual(await resultOf(keeper, "received"), { count: fewer, sum: sumOf(fewer) });
    await assertNothingLeft(before);
  });

  test(`${runtime} connects to ${language}, which keeps the channel, and receives`, async () => {
    const before = belongings();
    const address = peers.address();
    const keeper = peers.start(language, "keep-send", address, "spsc", 1, 5, fewer);
    await hasSaid(keeper, "shared");
    const receiver = await Receiver.connect<number, Uint32Array>(address, { layout: u32 });
    const received = await within(receiveAll(receiver), "the end", limitMs);
    assert.deepEqual([...received], [[5, fewer]]);
    assert.deepEqual(await resultOf(keeper, "sent"), { count: fewer, sum: sumOf(fewer) });
    await assertNothingLeft(before);
  });
}

for (const direction of ["receives from", "sends to"] as const) {
  test(`a child in C that ${direction} ${runtime} inherits its end of the share`, async () => {
    const before = belongings();
    const channel = mpsc(u32, { capacity: 2 ** 14, shared: true });
    const [ours, theirs] = socketPair();
    const isReceiver = direction === "receives from";
    channel.share({ fd: ours }, { senders: !isReceiver, receivers: isReceiver });
    const task = isReceiver ? ["receive", "fd:3"] : ["send", "fd:3", "3", `${fewer}`];
    const child = startProgram(peers.program("c"), task, { limitMs, inherited: theirs });
    const expected = { count: fewer, sum: sumOf(fewer) };
    if (isReceiver) {
      await within(sendAll(channel.sender(), fewer), "everything to be sent", limitMs);
      assert.deepEqual(await resultOf(child, "received"), expected);
    } else {
      const received = await within(receiveAll(channel.receiver()), "the end", limitMs);
      assert.deepEqual([...received], [[3, fewer]]);
      assert.deepEqual(await resultOf(child, "sent"), expected);
    }
    closeFd(theirs);
    channel[Symbol.dispose]();
    await assertNothingLeft(before);
  });
}

for (const language of ["c", runtime] as const) {
  test(`a child in ${language} that a C program starts by posix_spawn inherits its end of the share`, async () => {
    const command = language === "c" ? [peers.program("c")] : commandOf("process_peer.ts");
    const send = peers.start(
      "c",
      "spawn-receive",
      "-",
      "mpsc",
      ...command,
      "send",
      "fd:",
      3,
      fewer,
    );
    const receive = peers.start(
      "c",
      "spawn-send",
      "-",
      "spsc",
      5,
      fewer,
      ...command,
      "receive",
      "fd:",
    );
    const expected = { count: fewer, sum: sumOf(fewer) };
    for (const parent of [send, receive]) {
      // What the child says comes the same way.
      assert.deepEqual(await resultOf(parent, "sent"), expected);
      assert.deepEqual(await resultOf(parent, "received"), expected);
    }
  });
}

/** The tasks of a runtime that block its thread instead of leaving it to its event loop. */
const blocking = 50_000;

for (const language of ["deno", "bun"] as const) {
  test(`a process of ${language} that blocks in sendSync and receiveSync is woken`, async () => {
    const channel = mpsc(u32, { capacity: 16, shared: true, pollBudget: 0 });
    const back = mpsc(u32, { capacity: 16, shared: true, pollBudget: 0 });
    const [there, here] = [peers.address(), peers.address()];
    channel.share(there, { senders: false, limit: 1 });
    back.share(here, { receivers: false, limit: 1 });
    const children = [
      peers.start(language, "receive-sync", there),
      peers.start(language, "send-sync", here, 1, blocking),
    ] as const;
    const [received] = await within(
      Promise.all([receiveAll(back.receiver()), sendAll(channel.sender(), blocking)]),
      "the end",
      limitMs,
    );
    assert.deepEqual([...received], [[1, blocking]]);
    assert.equal((await resultOf(children[0], "received")).sum, sumOf(blocking));
    assert.equal((await resultOf(children[1], "sent")).sum, sumOf(blocking));
    channel[Symbol.dispose]();
    back[Symbol.dispose]();
  });
}

test("mpsc: senders in four processes at once, one of each language", async () => {
  const before = belongings();
  const channel = mpsc(u32, { capacity: 1024, shared: true });
  const address = peers.address();
  channel.share(address, { receivers: false, limit: languages.length });
  const children = languages.map((language, id) =>
    peers.start(language, "send", address, id, fewer)
  );
  const received = await within(receiveAll(channel.receiver()), "the end", limitMs);
  assert.deepEqual(
    [...received].toSorted(([a], [b]) => a - b),
    languages.map((_, id) => [id, fewer]),
  );
  for (const child of children) {
    assert.deepEqual(await resultOf(child, "sent"), { count: fewer, sum: sumOf(fewer) });
  }
  channel[Symbol.dispose]();
  await assertNothingLeft(before);
});

const opens: Record<string, (options: { capacity: number; shared: true }) => Channel<number>> = {
  spmc: (options) => spmc(u32, options) as unknown as Channel<number>,
  mpmc: (options) => mpmc(u32, options) as unknown as Channel<number>,
};

for (const [kind, open] of Object.entries(opens)) {
  test(`${kind}: receivers in four processes, one of each language, share what is sent`, async () => {
    const before = belongings();
    const channel = open({ capacity: 1024, shared: true });
    const [receiving, sending] = [peers.address(), peers.address()];
    channel.share(receiving, { senders: false, limit: languages.length });
    const receivers = languages.map((language) =>
      peers.start(language, "receive", receiving, "part")
    );
    for (const receiver of receivers) await hasSaid(receiver, "connected");
    // One that keeps the channel sends, too; of spmc it is the only one.
    const sender = channel.sender() as unknown as Sender<number, Uint32Array>;
    const others = kind === "mpmc" ? (["c", "bun"] as const) : [];
    if (others.length > 0) channel.share(sending, { receivers: false, limit: others.length });
    const senders = others.map((language, id) =>
      peers.start(language, "send", sending, 1 + id, fewer)
    );
    await within(sendAll(sender, fewer), "everything to be sent", limitMs);
    for (const child of senders) await resultOf(child, "sent");
    let count = 0;
    let sum = 0;
    for (const child of receivers) {
      const received = await resultOf(child, "received");
      count += received.count;
      sum += received.sum;
    }
    const all = 1 + others.length;
    assert.deepEqual({ count, sum }, { count: all * fewer, sum: all * sumOf(fewer) });
    channel[Symbol.dispose]();
    await assertNothingLeft(before);
  });
}

test("spsc: one process of each runtime, to and fro through this one", async () => {
  const [there, back] = [peers.address(), peers.address()];
  const first = spsc(u32, { capacity: 1024, shared: true });
  const second = spsc(u32, { capacity: 1024, shared: true });
  first.share(there, { receivers: false, limit: 1 });
  second.share(back, { senders: false, limit: 1 });
  const sending = peers.start("deno", "send", there, 2, fewer);
  const receiving = peers.start("bun", "receive", back);
  const sender = second.sender();
  const relay = (async () => {
    using receiver = first.receiver();
    for await (const batch of receiver.batches()) await sender.sendAll(batch);
    sender.close();
  })();
  await within(relay, "everything to be passed on", limitMs);
  await resultOf(sending, "sent");
  assert.deepEqual(await resultOf(receiving, "received"), { count: fewer, sum: sumOf(fewer) });
  first[Symbol.dispose]();
  second[Symbol.dispose]();
});

test("nothing is left behind on disk", () => {
  assert.deepEqual(peers.sockets(), []);
});
