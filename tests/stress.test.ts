/**
 * Many Workers and one receiver, through every way to send and to receive: nothing is lost, nothing
 * comes twice, and each sender's values come in their order.
 */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type Channel, mpsc, u32, type WaitStrategy } from "../mod.ts";
import {
  blockingReceiveModes,
  type Job,
  type JobResult,
  perform,
  type ReceiveMode,
  receiveModes,
  type SendMode,
  sendModes,
} from "./support/stress_jobs.ts";
import { Crew, randomFrom, turn, until, within } from "./support/stress_host.ts";

const crew = new Crew();
after(() => crew[Symbol.dispose]());

const limitMs = 20_000;
const testLimit = { timeout: 120_000 };
const waits: readonly WaitStrategy[] = ["block", "phased", "block", "sleep", "yield"];
/** 0 sleeps at every wait, so that the bells are used and not the polling before them. */
const pollBudgets = [0, "adaptive", 0, 50] as const;
/** The counters hold the sequence twice over, so they wrap at 2^31 and at 2^32 of it. */
const belowTheWrap = [2 ** 31 - 1, 2 ** 31 - 3, 2 ** 32 - 1, 2 ** 32 - 5, 2 ** 31 - 9];

/** Takes the next of each list, at paces of their own, so that all combinations come up. */
let scenarios = 0;
function pick<Item>(items: readonly Item[], pace: number): Item {
  return items[Math.floor(scenarios / pace) % items.length] as Item;
}

function openChannel(capacity: number, maxSenders = 64): Channel<number, Uint32Array> {
  scenarios++;
  return mpsc(u32, {
    capacity,
    maxSenders,
    initialSequence: pick(belowTheWrap, 1),
    pollBudget: pick(pollBudgets, 1),
  });
}

interface Plan {
  readonly channel: Channel<number, Uint32Array>;
  readonly senders: readonly { mode: SendMode; counts: readonly number[] }[];
  readonly receiveMode: ReceiveMode;
  /** Where it receives: blocking receives need a Worker. */
  readonly receiveIn: "main" | "worker";
  /** Called with what counts the values received. */
  readonly meanwhile?: (received: () => number) => Promise<void>;
}

/** Runs a plan to the channel's end. Returns what was sent and received, by sender. */
async function runPlan(plan: Plan): Promise<{ sent: JobResult; received: JobResult }> {
  const { channel, senders, receiveMode } = plan;
  const progress = new Int32Array(new SharedArrayBuffer(4));
  let id = 0;
  const jobs = senders.map(({ mode, counts }): Job => ({
    kind: "send",
    mode,
    tickets: counts.map(() => channel.senderTicket()),
    ids: counts.map(() => id++),
    counts,
    wait: pick(waits, 1 + id),
  }));
  const receiving: Job = {
    kind: "receive",
    mode: receiveMode,
    ticket: channel.receiverTicket(),
    wait: pick(waits, 2),
    progress,
  };
  const work = Promise.all([
    plan.receiveIn === "worker" ? crew.perform(receiving) : perform(receiving),
    Promise.all(jobs.map((job) => crew.perform(job))),
    plan.meanwhile?.(() => Atomics.load(progress, 0)),
  ]);
  const [received, results] = await within(
    work,
    limitMs,
    () =>
      `${JSON.stringify(plan.senders)} to ${receiveMode} in ${plan.receiveIn}, ` +
      JSON.stringify(channel.stats()),
  );
  return { sent: Object.assign({}, ...results), received };
}

/** Every sender's count, also those of which nothing arrived. */
function complete(received: JobResult, sent: JobResult): JobResult {
  return Object.fromEntries(Object.keys(sent).map((id) => [id, received[Number(id)] ?? 0]));
}

function expectAll(sent: JobResult, plan: Plan): void {
  const counts = plan.senders.flatMap(({ counts }) => counts);
  assert.deepEqual(sent, Object.fromEntries(counts.map((count, id) => [id, count])));
}

const capacities = [2, 4, 2 ** 16];

for (const capacity of capacities) {
  const places: readonly ["main" | "worker", readonly ReceiveMode[]][] = [
    ["main", receiveModes],
    ["worker", [...receiveModes, ...blockingReceiveModes]],
  ];
  for (const [receiveIn, modes] of places) {
    for (const receiveMode of modes) {
      test(
        `${receiveMode} in ${receiveIn}, capacity ${capacity}: gets all of every way to send`,
        testLimit,
        async () => {
          for (const mode of sendModes) {
            const channel = openChannel(capacity);
            using _ = channel;
            const count = capacity > 4 ? 600 : 100;
            const plan: Plan = {
              channel,
              senders: Array.from(
                { length: pick([1, 2, 3], 1) },
                () => ({ mode, counts: [count] }),
              ),
              receiveMode,
              receiveIn,
            };
            const { sent, received } = await runPlan(plan);
            expectAll(sent, plan);
            assert.deepEqual(received, sent, mode);
          }
        },
      );
    }
  }
}

