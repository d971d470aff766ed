/**
 * A process that is killed: what it committed arrives once, the others learn of it, and nothing of it
 * is left behind.
 */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  type Channel,
  type ChannelClosedError,
  mpmc,
  mpsc,
  Receiver,
  Sender,
  spmc,
  spsc,
  u32,
} from "../mod.ts";
import { isPending, rejects, until, untilBlocked, within } from "./support/bounded.ts";
import { range } from "./support/channels.ts";
import type { Child } from "./support/runtime.ts";
import { randomFrom } from "./support/stress_host.ts";
import {
  assertNothingLeft,
  belongings,
  hasSaid,
  isAlive,
  isStopped,
  type Language,
  Peers,
  resultOf,
  sumOf,
} from "./support/processes.ts";

type U32Channel = Channel<number, Uint32Array>;
type U32Sender = Sender<number, Uint32Array>;
type U32Receiver = Receiver<number, Uint32Array>;

const peers = new Peers();
after(() => peers[Symbol.dispose]());

const victims: readonly Language[] = ["deno", "bun", "c"];
/** Only a hang reaches it. */
const limitMs = 60_000;
const peerDied = { name: "ChannelClosedError", code: "PEER_DIED" };

/** The numbers of the last whole line a victim said: what it had done by then. */
function lastWords(child: Child): number[] {
  const lines = child.output().split("\n");
  const line = lines.slice(0, -1).findLast((line) => /^\d/.test(line)) ?? "0";
  return line.split(" ").map(Number);
}

/** Kills, and waits until the process is gone. */
async function kill(child: Child): Promise<void> {
  child.kill("SIGKILL");
  await within(child.ended, "the killed process to end", limitMs);
  assert.equal(isAlive(child.pid), false);
}

/** What ends a run of receives; anything else is a failure. */
function isEnd(error: unknown, code: string): boolean {
  return (error as { code?: string }).code === code;
}

/** Receives `0, 1, 2, …` until the channel ends with this code; gives how many there were. */
async function receiveAll(receiver: U32Receiver, code: string, first = 0): Promise<number> {
  let next = first;
  try {
    for (;;) {
      const value = await within(receiver.receive(), `value ${next}, or the end`, limitMs);
      assert.equal(value, next);
      next++;
    }
  } catch (error) {
    if (!isEnd(error, code)) throw error;
    return next;
  }
}

for (const language of victims) {
  test(`what a killed sender in ${language} committed arrives once, and its ring is used again`, async () => {
    const before = belongings();
    // One ring: the next sender gets the dead one's.
    const channel = mpsc(u32, { capacity: 64, maxSenders: 1, shared: true });
    using receiver = channel.receiver();
    const address = peers.address();
    const share = channel.share(address, { receivers: false });
    for (let round = 0; round < 3; round++) {
      const victim = peers.start(language, "victim-send", address, round);
      let received = 0;
      while (received < 500) {
        assert.equal(await within(receiver.receive(), "a value", limitMs), received++);
      }
      await kill(victim);
      const [committed = 0] = lastWords(victim);
      await until(() => share.connections === 0, "the death is noticed", limitMs);
      for (let rest = receiver.tryReceive(); rest.state === "ok"; rest = receiver.tryReceive()) {
        assert.equal(rest.value, received++);
      }
      // A burst of 16 at most was committed and not told.
      assert.ok(committed <= received && received <= committed + 16, `${committed}, ${received}`);
      // The channel stays open: there is a share. And the ring is drained, so it is the next sender's.
      const next = peers.start("c", "send", address, 0, 10);
      for (let index = 0; index < 10; index++) {
        assert.equal(await within(receiver.receive(), "the next sender's", limitMs), index);
      }
      await resultOf(next, "sent");
      await until(() => share.connections === 0, "it has left", limitMs);
      // A look gives the drained ring back, for the next round.
      assert.equal(receiver.tryReceive().state, "empty");
    }
    share.close();
    await rejects(receiver.receive(), { name: "ChannelClosedError", code: "CHANNEL_CLOSED" });
    channel[Symbol.dispose]();
    receiver.close();
    await assertNothingLeft(before);
  });

  test(`a killed receiver in ${language} gives senders PEER_DIED`, async () => {
    const before = belongings();
    const channel = mpsc(u32, { capacity: 64, shared: true });
    const address = peers.address();
    channel.share(address, { senders: false });
    using sender = channel.sender();
    const victim = peers.start(language, "victim-receive", address);
    for (const value of range(100)) await within(sender.send(value), "room", limitMs);
    await kill(victim);
    const error = await rejects(
      (async () => {
        for (;;) await sender.send(7);
      })(),
      peerDied,
    );
    assert.equal((error as ChannelClosedError).value, 7);
    assert.equal(channel.closed, true);
    await within(channel.drained(), "drained()", limitMs);
    channel[Symbol.dispose]();
    sender.close();
    await assertNothingLeft(before);
  });

  test(`a keeper in ${language} that is killed ends the channel of a receiver: all it sent, then PEER_DIED`, async () => {
    const before = belongings();
    const address = peers.address();
    const keeper = peers.start(language, "victim-keep-send", address, "mpsc", 5);
    await hasSaid(keeper, "shared");
    const receiver: U32Receiver = await Receiver.connect(address, { layout: u32 });
    let received = 0;
    while (received < 500) {
      assert.equal(await within(receiver.receive(), "a value", limitMs), received++);
    }
    await kill(keeper);
    const all = await receiveAll(receiver, "PEER_DIED", received);
    const [committed = 0] = lastWords(keeper);
    assert.ok(committed <= all && all <= committed + 16, `${committed}, ${all}`);
    receiver.close();
    await assertNothingLeft(before);
  });

  test(`a keeper in ${language} that is killed gives senders PEER_DIED`, async () => {
    const before = belongings();
    const address = peers.address();
    const keeper = peers.start(language, "victim-keep-receive", address, "mpsc");
    await hasSaid(keeper, "shared");
    const sender: U32Sender = await Sender.connect(address, { layout: u32 });
    for (const value of range(100)) await within(sender.send(value), "room", limitMs);
    await kill(keeper);
    await rejects(
      (async () => {
        for (;;) await sender.send(7);
      })(),
      peerDied,
    );
    sender.close();
    await assertNothingLeft(before);
  });
}

