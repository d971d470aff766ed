/**
 * Workers that die with an endpoint in their hands: what they committed arrives, the channel ends,
 * nobody waits for ever, and nothing leaks.
 */

import assert from "node:assert/strict";
import { readdirSync, readlinkSync } from "node:fs";
import { after, test } from "node:test";
import { loadLibrary } from "../ffi/load.ts";
import {
  type Channel,
  ChannelClosedError,
  mpsc,
  type SenderTicket,
  u32,
  type WaitStrategy,
} from "../mod.ts";
import { receiveAs, receiveModes, type SendMode, sendModes, Tally } from "./support/stress_jobs.ts";
import { Crew, randomFrom, turn, until, within } from "./support/stress_host.ts";
import { type End, ends, phaseIndex, type Sentence, sentIndex } from "./support/stress_sentence.ts";

const { symbols } = loadLibrary();
const crew = new Crew();
after(() => crew[Symbol.dispose]());

const limitMs = 20_000;
const testLimit = { timeout: 120_000 };
const trialsAtOnce = 8;
const waits: readonly WaitStrategy[] = ["block", "phased", "yield", "sleep", "spin"];

/** Descriptors that are open, but for files: the runtime opens its caches when it pleases. */
function openDescriptors(): number {
  return readdirSync("/proc/self/fd").filter((descriptor) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${descriptor}`);
      return !target.startsWith("/") || target.startsWith("/memfd:");
    } catch {
      return false; // the one that lists the directory
    }
  }).length;
}

type Trial = (index: number, random: () => number) => Promise<void>;

/** Runs trials, some at once, and looks for leaks after each lot. */
async function runTrials(trials: number, seed: number, trial: Trial): Promise<void> {
  // Before anything is counted: a Worker of the crew has descriptors too.
  await crew.start(trialsAtOnce);
  const channels = symbols.millrace_channels_alive();
  let descriptors = Infinity;
  for (let first = 0; first < trials; first += trialsAtOnce) {
    const lot = Array.from({ length: Math.min(trialsAtOnce, trials - first) }, (_, offset) => {
      const index = first + offset;
      return trial(index, randomFrom(seed * 1000 + index));
    });
    await Promise.all(lot);
    await until(
      () => symbols.millrace_channels_alive() <= channels,
      limitMs,
      () =>
        `${symbols.millrace_channels_alive()} channels are alive, before there were ${channels}`,
    );
    // The first lot opens what the runtime opens once.
    if (first === 0) descriptors = openDescriptors();
    await until(
      () => openDescriptors() <= descriptors,
      limitMs,
      () => `${openDescriptors()} descriptors are open, before there were ${descriptors}`,
    );
  }
}

/** Starts a Worker that does as it is told until it dies. */
function startVictim(sentence: Sentence): Worker {
  const worker = new Worker(new URL("./support/stress_victim.js", import.meta.url), {
    type: "module",
  });
  // A crash is reported here; it is meant.
  worker.onerror = (event) => event.preventDefault();
  worker.postMessage(sentence);
  return worker;
}

const newState = () => new Int32Array(new SharedArrayBuffer(8));

const pickFrom = <Item>(items: readonly Item[], random: () => number): Item =>
  items[Math.floor(random() * items.length)] as Item;

const hasOpened = (state: Int32Array) =>
  until(() => Atomics.load(state, phaseIndex) >= 1, limitMs, () => "the Worker has not opened");

/** A moment like any other: some turns of the event loop. */
async function passSomeTime(random: () => number): Promise<void> {
  for (let turns = Math.floor(random() * 4); turns > 0; turns--) await turn();
}

function openChannel(random: () => number, capacity?: number): Channel<number, Uint32Array> {
  return mpsc(u32, {
    capacity: capacity ?? pickFrom([2, 4, 64, 2 ** 16], random),
    maxSenders: 8,
    pollBudget: pickFrom([0, 50, "adaptive"], random),
    initialSequence: pickFrom([0, 2 ** 31 - 1, 2 ** 32 - 3], random),
  });
}

for (const [end, trials] of [["terminate", 48], ["close", 24], ["crash", 24]] as const) {
  test(
    `a sending Worker ends by ${end}, ${trials} times: its committed prefix arrives, the channel ends`,
    testLimit,
    async () => {
      await runTrials(trials, trials, async (index, random) => {
        using channel = openChannel(random);
        using receiver = channel.receiver();
        const mode = sendModes[index % sendModes.length] as SendMode;
        const receiveMode = pickFrom(receiveModes, random);
        const tally = new Tally();
        const enough = Math.floor(random() * 2000);
        const victims = Array.from({ length: 1 + index % 2 }, (_, id) => {
          const state = newState();
          const ticket = channel.senderTicket();
          const wait = pickFrom(waits, random);
          const worker = startVictim({
            role: "sender",
            ticket,
            mode,
            id,
            count: 2 ** 22,
            wait,
            end,
            after: 1 + Math.floor(random() * 2000),
            state,
          });
          return { worker, state, ticket };
        });
        const received = receiveAs(receiveMode, receiver, "block", (value) => tally.take(value));
        if (end === "terminate") {
          if (index % 6 === 5) {
            // At any moment, perhaps before it has opened its sender: then the ticket is taken back.
            for (let turns = Math.floor(random() * 60); turns > 0; turns--) await turn();
          } else {
            await until(() => tally.total >= enough, limitMs, () => `only ${tally.total} came`);
          }
          for (const { worker, ticket } of victims) {
            worker.terminate();
            channel.revoke(ticket);
          }
        }
        await within(
          received,
          limitMs,
          () => `${mode} to ${receiveMode}, trial ${index}: ${JSON.stringify(channel.stats())}`,
        );
        assert.equal(channel.closed, true);
        assert.equal(channel.stats().drained, true);
        for (const [id, { state, worker }] of victims.entries()) {
          const sent = Atomics.load(state, sentIndex);
          const arrived = tally.received[id] ?? 0;
          assert.ok(arrived >= sent, `${mode}, trial ${index}: ${sent} were sent, ${arrived} came`);
          worker.terminate();
        }
      });
    },
  );
}

const blockedModes: readonly SendMode[] = [
  "sendSync",
  "send",
  "writer",
  "sendAllSync",
  "sendAll",
  "reserve and commit",
  "send without awaiting each",
  "blocking and async in turns",
];

const asyncModes: readonly SendMode[] = [
  "send",
  "sendAll",
  "reserve and commit",
  "send without awaiting each",
];
/** Deno terminates a Worker at its event loop only: not while it is inside a blocking call. */
const terminatesBlocked = "Bun" in globalThis;

test(
  "a Worker terminated while it waits for room, 48 times: what it had sent arrives",
  testLimit,
  async () => {
    await runTrials(48, 3, async (index, random) => {
      const capacity = pickFrom([1, 2, 4, 64], random);
      using channel = openChannel(random, capacity);
      using receiver = channel.receiver();
      const mode = blockedModes[index % blockedModes.length] as SendMode;
      const state = newState();
      const worker = startVictim({
        role: "sender",
        ticket: channel.senderTicket(),
        mode,
        id: 0,
        count: 2 ** 22,
        wait: pickFrom(waits, random),
        end: "terminate",
        after: 0,
        state,
      });
      await until(
        () => channel.stats().slotsUsed === capacity && channel.stats().timesFull > 0,
        limitMs,
        () => `${mode} does not fill the ring: ${JSON.stringify(channel.stats())}`,
      );
      await passSomeTime(random);
      worker.terminate();
      const tally = new Tally();
      if (terminatesBlocked || asyncModes.includes(mode)) {
        await until(() => channel.closed, limitMs, () => `${mode}: the channel does not end`);
        receiver.drain((value) => tally.take(value));
        assert.equal(tally.total, capacity);
      } else {
        // Only when it is no longer blocked does the Worker end.
        await within(
          receiveAs("for await", receiver, "block", (value) => tally.take(value)),
          limitMs,
          () => `${mode}: the channel does not end`,
        );
        assert.ok(tally.total >= capacity);
      }
      assert.ok(Atomics.load(state, sentIndex) <= tally.total);
      assert.deepEqual(receiver.tryReceive(), { state: "closed" });
    });
  },
);

test(
  "a Worker dies with the receiver, 48 times: every sender is told, however it waits",
  testLimit,
  async () => {
    await runTrials(48, 4, async (index, random) => {
      const capacity = pickFrom([1, 2, 4, 64], random);
      using channel = openChannel(random, capacity);
      const end: End = ends[index % ends.length] as End;
      const mode = pickFrom(["receive", "receiveSync", "hold"] as const, random);
      const state = newState();
      const received = Math.floor(random() * 200);
      const worker = startVictim({
        role: "receiver",
        ticket: channel.receiverTicket(),
        mode,
        wait: pickFrom(waits, random),
        end,
        after: received,
        state,
      });
      // One sender here, asleep on its bell or polling; one in a Worker, blocked or asleep.
      using sender = channel.sender();
      const sending = (async () => {
        for (let value = 0;; value++) {
          try {
            await sender.send(value);
          } catch (error) {
            assert.ok(error instanceof ChannelClosedError);
            assert.equal(error.code, "CHANNEL_CLOSED");
            assert.equal(error.value, value);
            return;
          }
        }
      })();
      const sendMode = blockedModes[index % blockedModes.length] as SendMode;
      const elsewhere = crew.perform({
        kind: "send",
        mode: sendMode,
        tickets: [channel.senderTicket()],
        ids: [1],
        counts: [2 ** 22],
        wait: pickFrom(["block", "phased"], random),
      });
      if (end === "terminate") {
        await until(
          () => Atomics.load(state, sentIndex) >= received,
          limitMs,
          () => `the receiver got ${Atomics.load(state, sentIndex)} of ${received}`,
        );
        await passSomeTime(random);
        worker.terminate();
      }
      await within(
        Promise.all([sending, elsewhere]),
        limitMs,
        () => `${mode} by ${end}, ${sendMode}: ${JSON.stringify(channel.stats())}`,
      );
      worker.terminate();
      assert.equal(channel.stats().receiver, "gone");
      assert.equal(channel.closed, true);
      assert.equal(sender.trySend(0), false);
      assert.throws(() => sender.sendSync(0), ChannelClosedError);
      await assert.rejects(sender.send(0), ChannelClosedError);
      await channel.drained();
    });
  },
);

test(
  "a Worker dies waiting in an empty channel with the receiver, 16 times: senders are told",
  testLimit,
  async () => {
    await runTrials(16, 5, async (index, random) => {
      using channel = openChannel(random, 2);
      using sender = channel.sender();
      const state = newState();
      const worker = startVictim({
        role: "receiver",
        ticket: channel.receiverTicket(),
        mode: index % 2 === 0 ? "receiveSync" : "receive",
        wait: pickFrom(waits, random),
        end: "terminate",
        after: 0,
        state,
      });
      await until(() => Atomics.load(state, phaseIndex) === 2, limitMs, () => "it does not wait");
      await passSomeTime(random);
      worker.terminate();
      await until(
        () => {
          // Where a blocked Worker is not terminated, a value lets it return to its event loop.
          if (!terminatesBlocked) sender.trySend(0);
          return sender.closed;
        },
        limitMs,
        () => "the sender is not told",
      );
      await assert.rejects(sender.send(1), ChannelClosedError);
    });
  },
);

test(
  "the last sender's Worker dies while the receiver sleeps, 24 times: receives end",
  testLimit,
  async () => {
    await runTrials(24, 6, async (index, random) => {
      // No polling: it sleeps from its second look on.
      using channel = mpsc(u32, { capacity: 4, maxSenders: 2, pollBudget: 0 });
      const state = newState();
      const worker = startVictim({
        role: "sender",
        ticket: channel.senderTicket(),
        mode: "hold",
        id: 0,
        count: 0,
        wait: "block",
        end: ends[index % ends.length] as End,
        after: 0,
        state,
      });
      const tally = new Tally();
      const receiveHere = async () => {
        using receiver = channel.receiver();
        await receiveAs(pickFrom(receiveModes, random), receiver, "block", (value) => {
          tally.take(value);
        });
      };
      // Asleep in waitAsync here, or blocked in a futex in a Worker.
      const receiving: Promise<unknown> = index % 4 === 3
        ? crew.perform({
          kind: "receive",
          mode: "receiveSync",
          ticket: channel.receiverTicket(),
          wait: "block",
          progress: new Int32Array(new SharedArrayBuffer(4)),
        })
        : receiveHere();
      await hasOpened(state);
      await passSomeTime(random);
      worker.terminate();
      await within(
        receiving,
        limitMs,
        () => `the receive does not end: ${JSON.stringify(channel.stats())}`,
      );
      assert.equal(tally.total, 0);
      assert.equal(channel.stats().closed, "senders gone");
    });
  },
);

test("the receiver's Worker dies while drained() waits: it resolves", testLimit, async () => {
  await runTrials(8, 7, async (index, random) => {
    using channel = mpsc(u32, { capacity: 4, maxSenders: 2, pollBudget: index % 2 === 0 ? 0 : 50 });
    const state = newState();
    const worker = startVictim({
      role: "receiver",
      ticket: channel.receiverTicket(),
      mode: "hold",
      wait: "block",
      end: "terminate",
      after: 1,
      state,
    });
    const sender = channel.sender();
    sender.sendBatch([1, 2, 3]);
    channel.close();
    const drained = channel.drained();
    await until(() => Atomics.load(state, phaseIndex) === 2, limitMs, () => "it has not received");
    await passSomeTime(random);
    assert.equal(channel.stats().drained, false);
    worker.terminate();
    await within(drained, limitMs, () => JSON.stringify(channel.stats()));
    sender.close();
  });
});

test(
  "a ticket whose Worker died before it opened it can be revoked: the channel ends",
  testLimit,
  async () => {
    await runTrials(16, 8, async (index, random) => {
      using channel = openChannel(random, 4);
      using receiver = channel.receiver();
      const ticket: SenderTicket<number, Uint32Array> = channel.senderTicket();
      const state = newState();
      const worker = startVictim({
        role: "sender",
        ticket,
        mode: "hold",
        id: 0,
        count: 0,
        wait: "block",
        end: "terminate",
        after: 0,
        state,
      });
      for (let turns = index * 2; turns > 0; turns--) await turn();
      worker.terminate();
      const wasUnused = channel.revoke(ticket);
      assert.equal(channel.revoke(ticket), false);
      await within(
        assert.rejects(receiver.receive(), ChannelClosedError),
        limitMs,
        () => `revoked: ${wasUnused}, ${JSON.stringify(channel.stats())}`,
      );
      if (wasUnused) assert.equal(Atomics.load(state, phaseIndex), 0);
    });
  },
);
