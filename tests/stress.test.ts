/**
 * Many Workers and one receiver, through every way to send and to receive: nothing is lost, nothing
 * comes twice, and each sender's values come in their order.
 */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type Channel, mpmc, mpsc, spmc, spsc, u32, type WaitStrategy } from "../mod.ts";
import {
  blockingReceiveModes,
  type Job,
  type JobResult,
  perform,
  Receipts,
  type ReceiveMode,
  receiveModes,
  type SendMode,
  sendModes,
} from "./support/stress_jobs.ts";
import { Crew, randomFrom, turn, until, within } from "./support/stress_host.ts";

const crew = new Crew();
after(() => crew[Symbol.dispose]());

const limitMs = 60_000;
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

type Kind = "spsc" | "mpsc" | "spmc" | "mpmc";

/** How many values a receiver of these claims at once; 1 of the others. */
const claims = new WeakMap<Channel<number, Uint32Array>, number>();

function openChannel(
  capacity: number,
  maxSenders = 64,
  kind: Kind = "mpsc",
): Channel<number, Uint32Array> {
  scenarios++;
  const options = {
    capacity,
    initialSequence: pick(belowTheWrap, 1),
    pollBudget: pick(pollBudgets, 1),
  };
  const claim = pick([1, 3, 16], 1);
  if (kind === "spsc") return spsc(u32, options);
  if (kind === "mpsc") return mpsc(u32, { ...options, maxSenders });
  const channel = kind === "spmc"
    ? spmc(u32, { ...options, claim })
    : mpmc(u32, { ...options, maxSenders, claim });
  claims.set(channel, claim);
  return channel;
}

interface Plan {
  readonly channel: Channel<number, Uint32Array>;
  readonly senders: readonly { mode: SendMode; counts: readonly number[] }[];
  readonly receiveMode: ReceiveMode;
  /** Where it receives: blocking receives need a Worker. */
  readonly receiveIn: "main" | "worker";
  /** More receivers, of the kinds that have them. */
  readonly others?: readonly { mode: ReceiveMode; in: "main" | "worker" }[];
  /** Receivers in Workers that stay for so many values, one after the other. */
  readonly visits?: readonly (readonly number[])[];
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
  const receivers = [{ mode: receiveMode, in: plan.receiveIn }, ...plan.others ?? []];
  const visits = plan.visits ?? [];
  const isShared = receivers.length + visits.length > 1;
  const most = Math.max(...senders.flatMap(({ counts }) => counts));
  const receipts = Receipts.for(isShared ? id : 0, most);
  const receiving = receivers.map(({ mode }, place): Job => ({
    kind: "receive",
    mode,
    ticket: channel.receiverTicket(),
    wait: pick(waits, 2 + place),
    progress,
    ...(isShared && {
      receipts: { memory: receipts.memory, perSender: most },
      // What a visitor leaves behind, and what is claimed beside another value and offered, comes late.
      order: visits.length === 0 && (claims.get(channel) ?? 1) === 1 ? "rising" : "any",
    }),
  }));
  const visiting = visits.map((quotas, place): Job => ({
    kind: "visits",
    tickets: quotas.map(() => channel.receiverTicket()),
    quotas,
    wait: pick(waits, 1 + place),
    receipts: { memory: receipts.memory, perSender: most },
  }));
  const work = Promise.all([
    Promise.all([
      ...receiving.map((job, place) =>
        receivers[place]?.in === "worker" ? crew.perform(job) : perform(job)
      ),
      ...visiting.map((job) => crew.perform(job)),
    ]),
    Promise.all(jobs.map((job) => crew.perform(job))),
    plan.meanwhile?.(() => Atomics.load(progress, 0)),
  ]);
  const [received, results] = await within(
    work,
    limitMs,
    () => `${JSON.stringify({ ...plan, channel: undefined })}, ${JSON.stringify(channel.stats())}`,
  );
  const sent: JobResult = Object.assign({}, ...results);
  if (!isShared) return { sent, received: received[0] as JobResult };
  for (const [sender, count] of Object.entries(sent)) {
    assert.deepEqual(receipts.of(Number(sender), count), { missing: 0, repeated: 0 }, sender);
  }
  assert.equal(channel.stats().redelivered, 0);
  return { sent, received: sumOf(received) };
}

