/**
 * Buffer pools between processes: slabs change hands without a copy, and come back from whoever dies.
 */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  bytes,
  type Channel,
  mpmc,
  mpsc,
  Pool,
  pool,
  Receiver,
  Sender,
  type Slab,
  spmc,
  spsc,
  u32,
} from "../mod.ts";
import { rejects, throws, until, within } from "./support/bounded.ts";
import { range } from "./support/channels.ts";
import {
  assertNothingLeft,
  belongings,
  hasSaid,
  Peers,
  resultOf,
  sumOf,
} from "./support/processes.ts";
import { randomFrom } from "./support/stress_host.ts";
import { runtime } from "./support/runtime.ts";

type SlabChannel = Channel<Slab, Slab[]>;

const peers = new Peers();
after(() => peers[Symbol.dispose]());

const runtimes = ["deno", "bun"] as const;
/** Only a hang reaches it. */
const limitMs = 60_000;
const testLimit = { timeout: 180_000 };
const kinds = { mpsc, spsc, spmc, mpmc };

/** The pool of the channel at this address is shared beside it. */
function poolAddress(address: string): string {
  return `${address}.pool`;
}

/** The number of a frame of process_peer.ts, whole. */
function sequenceOf(slab: Slab): number {
  const sequence = new DataView(slab.bytes.buffer).getUint32(0);
  assert.ok(slab.bytes.subarray(4).every((byte) => byte === (sequence & 0xff)), `${sequence}`);
  return sequence;
}

for (const [kind, open] of Object.entries(kinds)) {
  for (const language of runtimes) {
    test(
      `${kind}: frames come from ${language} without a copy, each slab in turn`,
      testLimit,
      async () => {
        const before = belongings();
        const frames = pool({ slab: 4096, count: 4, shared: true });
        const channel = open(frames.layout(), { capacity: 4, shared: true }) as SlabChannel;
        const address = peers.address();
        frames.share(poolAddress(address));
        channel.share(address, { receivers: false, limit: 1 });
        const child = peers.start(language, "send-frames", address, 300);
        let received = 0;
        const receiver = channel.receiver();
        for await (const slab of receiver) {
          assert.equal(sequenceOf(slab), received++);
          slab.free();
        }
        assert.equal(received, 300);
        await resultOf(child, "sent");
        await until(() => frames.stats().free === 4, "every slab is free", limitMs);
        channel[Symbol.dispose]();
        receiver.close();
        frames.close();
        await assertNothingLeft(before);
      },
    );

    test(
      `${kind}: frames go to ${language}, which knows of no pool but the channel's`,
      testLimit,
      async () => {
        const before = belongings();
        const frames = pool({ slab: 4096, count: 4, shared: true, pollBudget: 0 });
        const channel = open(frames.layout(), { capacity: 4, shared: true }) as SlabChannel;
        const address = peers.address();
        channel.share(address, { senders: false, limit: 1 });
        const child = peers.start(language, "receive-frames", address);
        await hasSaid(child, "connected");
        using sender = channel.sender();
        for (const sequence of range(300)) {
          const slab = await within(frames.alloc(64), "a slab that comes back", limitMs);
          slab.bytes.fill(sequence & 0xff);
          new DataView(slab.bytes.buffer).setUint32(0, sequence);
          await within(sender.send(slab), "room", limitMs);
        }
        sender.close();
        assert.deepEqual(await resultOf(child, "received"), { count: 300, sum: sumOf(300) });
        await until(() => frames.stats().free === 4, "every slab is free", limitMs);
        channel[Symbol.dispose]();
        frames.close();
        await assertNothingLeft(before);
      },
    );
  }

  test(
    `${kind}: messages above the threshold lie in the pool, from another process too`,
    testLimit,
    async () => {
      const frames = pool({ slab: 4096, count: 2, shared: true });
      using channel = open(bytes, { capacity: 512, shared: true }).withPool(frames, {
        threshold: 64,
      });
      const address = peers.address();
      channel.share(address, { receivers: false, limit: 1 });
      const child = peers.start(runtime === "deno" ? "bun" : "deno", "send-pooled", address, 300);
      let received = 0;
      for await (const message of channel.receiver()) {
        assert.equal(message.length, 1 + (received * 37) % 4096);
        assert.ok(message.every((byte) => byte === (received & 0xff)));
        received++;
      }
      assert.equal(received, 300);
      await resultOf(child, "sent");
      await until(() => frames.stats().free === 2, "every slab is free", limitMs);
      assert.ok(frames.stats().timesEmpty >= 0);
      frames.close();
    },
  );
}

