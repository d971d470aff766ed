/**
 * A process is killed after each instruction of an operation in turn: whatever it leaves half done in
 * the shared memory, the others go on and lose nothing.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process from "node:process";
import { after, test } from "node:test";
import { type Channel, mpmc, mpsc, pool, type Receiver, spmc, spsc, u32 } from "../mod.ts";
import { nextTurn, until, within } from "./support/bounded.ts";
import { range } from "./support/channels.ts";
import { Workshop } from "./support/foreign.ts";
import { runtime } from "./support/runtime.ts";
import { assertNothingLeft, belongings } from "./support/processes.ts";

type U32Channel = Channel<number, Uint32Array>;
type U32Receiver = Receiver<number, Uint32Array>;

const workshop = new Workshop();
after(() => workshop[Symbol.dispose]());
const program = workshop.compile("process_step.c", "program");

/** Only a hang reaches it. */
const limitMs = 60_000;
/**
 * One of so many instructions is tried, by each runtime another: what takes long is the start of the
 * processes. With MILLRACE_EVERY_STEP=1 each is.
 */
const stride = process.env.MILLRACE_EVERY_STEP === "1" ? 1 : 150;
const firstStep = stride === 1 || runtime === "deno" ? 0 : stride / 2;
/** So many at once, each with a channel of its own. */
const width = 8;
/** More than any operation has. */
const stepsMax = 100_000;

type Outcome = "killed" | "finished" | "forbidden" | "failed";