test("a receiver that sleeps on its event loop is woken by a sender's death", async () => {
  const channel = mpsc(u32, { shared: true, pollBudget: 0 });
  const address = peers.address();
  channel.share(address, { receivers: false, limit: 1 });
  using receiver = channel.receiver();
  const victim = peers.start("c", "sit", address, "sender");
  await hasSaid(victim, "connected");
  const received = receiver.receive();
  assert.equal(await isPending(received, 50), true);
  await kill(victim);
  // The share is at its limit, the last sender is gone: that is the end.
  await rejects(received, { name: "ChannelClosedError", code: "CHANNEL_CLOSED" });
  channel[Symbol.dispose]();
});

test("a sender that waits for room on its event loop is woken by the receiver's death", async () => {
  const channel = mpsc(u32, { capacity: 1, shared: true, pollBudget: 0 });
  const address = peers.address();
  channel.share(address, { senders: false });
  using sender = channel.sender();
  const victim = peers.start("c", "sit", address, "receiver");
  await hasSaid(victim, "connected");
  assert.equal(sender.trySend(1), true);
  const sent = sender.send(2);
  assert.equal(await isPending(sent, 50), true);
  await kill(victim);
  await rejects(sent, peerDied);
  channel[Symbol.dispose]();
});

for (const language of ["deno", "bun", "c"] as const) {
  test(`a sender in ${language} that blocks for room is told of its keeper's death`, async () => {
    const address = peers.address();
    const keeper = peers.start("c", "sit-keep", address, "mpsc");
    await hasSaid(keeper, "shared");
    const blocked = peers.start(language, "send-sync", address, 0, 1_000_000);
    await hasSaid(blocked, "connected");
    await kill(keeper);
    const { stdout } = await within(blocked.ended, "the blocked sender to end", limitMs);
    assert.match(
      stdout,
      language === "c" ? /^failed -6$/m : /^failed ChannelClosedError PEER_DIED$/m,
    );
  });
}

test("a process that is stopped is not dead", async () => {
  const channel = mpsc(u32, { capacity: 4, shared: true });
  const address = peers.address();
  channel.share(address, { senders: false });
  using sender = channel.sender();
  const stopped = peers.start("c", "receive", address);
  await hasSaid(stopped, "connected");
  stopped.kill("SIGSTOP");
  await until(() => isStopped(stopped.pid), "no thread of it runs any more");
  let sent = 0;
  while (sender.trySend(sent)) sent++;
  const waiting = sender.send(sent);
  assert.equal(await isPending(waiting, 100), true);
  stopped.kill("SIGCONT");
  await within(waiting, "room", limitMs);
  sender.close();
  channel[Symbol.dispose]();
  assert.deepEqual(await resultOf(stopped, "received"), { count: sent + 1, sum: sumOf(sent + 1) });
});