test(
  "processes that are killed with slabs in hand, in flight and staged give all of them back",
  testLimit,
  async () => {
    const before = belongings();
    const random = randomFrom(runtime === "deno" ? 7 : 11);
    const frames = pool({ slab: 256, count: 8, shared: true, pollBudget: 0 });
    const channel = mpmc(frames.layout(), {
      capacity: 4,
      shared: true,
      onReceiverDeath: "wait",
    });
    const address = peers.address();
    const frameShare = frames.share(poolAddress(address));
    const share = channel.share(address);
    for (let round = 0; round < 10; round++) {
      const languages = [runtimes[round % 2], runtimes[(round + 1) % 2]] as const;
      const sender = peers.start(languages[0] ?? "deno", "victim-frames", address);
      const receiver = peers.start(languages[1] ?? "bun", "victim-receive-frames", address);
      await Promise.all([hasSaid(sender, "connected"), hasSaid(receiver, "connected")]);
      await until(
        () => receiver.output().split("\n").length > 3 + 8 * random(),
        "they work",
        limitMs,
      );
      // Either may be the first, and what the other then does goes on.
      for (const victim of random() < 0.5 ? [sender, receiver] : [receiver, sender]) {
        victim.kill("SIGKILL");
        await within(victim.ended, "the killed process to end", limitMs);
      }
      await until(
        () => share.connections === 0 && frameShare.connections === 0,
        "the deaths are noticed",
        limitMs,
      );
      // What is still under way in the rings is this process's to receive.
      {
        using rest = channel.receiver();
        for (let next = rest.tryReceive(); next.state === "ok"; next = rest.tryReceive()) {
          if (!next.value.closed) next.value.free();
        }
      }
      await until(() => frames.stats().free === 8, `round ${round}: every slab is free`, limitMs);
      const slabs = range(8).map(() => frames.tryAlloc());
      assert.ok(slabs.every((slab) => slab !== undefined));
      assert.equal(frames.tryAlloc(), undefined);
      slabs.forEach((slab) => slab?.free());
    }
    channel[Symbol.dispose]();
    frames.close();
    await assertNothingLeft(before);
  },
);

for (const language of runtimes) {
  test(
    `when the pool's process in ${language} dies nothing can be allocated any more`,
    testLimit,
    async () => {
      const before = belongings();
      const address = peers.address();
      const keeper = peers.start(language, "victim-keep-frames", address);
      await hasSaid(keeper, "shared");
      const frames = await Pool.connect(poolAddress(address));
      const sender = await Sender.connect(address, { layout: frames.layout() });
      const slab = await frames.alloc(2);
      slab.bytes.set([1, 2]);
      const died = { name: "ChannelClosedError", code: "PEER_DIED" };
      const waiting = rejects(within(frames.alloc(), "a slab", limitMs), died);
      keeper.kill("SIGKILL");
      await waiting;
      throws(() => frames.tryAlloc(), died);
      throws(() => frames.allocSync(), died);
      await rejects(frames.alloc(), died);
      // What it has it may read, and give back.
      assert.deepEqual([...slab.bytes], [1, 2]);
      await rejects(within(sender.send(slab), "a refusal", limitMs), died);
      slab.free();
      sender.close();
      frames.close();
      await assertNothingLeft(before);
    },
  );
}

