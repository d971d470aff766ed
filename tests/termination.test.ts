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
  mpmc,
  mpsc,
  Receiver,
  type ReceiverTicket,
  type SenderTicket,
  spmc,
  spsc,
  u32,
  type WaitStrategy,
} from "../mod.ts";
import {
  blockingReceiveModes,
  handedOver,
  leftByThrowing,
  Receipts,
  receiveAs,
  type ReceiveMode,
  receiveModes,
  type SendMode,
  sendModes,
  Tally,
} from "./support/stress_jobs.ts";
import { Crew, randomFrom, turn, until, within } from "./support/stress_host.ts";
import { type End, ends, phaseIndex, type Sentence, sentIndex } from "./support/stress_sentence.ts";

const { symbols } = loadLibrary();
const crew = new Crew();
after(() => crew[Symbol.dispose]());

const limitMs = 60_000;
const testLimit = { timeout: 120_000 };
const trialsAtOnce = 8;
const waits: readonly WaitStrategy[] = ["block", "phased", "yield", "sleep", "spin"];

/** Descriptors that are open, but for files: the runtime opens its caches when it pleases. */
function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((descriptor) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${descriptor}`);
      return !target.startsWith("/") || target.startsWith("/memfd:") ? [target] : [];
    } catch {
      return []; // the one that lists the directory
    }
  });
}

/** What the runtime opens once, and late. A leak of ours is one with every trial of a lot, or more. */
const descriptorsOfRuntime = 3;

type Trial = (index: number, random: () => number) => Promise<void>;

/** Runs trials, some at once, and looks for leaks after each lot. */
async function runTrials(
  trials: number,
  seed: number,
  trial: Trial,
  crewEach = 1,
): Promise<void> {
  // Before anything is counted: a Worker of the crew has descriptors too.
  await crew.start(trialsAtOnce * crewEach);
  const channels = symbols.millrace_channels_alive();
  let descriptors: string[] | undefined;
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
    const before = descriptors ??= openDescriptors();
    await until(
      () => openDescriptors().length <= before.length + descriptorsOfRuntime,
      limitMs,
      () => `${openDescriptors().sort()} are open, before there were ${before.sort()}`,
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

const range = (count: number) => Uint32Array.from({ length: count }, (_, index) => index);

type Kind = "spsc" | "mpsc" | "spmc" | "mpmc";
const hasManySenders = (kind: Kind) => kind === "mpsc" || kind === "mpmc";
const hasManyReceivers = (kind: Kind) => kind === "spmc" || kind === "mpmc";

function openChannel(
  random: () => number,
  capacity?: number,
  kind: Kind = "mpsc",
): Channel<number, Uint32Array> {
  const options = {
    capacity: capacity ?? pickFrom([2, 4, 64, 2 ** 16], random),
    pollBudget: pickFrom([0, 50, "adaptive"] as const, random),
    initialSequence: pickFrom([0, 2 ** 31 - 1, 2 ** 32 - 3], random),
  };
  const senders = { maxSenders: 8 };
  switch (kind) {
    case "spsc":
      return spsc(u32, options);
    case "mpsc":
      return mpsc(u32, { ...options, ...senders });
    // Claims of more than one value, so that there is something to hold.
    case "spmc":
      return spmc(u32, { ...options, claim: pickFrom([1, 4, 16], random) });
    case "mpmc":
      return mpmc(u32, { ...options, ...senders, claim: pickFrom([1, 4, 16], random) });
  }
}

function closingAll(receivers: readonly Receiver<number, Uint32Array>[]): Disposable {
  return {
    [Symbol.dispose]() {
      for (const receiver of receivers) receiver.close();
    },
  };
}

/** Terminated from outside, at any moment: 200 trials, in each of them one sender or two. */
const sendersEnds = [
  ["mpsc", "terminate", 96],
  ["mpsc", "close", 16],
  ["mpsc", "crash", 16],
  ["spsc", "terminate", 24],
  ["spsc", "crash", 8],
  ["spmc", "terminate", 40],
  ["spmc", "crash", 8],
  ["mpmc", "terminate", 40],
  ["mpmc", "close", 8],
  ["mpmc", "crash", 8],
] as const;

for (const [kind, end, trials] of sendersEnds) {
  test(
    `${kind}: a sending Worker ends by ${end}, ${trials} times: its committed prefix arrives, the channel ends`,
    testLimit,
    async () => {
      await runTrials(trials, trials, async (index, random) => {
        using channel = openChannel(random, undefined, kind);
        const receivers = Array.from(
          { length: hasManyReceivers(kind) ? 1 + Math.floor(random() * 3) : 1 },
          () => channel.receiver(),
        );
        using _ = closingAll(receivers);
        const mode = sendModes[index % sendModes.length] as SendMode;
        const receiveMode = pickFrom(receiveModes, random);
        // Where they share, one may take over what another has claimed before, and offers.
        const tallies = receivers.map(() => new Tally(receivers.length > 1 ? "any" : "each"));
        const total = () => tallies.reduce((sum, tally) => sum + tally.total, 0);
        const enough = Math.floor(random() * 2000);
        const victims = Array.from(
          { length: hasManySenders(kind) ? 1 + index % 2 : 1 },
          (_, id) => {
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
          },
        );
        const received = Promise.all(
          receivers.map((receiver, place) =>
            receiveAs(receiveMode, receiver, "block", (value) => tallies[place]?.take(value))
          ),
        );
        if (end === "terminate") {
          if (index % 6 === 5) {
            // At any moment, perhaps before it has opened its sender: then the ticket is taken back.
            for (let turns = Math.floor(random() * 60); turns > 0; turns--) await turn();
          } else {
            await until(() => total() >= enough, limitMs, () => `only ${total()} came`);
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
          const arrived = tallies.reduce((sum, { received }) => sum + (received[id] ?? 0), 0);
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
  "a Worker terminated while it waits for room, 24 times: what it had sent arrives",
  testLimit,
  async () => {
    await runTrials(24, 3, async (index, random) => {
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

for (const [kind, trials] of [["mpsc", 24], ["spsc", 8], ["spmc", 16], ["mpmc", 16]] as const) {
  test(
    `${kind}: a Worker dies with the last receiver, ${trials} times: every sender is told, however it waits`,
    testLimit,
    async () => {
      await runTrials(trials, 4, async (index, random) => {
        const capacity = pickFrom([1, 2, 4, 64], random);
        using channel = openChannel(random, capacity, kind);
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
        // Where there can be one only, it is the one or the other.
        const isHere = hasManySenders(kind) || index % 2 === 0;
        const isElsewhere = hasManySenders(kind) || !isHere;
        const sender = isHere ? channel.sender() : undefined;
        using _ = { [Symbol.dispose]: () => sender?.close() };
        const sending = sender && (async () => {
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
        const elsewhere = isElsewhere && crew.perform({
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
        if (sender !== undefined) {
          assert.equal(sender.trySend(0), false);
          assert.throws(() => sender.sendSync(0), ChannelClosedError);
          await assert.rejects(sender.send(0), ChannelClosedError);
        }
        await channel.drained();
      });
    },
  );
}

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

for (const kind of ["spmc", "mpmc"] as const) {
  test(
    `${kind}: Workers with receivers die at any moment, 120 of them that had opened: none is lost with them, and seen again only if redelivered`,
    testLimit,
    async () => {
      let opened = 0;
      let hurried = 0;
      await runTrials(44, 9, async (index, random) => {
        using channel = openChannel(random, undefined, kind);
        const count = 300;
        const senders = hasManySenders(kind) ? 2 - index % 2 : 1;
        const receipts = Receipts.for(senders, count);
        // One survives: here, or in a Worker where it can block.
        const isHere = index % 2 === 0;
        const survivorMode: ReceiveMode = isHere
          ? pickFrom(receiveModes, random)
          : pickFrom([...receiveModes, ...blockingReceiveModes], random);
        const wait = pickFrom(waits, random);
        const survivorTicket = channel.receiverTicket();
        const victims = Array.from({ length: 3 }, (_, place) => {
          const state = newState();
          const ticket = channel.receiverTicket();
          const end = ends[(index + place) % ends.length] as End;
          // Deno does not terminate a Worker that blocks again and again.
          const modes = terminatesBlocked
            ? [...receiveModes, ...blockingReceiveModes]
            : receiveModes;
          const mode = pickFrom(
            index % 4 < 2
              ? modes.filter((mode) => !(mode in handedOver || mode in leftByThrowing))
              : modes,
            random,
          );
          const worker = startVictim({
            role: "sharer",
            ticket,
            mode,
            wait: pickFrom(waits, random),
            end,
            after: 1 + Math.floor(random() * 80),
            state,
            receipts: { memory: receipts.memory, perSender: count },
            seed: index * 10 + place,
          });
          const thrown = end === "terminate" ? undefined : leftByThrowing[mode];
          return { worker, ticket, state, inHand: handedOver[mode] ?? thrown ?? 0 };
        });
        // In some trials they are terminated at any moment, perhaps before they have opened anything.
        const isHurried = index % 11 === 10;
        if (!isHurried) await Promise.all(victims.map(({ state }) => hasOpened(state)));
        const senderTickets = Array.from({ length: senders }, () => channel.senderTicket());
        const sending = senderTickets.map((ticket, id) =>
          crew.perform({
            kind: "send",
            mode: pickFrom(sendModes, random),
            tickets: [ticket],
            ids: [id],
            counts: [count],
            wait: pickFrom(["block", "phased"] as const, random),
          })
        );
        const surviving = crewOrHere(isHere, survivorMode, survivorTicket, wait, receipts);
        for (const { worker, ticket, state } of victims) {
          const enough = Math.floor(random() * 60);
          for (
            let turns = 4 + Math.floor(random() * 40);
            turns > 0 && Atomics.load(state, sentIndex) < enough;
            turns--
          ) await turn();
          worker.terminate();
          channel.revoke(ticket);
          if (isHurried) hurried++;
          else opened++;
        }
        const describe = () =>
          `${survivorMode}, trial ${index}: ${JSON.stringify(channel.stats())}`;
        const sent = Object.assign({}, ...await within(Promise.all(sending), limitMs, describe));
        await within(surviving, limitMs, describe);
        const stats = channel.stats();
        assert.equal(stats.drained, true);
        assert.equal(stats.received, count * senders, describe());
        let missing = 0;
        let repeated = 0;
        for (let id = 0; id < senders; id++) {
          assert.equal(sent[id], count);
          const seen = receipts.of(id, count);
          missing += seen.missing;
          repeated += seen.repeated;
        }
        const inHand = victims.reduce((sum, victim) => sum + victim.inHand, 0);
        assert.ok(missing <= inHand, `${missing} are missing, ${inHand} may be: ${describe()}`);
        assert.ok(repeated <= stats.redelivered, `${repeated} came twice: ${describe()}`);
      }, 2);
      assert.deepEqual({ opened, hurried }, { opened: 120, hurried: 12 });
    },
  );

  test(
    `${kind}: a Worker dies as its sleeping receiver is woken, 16 times: another gets the value`,
    testLimit,
    async () => {
      await runTrials(16, 10, async (index, random) => {
        using channel = openChannel(random, 4, kind);
        const receipts = Receipts.for(1, 4);
        const state = newState();
        const worker = startVictim({
          role: "sharer",
          ticket: channel.receiverTicket(),
          mode: terminatesBlocked && index % 2 === 0 ? "receiveSync" : "receive",
          wait: "block",
          end: "terminate",
          after: 0,
          state,
          receipts: { memory: receipts.memory, perSender: 4 },
          seed: index,
        });
        await hasOpened(state);
        using receiver = channel.receiver();
        using sender = channel.sender();
        const receiving = receiveAs("receive", receiver, "block", (value) => receipts.take(value));
        await until(
          () => channel.stats().receiverTimesSlept >= 2,
          limitMs,
          () => `they do not sleep: ${JSON.stringify(channel.stats())}`,
        );
        // The one, or the other, or both at once.
        if (index % 3 === 0) worker.terminate();
        sender.trySend(0);
        if (index % 3 === 1) await passSomeTime(random);
        worker.terminate();
        await until(
          // Perhaps by the one that died before it could say so.
          () => receipts.total > 0 || channel.stats().received > 0,
          limitMs,
          () => `nobody got the value: ${JSON.stringify(channel.stats())}`,
        );
        sender.close();
        await within(receiving, limitMs, () => JSON.stringify(channel.stats()));
        assert.equal(channel.stats().received, 1);
        assert.ok(receipts.of(0, 1).repeated <= channel.stats().redelivered);
      });
    },
  );
}

for (const kind of ["spmc", "mpmc"] as const) {
  const modes = [
    "for await",
    "batches",
    "run",
    "run with batches",
    "stream",
    "readable and release",
  ] as const;
  test(
    `${kind}: what a Worker is handling when it dies is handled by another: ${modes.join(", ")}`,
    testLimit,
    async () => {
      await runTrials(modes.length, 11, async (index, random) => {
        const mode = modes[index] as ReceiveMode;
        using channel = openChannel(random, 64, kind);
        const receipts = Receipts.for(1, 20);
        const state = newState();
        const worker = startVictim({
          role: "sharer",
          ticket: channel.receiverTicket(),
          mode,
          wait: "block",
          end: "terminate",
          after: 0,
          state,
          receipts: { memory: receipts.memory, perSender: 20 },
          seed: index,
          holdsAt: 5,
        });
        await hasOpened(state);
        const describe = () => `${mode}: ${JSON.stringify(channel.stats())}`;
        using sender = channel.sender();
        sender.sendBatch(range(20));
        await until(() => Atomics.load(state, phaseIndex) === 2, limitMs, describe);
        using receiver = channel.receiver();
        const receiving = receiveAs(
          "receive",
          receiver,
          "block",
          (value) => receipts.take(value),
        );
        worker.terminate();
        sender.close();
        await within(receiving, limitMs, describe);
        const { missing, repeated } = receipts.of(0, 20);
        assert.equal(missing, 0, describe());
        // The fifth was in its hand, and perhaps those of the same claim before it.
        assert.ok(repeated >= 1 && repeated <= 5, `${repeated} came twice, ${describe()}`);
        const { redelivered, received } = channel.stats();
        assert.ok(redelivered >= repeated, describe());
        assert.equal(received, 20);
      });
    },
  );
}

/** Receives in this thread, or in a Worker of the crew. */
async function crewOrHere(
  isHere: boolean,
  mode: ReceiveMode,
  ticket: ReceiverTicket<number, Uint32Array>,
  wait: WaitStrategy,
  receipts: Receipts,
): Promise<void> {
  if (!isHere) {
    await crew.perform({
      kind: "receive",
      mode,
      ticket,
      wait,
      progress: new Int32Array(new SharedArrayBuffer(4)),
      receipts: { memory: receipts.memory, perSender: receipts.perSender },
      order: "any",
    });
    return;
  }
  using receiver = Receiver.open(ticket);
  await receiveAs(mode, receiver, wait, (value) => receipts.take(value));
}