test("a child that has inherited everything does not hide a death", async () => {
  const channel = mpsc(u32, { shared: true, pollBudget: 0 });
  const address = peers.address();
  channel.share(address, { receivers: false, limit: 1 });
  using receiver = channel.receiver();
  const victim = peers.start("c", "fork", address);
  assert.equal(await within(receiver.receive(), "its value", limitMs), 7);
  await hasSaid(victim, "child");
  const child = Number(/^child (\d+)$/m.exec(victim.output())?.[1]);
  const end = receiver.receive();
  try {
    // Its streams are the child's, too: it has ended when it is gone.
    victim.kill("SIGKILL");
    await rejects(end, { name: "ChannelClosedError", code: "CHANNEL_CLOSED" });
    assert.equal(isAlive(child), true);
  } finally {
    process.kill(child, "SIGKILL");
  }
  await victim.ended;
  channel[Symbol.dispose]();
});

for (const language of victims) {
  test(`onReceiverDeath "wait": the next receiver gets what a killed one in ${language} left`, async () => {
    const before = belongings();
    const channel = mpsc(u32, { capacity: 64, shared: true, onReceiverDeath: "wait" });
    const address = peers.address();
    channel.share(address, { senders: false });
    using sender = channel.sender();
    let sent = 0;
    let isOver = false;
    const sending = (async () => {
      for (; !isOver; sent++) await sender.send(sent);
    })();
    const victim = peers.start(language, "victim-receive", address);
    await until(() => (lastWords(victim)[0] ?? 0) > 500, "it has received some", limitMs);
    await kill(victim);
    const [count = 0, last = -1] = lastWords(victim);
    assert.equal(last, count - 1);
    using receiver = await connectWhenFree(address);
    const first = await within(receiver.receive(), "the first that is left", limitMs);
    // What it had received and not told is gone with it: one value. What it had told and not given back
    // comes again: in TypeScript some.
    assert.ok(
      first <= count + 1 && first >= count - (language === "c" ? 0 : 64),
      `${first}, ${count}`,
    );
    isOver = true;
    for (let value = first + 1; value < sent; value++) {
      assert.equal(await within(receiver.receive(), "what is left", limitMs), value);
    }
    await within(sending, "everything to be sent", limitMs);
    channel[Symbol.dispose]();
    receiver.close();
    sender.close();
    await assertNothingLeft(before);
  });
}

for (const [kind, open] of Object.entries({ mpsc, spsc, spmc, mpmc })) {
  test(`${kind}: onReceiverDeath "wait" is not for a receiver that closes`, async () => {
    using channel = open(u32, {
      capacity: 1,
      shared: true,
      onReceiverDeath: "wait",
      pollBudget: 0,
    });
    const address = peers.address();
    // Nobody else is let in: a share would count as a receiver to come.
    channel.share(address, { senders: false, limit: 1 });
    using sender = channel.sender();
    const other = peers.start("c", "sit", address, "receiver");
    await hasSaid(other, "connected");
    assert.equal(sender.trySend(1), true);
    const waiting = sender.send(2);
    const drained = channel.drained();
    assert.equal(await isPending(waiting), true);
    other.end();
    await rejects(waiting, { name: "ChannelClosedError", code: "CHANNEL_CLOSED" });
    await within(drained, "drained()");
    assert.equal(channel.stats().closed, "receiver gone");
  });
}

/** A wait that ends with the victim, and how it shows that its death was noticed. */
interface Watch {
  readonly victim: Child;
  readonly waiting: Promise<unknown>;
  /** Needs no turn of the event loop. */
  readonly hasNoticed: () => boolean;
  readonly end: () => void;
}