test("a slab that was received outlives its receiver, and returns when it is freed", async () => {
  const before = belongings();
  const frames = pool({ slab: 64, count: 1, shared: true });
  const channel = mpsc(frames.layout(), { shared: true });
  const address = peers.address();
  const share = channel.share(address);
  using sender = channel.sender();
  const receiver = await Receiver.connect<Slab>(address);
  assert.equal(share.connections, 1);
  const sent = frames.tryAlloc(1);
  assert.ok(sent !== undefined);
  sent.bytes.set([9]);
  assert.equal(sender.trySend(sent), true);
  const received = await receiver.receive();
  receiver.close();
  await until(() => share.connections === 0, "the keeper knows", limitMs);
  assert.deepEqual([...received.bytes], [9]);
  assert.equal(frames.stats().owned, 1);
  received.free();
  assert.equal(frames.stats().free, 1);
  channel[Symbol.dispose]();
  sender.close();
  frames.close();
  await assertNothingLeft(before);
});

test("a slab received in another mapping of the pool can be sent on", async () => {
  const frames = pool({ slab: 64, count: 1, shared: true });
  using there = mpsc(frames.layout(), { shared: true });
  using back = mpsc(frames.layout(), { shared: true });
  const [one, other] = [peers.address(), peers.address()];
  there.share(one, { senders: false });
  back.share(other, { receivers: false });
  using sender = there.sender();
  using receiver = back.receiver();
  using middle = await Receiver.connect<Slab>(one);
  using onward = await Sender.connect<Slab>(other);
  for (const round of range(3)) {
    const slab = await within(frames.alloc(1), "the slab", limitMs);
    slab.bytes[0] = round;
    assert.equal(sender.trySend(slab), true);
    await onward.send(await within(middle.receive(), "the slab", limitMs));
    const last = await within(receiver.receive(), "the slab", limitMs);
    assert.equal(last.bytes[0], round);
    last.free();
  }
  frames.close();
});

test("what cannot be shared, or not from here, is refused", async () => {
  using lonely = pool({ slab: 64, count: 1 });
  throws(() => lonely.share("@millrace-lonely"), { name: "TypeError", message: /shared: true/ });
  using channel = mpsc(lonely.layout(), { shared: true });
  throws(() => channel.share(peers.address()), { name: "TypeError", message: /pool .* shared/ });
  throws(() => pool({ slab: 64, count: 1, shared: 1 as unknown as boolean }), {
    name: "TypeError",
    message: /shared must be a boolean, received 1/,
  });

  using frames = pool({ slab: 64, count: 1, shared: true });
  const address = peers.address();
  const share = frames.share(address, { limit: 2 });
  throws(() => frames.share("@millrace-x", { limit: 0 }), { name: "RangeError" });
  throws(() => frames.share(7 as unknown as string), { name: "TypeError" });
  // A pool is no channel, and the reverse.
  const roleRefused = { name: "ConnectError", code: "ROLE_REFUSED" };
  await rejects(Sender.connect(address, { layout: u32 }), roleRefused);
  using plain = mpsc(u32, { shared: true });
  const plainAddress = peers.address();
  plain.share(plainAddress);
  await rejects(Pool.connect(plainAddress), roleRefused);
  await rejects(Pool.connect(peers.address()), { name: "ConnectError" });
  await rejects(Pool.connect(address, 7 as unknown as object), { name: "TypeError" });

  const theirs = await Pool.connect(address);
  assert.equal(theirs.shared, true);
  assert.deepEqual([theirs.slabBytes, theirs.count], [64, 1]);
  for (const use of [() => theirs.ticket(), () => theirs.share("@millrace-y")]) {
    throws(use, { name: "TypeError", message: /another process made this pool/ });
  }
  throws(() => mpsc(theirs.layout()), { name: "TypeError", message: /another process/ });
  // An owner by its number, and no other.
  const slab = theirs.tryAlloc();
  assert.ok(slab !== undefined);
  throws(() => frames.free({ ...slab.handle }), { name: "SlabError", code: "SLAB_NOT_OWNED" });
  slab.free();
  throws(() => slab.free(), { name: "SlabError", code: "SLAB_STALE" });
  theirs.close();
  theirs.close();
  throws(() => theirs.tryAlloc(), { name: "ChannelClosedError", code: "ENDPOINT_CLOSED" });
  await until(() => share.connections === 0, "it has left", limitMs);
  using second = await Pool.connect(address);
  assert.equal(second.closed, false);
  assert.equal(share.closed, true); // its limit
  share.close();
});