/** What several receivers got together. */
function sumOf(results: readonly JobResult[]): JobResult {
  const sum: JobResult = {};
  for (const result of results) {
    for (const [id, count] of Object.entries(result)) {
      sum[Number(id)] = (sum[Number(id)] ?? 0) + count;
    }
  }
  return sum;
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

test(
  "a blocked thread is woken, on both sides: its wait has no slices after which it looks by itself",
  testLimit,
  async () => {
    const count = 400;
    for (const initialSequence of belowTheWrap.slice(0, 2)) {
      // The sender to there finds it full at every second value, the other at every one.
      using there = mpsc(u32, { capacity: 2, maxSenders: 1, initialSequence });
      using back = mpsc(u32, { capacity: 1, maxSenders: 1, initialSequence });
      await within(
        Promise.all([
          crew.perform({
            kind: "forward natively",
            from: there.receiverTicket(),
            to: back.senderTicket(),
            count,
          }),
          crew.perform({
            kind: "round trips natively",
            from: back.receiverTicket(),
            to: there.senderTicket(),
            count,
          }),
        ]),
        limitMs,
        () => JSON.stringify([there.stats(), back.stats()]),
      );
    }
  },
);

const anyReceiveMode = [...receiveModes, ...blockingReceiveModes];
const blocks = (mode: ReceiveMode) => (blockingReceiveModes as readonly string[]).includes(mode);

/** So many receivers, each another way; those that block are in Workers. */
function receiversOf(count: number, random: () => number) {
  return Array.from({ length: count }, () => {
    const mode = anyReceiveMode[Math.floor(random() * anyReceiveMode.length)] as ReceiveMode;
    return { mode, in: blocks(mode) || random() < 0.6 ? "worker" : "main" } as const;
  });
}

for (const kind of ["mpsc", "spsc", "spmc", "mpmc"] as const) {
  for (const mode of sendModes) {
    test(
      `${kind}: close() races with ${mode}: what was reported sent is received once, the rest is not`,
      testLimit,
      async () => {
        for (let round = 0; round < (kind === "mpsc" ? 8 : 3); round++) {
          const channel = openChannel(pick(capacities, 1), 64, kind);
          using _ = channel;
          const random = randomFrom(round);
          const hasManySenders = kind === "mpsc" || kind === "mpmc";
          const hasManyReceivers = kind === "spmc" || kind === "mpmc";
          const receiveMode = pick(receiveModes, 1);
          const closeAt = Math.floor(random() * 300);
          const { sent, received } = await runPlan({
            channel,
            // A receiver that never runs dry keeps this event loop from closing until all is sent.
            senders: Array.from(
              { length: hasManySenders ? 1 + (round % 4) : 1 },
              () => ({ mode, counts: [2 ** 20] }),
            ),
            receiveMode,
            receiveIn: pick(["worker", "main"], 1),
            others: hasManyReceivers ? receiversOf(1 + (round % 2), random) : [],
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
}

for (const kind of ["spsc", "spmc", "mpmc"] as const) {
  for (const capacity of capacities) {
    test(
      `${kind}, capacity ${capacity}: Workers of every way to send and to receive, each value once`,
      testLimit,
      async () => {
        const rounds = kind === "spsc" ? anyReceiveMode.length : 4 * sendModes.length;
        for (let round = 0; round < rounds; round++) {
          const random = randomFrom(capacity + round);
          const channel = openChannel(capacity, 8, kind);
          using _ = channel;
          const senders = kind === "mpmc" ? 2 + (round % 3) : 1;
          const [first, ...others] = receiversOf(kind === "spsc" ? 1 : 2 + (round % 3), random);
          const receiveMode = anyReceiveMode[round % anyReceiveMode.length] as ReceiveMode;
          const plan: Plan = {
            channel,
            senders: Array.from({ length: senders }, (_, index) => ({
              mode: sendModes[(index + round) % sendModes.length] as SendMode,
              counts: [capacity > 4 ? 2000 : 150],
            })),
            receiveMode,
            receiveIn: blocks(receiveMode) ? "worker" : first?.in ?? "main",
            others,
          };
          const { sent, received } = await runPlan(plan);
          expectAll(sent, plan);
          assert.deepEqual(complete(received, sent), sent, `round ${round}`);
        }
      },
    );
  }

  test(`${kind}: a quarter of a million values by writers, each once`, testLimit, async () => {
    for (let round = 0; round < 3; round++) {
      const channel = openChannel(2 ** 16, 8, kind);
      using _ = channel;
      const receivers = kind === "spsc" ? 0 : 1 + round;
      const senders = kind === "mpmc" ? 2 + round : 1;
      const plan: Plan = {
        channel,
        senders: Array.from({ length: senders }, () => ({
          mode: "writer",
          counts: [Math.floor(2 ** 18 / senders)],
        })),
        receiveMode: pick(["batches", "run with batches", "readable and release"], 1),
        receiveIn: pick(["main", "worker"], 1),
        others: Array.from({ length: receivers }, (_, place) => ({
          mode: pick(["readable and release", "drain and ready", "receiveSync"], 1 + place),
          in: "worker",
        })),
      };
      const { sent, received } = await runPlan(plan);
      expectAll(sent, plan);
      assert.deepEqual(complete(received, sent), sent);
    }
  });
}

for (const kind of ["spmc", "mpmc"] as const) {
  for (const capacity of capacities) {
    test(
      `${kind}, capacity ${capacity}: receivers join and leave with claims, each value once`,
      testLimit,
      async () => {
        for (let round = 0; round < 12; round++) {
          const random = randomFrom(capacity + round);
          const channel = openChannel(capacity, 8, kind);
          using _ = channel;
          const senders = kind === "mpmc" ? 2 : 1;
          const receiveMode = anyReceiveMode[
            Math.floor(random() * anyReceiveMode.length)
          ] as ReceiveMode;
          const plan: Plan = {
            channel,
            senders: Array.from({ length: senders }, (_, index) => ({
              mode: sendModes[(index + scenarios) % sendModes.length] as SendMode,
              counts: [600],
            })),
            receiveMode,
            receiveIn: blocks(receiveMode) ? "worker" : "main",
            visits: Array.from(
              { length: 2 },
              () => Array.from({ length: 20 }, () => 1 + Math.floor(random() * 12)),
            ),
          };
          const { sent, received } = await runPlan(plan);
          expectAll(sent, plan);
          assert.deepEqual(complete(received, sent), sent, `round ${round}`);
        }
      },
    );
  }
}