const watches: Record<string, (address: string) => Promise<Watch>> = {
  async sender(address) {
    const channel = mpsc(u32, { shared: true, pollBudget: 0 });
    channel.share(address, { receivers: false, limit: 1 });
    const receiver = channel.receiver();
    const victim = peers.start("c", "sit", address, "sender");
    await hasSaid(victim, "connected");
    const end = () => {
      receiver.close();
      channel[Symbol.dispose]();
    };
    return { victim, waiting: receiver.receive(), hasNoticed: () => channel.closed, end };
  },
  async receiver(address) {
    const channel = mpsc(u32, { capacity: 1, shared: true, pollBudget: 0 });
    channel.share(address, { senders: false });
    const sender = channel.sender();
    const victim = peers.start("c", "sit", address, "receiver");
    await hasSaid(victim, "connected");
    assert.equal(sender.trySend(1), true);
    const end = () => {
      sender.close();
      channel[Symbol.dispose]();
    };
    return { victim, waiting: sender.send(2), hasNoticed: () => channel.closed, end };
  },
  async keeper(address) {
    const victim = peers.start("c", "sit-keep", address, "mpsc");
    await hasSaid(victim, "shared");
    const sender = await Sender.connect(address, { layout: u32 });
    while (sender.trySend(1));
    const end = () => sender.close();
    return { victim, waiting: sender.send(2), hasNoticed: () => sender.closed, end };
  },
};

for (const [who, watch] of Object.entries(watches)) {
  test(`the death of a ${who} is noticed while the event loop stands still, and wakes who waits`, async () => {
    const before = belongings();
    for (let death = 0; death < 3; death++) {
      const { victim, waiting, hasNoticed, end } = await watch(peers.address());
      assert.equal(await isPending(waiting), true);
      assert.equal(hasNoticed(), false);
      victim.kill("SIGKILL");
      // No look of the waiter's own, which it has twice a second, can be what notices it.
      untilBlocked(hasNoticed, "the death is noticed");
      await rejects(waiting, { name: "ChannelClosedError" });
      end();
      await victim.ended;
    }
    await assertNothingLeft(before);
  });
}

for (const [kind, open] of Object.entries({ spmc, mpmc })) {
  test(`${kind}: what a killed receiver had claimed goes to another, and is counted`, async () => {
    const before = belongings();
    const channel = open(u32, { capacity: 1024, shared: true }) as U32Channel;
    const address = peers.address();
    channel.share(address, { senders: false });
    using sender = channel.sender();
    const total = 20_000;
    const sending = (async () => {
      for (const value of range(total)) await sender.send(value);
      sender.close();
    })();
    const victim = peers.start("c", "victim-receive", address);
    await until(() => (lastWords(victim)[0] ?? 0) > 500, "it has received some", limitMs);
    using receiver = channel.receiver();
    const seen: number[] = [];
    const receiving = (async () => {
      for await (const value of receiver) seen.push(value);
    })();
    await kill(victim);
    await within(sending, "everything to be sent", limitMs);
    channel.close();
    await within(receiving, "the end", limitMs);
    const told = victim.output().matchAll(/^\d+ (\d+)$/gm);
    const both = [...seen, ...[...told].map(([, value]) => Number(value))];
    const distinct = new Set(both);
    const missing = range(total).filter((value) => !distinct.has(value));
    const doubled = both.length - distinct.size;
    const { redelivered } = channel.stats();
    // One it had received and not told may be missing; what it told and had not given back came again.
    assert.ok(missing.length <= 1, `missing: ${missing.slice(0, 10)}`);
    assert.ok(doubled <= redelivered, `${doubled} twice, ${redelivered} redelivered`);
    channel[Symbol.dispose]();
    receiver.close();
    await assertNothingLeft(before);
  });
}

// ---- kill -9 of a random side at a random moment ----

const rounds = 300;
/** On a busy machine there are fewer rounds. */
const enoughMs = 40_000;
/** Processes of the runtimes take a tenth of a second to start; most rounds are of C programs. */
const runtimeRounds = 24;
const roundsAtOnce = 6;

type Side = "sender" | "receiver" | "keeper of a receiver" | "keeper of a sender";
const sides: readonly Side[] = [
  "sender",
  "receiver",
  "keeper of a receiver",
  "keeper of a sender",
];

async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Up to so long after its start a victim lives. */
function lifeOf(language: Language, random: () => number): number {
  return random() * (language === "c" ? 40 : 600);
}

/** Sends `0, 1, 2, …` until the channel is closed; gives how many were accepted. */
async function sendUntilClosed(sender: U32Sender): Promise<number> {
  for (let next = 0;; next++) {
    try {
      await within(sender.send(next), `room for ${next}, or the end`, limitMs);
    } catch (error) {
      if (!isEnd(error, "PEER_DIED")) throw error;
      return next;
    }
  }
}