/** Runs a victim to its end. */
async function runVictim(operation: string, address: string, steps: number): Promise<Outcome> {
  const child = spawn(program, [operation, address, String(steps)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let stdout = "";
  child.stdout.on("data", (chunk) => stdout += chunk);
  const { promise, resolve } = Promise.withResolvers<void>();
  child.on("close", () => resolve());
  await within(promise, `the victim of ${operation} after ${steps} instructions`, limitMs);
  return stdout.trim().split(" ")[0] as Outcome;
}

let addresses = 0;

function freshName(): string {
  return `@millrace-step-${process.pid}-${addresses++}`;
}

/** Runs a scene for every step in turn, until the operation ends before it. Gives how many. */
async function forEveryStep(
  scene: (steps: number) => Promise<Outcome>,
): Promise<number> {
  let next = firstStep;
  let count = 0;
  let isOver = false;
  const work = async () => {
    while (!isOver && next < stepsMax) {
      const steps = next;
      next += stride;
      const outcome = await scene(steps).catch((cause) => {
        isOver = true;
        throw new Error(`after ${steps} instructions: ${(cause as Error).message}`, { cause });
      });
      if (outcome === "finished") isOver = true;
      else assert.equal(outcome, "killed");
      count++;
    }
  };
  await Promise.all(range(width).map(work));
  assert.ok(count > 2, `${count} steps`);
  return count;
}

const isForbidden = await runVictim("send", "@millrace-nobody", 0) === "forbidden";
const options = {
  skip: isForbidden ? "tracing is forbidden here" : false,
  timeout: stride === 1 ? 3_600_000 : 120_000,
};

/** Everything that is left, to the end of the channel, however it ended. */
async function collectRest(receiver: U32Receiver): Promise<number[]> {
  const values: number[] = [];
  try {
    for (;;) values.push(await within(receiver.receive(), "a value, or the end", limitMs));
  } catch (error) {
    if ((error as { code?: string }).code !== "CHANNEL_CLOSED") throw error;
  }
  return values;
}

for (const [kind, open] of Object.entries({ mpsc, spsc, spmc, mpmc })) {
  for (const operation of ["send", "close-sender"]) {
    test(`${kind}: a process killed at any instruction of ${operation}`, options, async () => {
      const before = belongings();
      await forEveryStep(async (steps) => {
        // A receiver that is asleep: the victim's message is to wake it.
        const channel = open(u32, { capacity: 8, shared: true, pollBudget: 0 }) as U32Channel;
        const address = freshName();
        const share = channel.share(address, { limit: 1, receivers: false });
        using receiver = channel.receiver();
        const received = collectRest(receiver);
        const outcome = await runVictim(operation, address, steps);
        // The only sender is gone, and nobody can come any more: the end.
        const values = await received;
        assert.ok(
          values.length >= 1 && values.length <= 2 && values.every((value, at) => value === at + 1),
          `received ${values}`,
        );
        channel[Symbol.dispose]();
        receiver.close();
        assert.equal(share.closed, true);
        return outcome;
      });
      await assertNothingLeft(before);
    });
  }
}

for (const [kind, open] of Object.entries({ mpsc, spsc, spmc, mpmc })) {
  for (const operation of ["receive", "receive-wait", "close-receiver"]) {
    // The one receiver of mpsc and spsc that closes ends the channel.
    if (operation === "close-receiver" && (kind === "mpsc" || kind === "spsc")) continue;
    for (const ends of [false, true]) {
      const name = `${kind}: a receiver killed at any instruction of ${operation}` +
        (ends ? ", at the end of the channel" : "");
      test(name, options, async () => {
        const before = belongings();
        await forEveryStep(async (steps) => {
          const channel = open(u32, {
            capacity: 4,
            shared: true,
            pollBudget: 0,
            onReceiverDeath: "wait",
          }) as U32Channel;
          const address = freshName();
          const share = channel.share(address, { senders: false });
          using sender = channel.sender();
          for (const value of [0, 1]) assert.equal(sender.trySend(value), true);
          if (ends) sender.close();
          const outcome = await runVictim(operation, address, steps);
          await until(() => share.connections === 0, "the death is noticed", limitMs);
          // As many again as the ring holds twice: what the dead one held back would be missed.
          using receiver = channel.receiver();
          const receiving = collectRest(receiver);
          const total = ends ? 2 : 36;
          if (!ends) {
            for (let value = 2; value < total; value++) {
              await within(sender.send(value), `room for ${value}`, limitMs);
            }
            sender.close();
          }
          share.close();
          const values = await receiving;
          // The victim may have received the first two, and nothing else. What it had claimed and not
          // given back comes when somebody finds it: after others, where there are others.
          if (kind === "spmc" || kind === "mpmc") values.sort((a, b) => a - b);
          const expected = range(total);
          const missing = expected.filter((value) => !values.includes(value));
          assert.ok(missing.every((value) => value < 2), `received ${values}`);
          assert.deepEqual(values, expected.filter((value) => !missing.includes(value)));
          channel[Symbol.dispose]();
          receiver.close();
          return outcome;
        });
        await assertNothingLeft(before);
      });
    }
  }
}

for (const [kind, open] of Object.entries({ spmc, mpmc })) {
  // One process offers what it has claimed, the other takes it over.
  for (const [who, operation] of [["offers", "offer"], ["takes over", "receive"]] as const) {
    test(
      `${kind}: a receiver killed at any instruction while it ${who} a claim`,
      options,
      async () => {
        const before = belongings();
        await forEveryStep(async (steps) => {
          const channel = open(u32, {
            capacity: 4,
            claim: 4,
            shared: true,
            pollBudget: 0,
            onReceiverDeath: "wait",
          }) as U32Channel;
          const address = freshName();
          const share = channel.share(address, { senders: false });
          using sender = channel.sender();
          for (const value of [0, 1, 2]) assert.equal(sender.trySend(value), true);
          const received: number[] = [];
          let receiver: U32Receiver | undefined;
          if (operation === "receive") {
            receiver = channel.receiver();
            received.push(await within(receiver.receive(), "the first value", limitMs));
            await nextTurn(); // the rest is offered now
          }
          const ending = runVictim(operation, address, steps);
          let isOver = false;
          ending.finally(() => isOver = true).catch(() => {});
          // Another that may take what is offered, once it was claimed.
          const hasCome = () => isOver || channel.stats().receivers > 0;
          await until(hasCome, "the victim is there", limitMs);
          receiver ??= channel.receiver();
          const outcome = await ending;
          await until(() => share.connections === 0, "the death is noticed", limitMs);
          const receiving = collectRest(receiver);
          for (let value = 3; value < 36; value++) {
            await within(sender.send(value), `room for ${value}`, limitMs);
          }
          sender.close();
          share.close();
          received.push(...await receiving);
          // The victim may have received some of the first, and nothing else.
          const missing = range(36).filter((value) => !received.includes(value));
          assert.ok(missing.every((value) => value < 3), `received ${received}`);
          assert.deepEqual(
            received.sort((a, b) => a - b),
            range(36).filter((value) => !missing.includes(value)),
          );
          channel[Symbol.dispose]();
          receiver.close();
          return outcome;
        });
        await assertNothingLeft(before);
      },
    );
  }
}

/** A pool that lets processes in, and what it has in the end: each slab, once. */
function sharedPool(address: string) {
  const slabs = pool({ slab: 64, count: 3, shared: true, pollBudget: 0 });
  const share = slabs.share(`${address}-pool`, { limit: 1 });
  return {
    slabs,
    share,
    async [Symbol.asyncDispose]() {
      const all = range(3).map(() => within(slabs.alloc(), "a slab", limitMs));
      const indexes = (await Promise.all(all)).map(({ handle }) => handle.index);
      assert.deepEqual(indexes.sort(), [0, 1, 2]);
      assert.equal(slabs.tryAlloc(), undefined);
      slabs.close();
    },
  };
}

test(
  "a process killed at any instruction of taking slabs and giving them back",
  options,
  async () => {
    const before = belongings();
    await forEveryStep(async (steps) => {
      const address = freshName();
      await using kept = sharedPool(address);
      const outcome = await runVictim("pool-allocate", address, steps);
      await until(() => kept.share.connections === 0, "the death is noticed", limitMs);
      return outcome;
    });
    await assertNothingLeft(before);
  },
);

test("a process killed at any instruction of sending a slab", options, async () => {
  const before = belongings();
  await forEveryStep(async (steps) => {
    const address = freshName();
    await using kept = sharedPool(address);
    using channel = mpsc(kept.slabs.layout(), { capacity: 4, shared: true, pollBudget: 0 });
    channel.share(address, { limit: 1, receivers: false });
    using receiver = channel.receiver();
    const received = within(Array.fromAsync(receiver), "the end", limitMs);
    const outcome = await runVictim("pool-send", address, steps);
    // Its last words came with it; what it sent is whole, what it did not returns.
    for (const slab of await received) {
      assert.deepEqual([slab.closed, ...slab.bytes], [false, 7]);
      slab.free();
    }
    return outcome;
  });
  await assertNothingLeft(before);
});

for (const [kind, open] of Object.entries({ mpsc, spmc })) {
  test(`${kind}: a process killed at any instruction of receiving slabs`, options, async () => {
    const before = belongings();
    await forEveryStep(async (steps) => {
      const address = freshName();
      await using kept = sharedPool(address);
      using channel = open(kept.slabs.layout(), { capacity: 4, shared: true, pollBudget: 0 });
      const share = channel.share(address, { limit: 1, senders: false });
      using sender = channel.sender();
      for (const slab of range(2).map(() => kept.slabs.tryAlloc(1))) {
        assert.ok(slab !== undefined && sender.trySend(slab));
      }
      const outcome = await runVictim("pool-receive", address, steps);
      // The only receiver is gone, and with it what it had and what it had not received.
      await until(() => share.connections === 0, "the death is noticed", limitMs);
      assert.equal(channel.closed, true);
      return outcome;
    });
    await assertNothingLeft(before);
  });
}