for (const capacity of capacities) {
  test(
    `8 Workers, each sending another way, capacity ${capacity}: nothing lost, FIFO by sender`,
    testLimit,
    async () => {
      for (const receiveMode of [...receiveModes, ...blockingReceiveModes]) {
        const channel = openChannel(capacity);
        using _ = channel;
        const count = capacity > 4 ? 4000 : 200;
        const plan: Plan = {
          channel,
          senders: Array.from({ length: 8 }, (_, index) => ({
            mode: sendModes[(index + scenarios) % sendModes.length] as SendMode,
            counts: [count],
          })),
          receiveMode,
          receiveIn: scenarios % 2 === 0 || receiveMode.includes("locking") ||
              receiveMode === "receiveSync"
            ? "worker"
            : "main",
        };
        const { sent, received } = await runPlan(plan);
        expectAll(sent, plan);
        assert.deepEqual(received, sent, receiveMode);
      }
    },
  );
}

test(
  "1 to 8 writers, capacity 2^16, a million values: nothing lost, FIFO by sender",
  testLimit,
  async () => {
    for (let senders = 1; senders <= 8; senders++) {
      const channel = openChannel(2 ** 16);
      using _ = channel;
      const plan: Plan = {
        channel,
        senders: Array.from({ length: senders }, () => ({
          mode: "writer",
          counts: [Math.floor(2 ** 20 / senders)],
        })),
        receiveMode: pick(["batches", "run with batches", "readable and release"], 1),
        receiveIn: pick(["main", "worker"], 1),
      };
      const { sent, received } = await runPlan(plan);
      expectAll(sent, plan);
      assert.deepEqual(received, sent);
    }
  },
);

for (const capacity of capacities) {
  test(
    `senders that join and leave, capacity ${capacity}: nothing lost, FIFO by sender`,
    testLimit,
    async () => {
      for (
        const receiveMode of ["for await", "readable and release", "receiveSync", "run"] as const
      ) {
        const random = randomFrom(capacity + scenarios);
        const channel = openChannel(capacity, 256);
        using _ = channel;
        const plan: Plan = {
          channel,
          // 4 Workers, each with 40 senders one after the other: rings are claimed again and again
          // while the receiver still drains their last tenants.
          senders: Array.from({ length: 4 }, (_, worker) => ({
            mode: sendModes[(worker + scenarios) % sendModes.length] as SendMode,
            counts: Array.from({ length: 40 }, () => Math.floor(random() * 12)),
          })),
          receiveMode,
          receiveIn: receiveMode === "receiveSync" ? "worker" : pick(["main", "worker"], 1),
        };
        const { sent, received } = await runPlan(plan);
        expectAll(sent, plan);
        assert.deepEqual(complete(received, sent), sent, receiveMode);
      }
    },
  );
}

for (const mode of sendModes) {
  test(
    `close() races with ${mode}: what was reported sent is received once, the rest is not`,
    testLimit,
    async () => {
      for (let round = 0; round < 8; round++) {
        const channel = openChannel(pick(capacities, 1));
        using _ = channel;
        const random = randomFrom(round);
        const receiveMode = pick(receiveModes, 1);
        const closeAt = Math.floor(random() * 300);
        const { sent, received } = await runPlan({
          channel,
          senders: Array.from({ length: 1 + (round % 4) }, () => ({ mode, counts: [2 ** 22] })),
          receiveMode,
          receiveIn: pick(["worker", "main"], 1),
          async meanwhile(count) {
            await until(() => count() >= closeAt, limitMs, () => "too few were received");
            for (let turns = Math.floor(random() * 3); turns > 0; turns--) await turn();
            channel.close();
            await channel.drained();
          },
        });
        assert.deepEqual(complete(received, sent), sent, `${receiveMode}, round ${round}`);
      }
    },
  );
}

test(
  "a blocked thread is woken, on both sides, and does not wait for its slice to end",
  testLimit,
  async () => {
    // A slice of a blocking wait lasts 200 ms: a lost wake-up would cost one, so 400 would take 80 s.
    const rounds = 400;
    for (const initialSequence of belowTheWrap.slice(0, 2)) {
      using there = mpsc(u32, { capacity: 2, maxSenders: 1, wait: "block", initialSequence });
      using back = mpsc(u32, { capacity: 1, maxSenders: 1, wait: "block", initialSequence });
      const start = performance.now();
      await within(
        Promise.all([
          crew.perform({
            kind: "forward",
            from: there.receiverTicket(),
            to: back.senderTicket(),
            count: rounds,
          }),
          crew.perform({
            kind: "round trips",
            from: back.receiverTicket(),
            to: there.senderTicket(),
            count: rounds,
          }),
        ]),
        limitMs,
        () => JSON.stringify([there.stats(), back.stats()]),
      );
      const took = performance.now() - start;
      assert.ok(took < rounds * 20, `${rounds} round trips took ${took} ms`);
    }
  },
);