const roundOf: Record<Side, (language: Language, random: () => number) => Promise<void>> = {
  async "sender"(language, random) {
    const channel = mpsc(u32, { capacity: 16, shared: true, pollBudget: random() < 0.5 ? 0 : 1 });
    const address = peers.address();
    const share = channel.share(address, { receivers: false });
    using receiver = channel.receiver();
    const receiving = receiveAll(receiver, "CHANNEL_CLOSED");
    const victim = peers.start(language, "victim-send", address, Math.floor(random() * 2 ** 30));
    await sleep(lifeOf(language, random));
    await kill(victim);
    share.close();
    const received = await receiving;
    const [committed = 0] = lastWords(victim);
    assert.ok(committed <= received && received <= committed + 16, `${committed}, ${received}`);
    channel[Symbol.dispose]();
    receiver.close();
  },

  async "receiver"(language, random) {
    const channel = mpsc(u32, {
      capacity: 16,
      shared: true,
      onReceiverDeath: "wait",
      pollBudget: random() < 0.5 ? 0 : 1,
    });
    const address = peers.address();
    channel.share(address, { senders: false });
    using sender = channel.sender();
    let sent = 0;
    let isOver = false;
    const sending = (async () => {
      for (; !isOver; sent++) await within(sender.send(sent), "room", limitMs);
    })();
    const victim = peers.start(language, "victim-receive", address);
    await sleep(lifeOf(language, random));
    await kill(victim);
    const [count = 0] = lastWords(victim);
    // The keeper notices the death at its own time: until then there is a receiver.
    using receiver = await connectWhenFree(address);
    const first = await within(receiver.receive(), "what is left", limitMs);
    const again = language === "c" ? 0 : 64;
    assert.ok(first <= count + 1 && first >= count - again, `${first} after ${count}`);
    isOver = true;
    for (let value = first + 1; value < sent; value++) {
      assert.equal(await within(receiver.receive(), "what is left", limitMs), value);
    }
    await sending;
    receiver.close();
    sender.close();
    channel[Symbol.dispose]();
  },

  async "keeper of a receiver"(language, random) {
    const address = peers.address();
    const victim = peers.start(language, "victim-keep-receive", address, "mpsc");
    await victim.said("shared");
    const sender: U32Sender = await Sender.connect(address, { layout: u32 });
    const sending = sendUntilClosed(sender);
    await sleep(lifeOf(language, random) / 2);
    await kill(victim);
    const sent = await sending;
    const [received = 0] = lastWords(victim);
    assert.ok(received <= sent, `${received} of ${sent}`);
    sender.close();
  },

  async "keeper of a sender"(language, random) {
    const address = peers.address();
    const seed = Math.floor(random() * 2 ** 30);
    const victim = peers.start(language, "victim-keep-send", address, "mpsc", seed);
    await victim.said("shared");
    const receiver: U32Receiver = await Receiver.connect(address, { layout: u32 });
    const receiving = receiveAll(receiver, "PEER_DIED");
    await sleep(lifeOf(language, random) / 2);
    await kill(victim);
    const received = await receiving;
    const [committed = 0] = lastWords(victim);
    assert.ok(committed <= received && received <= committed + 16, `${committed}, ${received}`);
    receiver.close();
  },
};

/** Connects a receiver as soon as there is none any more. */
async function connectWhenFree(address: string): Promise<U32Receiver> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    try {
      return await Receiver.connect(address, { layout: u32 });
    } catch (error) {
      if ((error as Error).name !== "ReceiverTakenError" || performance.now() > deadline) {
        throw error;
      }
      await sleep(1);
    }
  }
}

test(
  `kill -9 of a random side at a random moment, up to ${rounds} rounds: nothing lost, doubled or left`,
  async () => {
    const before = belongings();
    const failures: string[] = [];
    let started = 0;
    const end = performance.now() + enoughMs;
    const work = async () => {
      while (started < rounds && performance.now() < end) {
        const round = started++;
        const random = randomFrom(round);
        const language = round % Math.ceil(rounds / runtimeRounds) === 0
          ? (["deno", "bun"] as const)[Math.floor(random() * 2)] ?? "deno"
          : "c";
        const side = sides[Math.floor(random() * sides.length)] ?? "sender";
        try {
          await roundOf[side](language, random);
        } catch (error) {
          failures.push(`round ${round}, ${side} in ${language}: ${(error as Error).stack}`);
          return;
        }
      }
    };
    peers.program("c");
    await Promise.all(range(roundsAtOnce).map(work));
    assert.deepEqual(failures, []);
    await assertNothingLeft(before);
    assert.deepEqual(peers.pids().filter(isAlive), []);
  },
);
