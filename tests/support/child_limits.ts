/**
 * What a process can do that may not have what it asks the system for; see system_limits.test.ts. The
 * first parameter says what it tries, the second where. Each line it prints is what came of one try.
 *
 * @module
 */

import { closeSync, openSync, readdirSync } from "node:fs";
import process from "node:process";
import { mpsc, pool, Sender, socketPair, u32 } from "../../mod.ts";
import { native } from "../../src/native.ts";
import { until } from "./bounded.ts";

const [scene = "", address = ""] = process.argv.slice(2);

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** What came of it: "ok", or the class and the code of the error. */
async function outcomeOf(attempt: () => unknown): Promise<string> {
  try {
    const made = await attempt();
    if (made !== null && typeof made === "object") {
      if (Symbol.dispose in made) (made as Disposable)[Symbol.dispose]();
    }
    return "ok";
  } catch (error) {
    return `${(error as Error).name} ${(error as { code?: string }).code}`;
  }
}

async function report(what: string, attempt: () => unknown): Promise<void> {
  console.log(`${what}: ${await outcomeOf(attempt)}`);
}

/** A runtime that needs a descriptor for what it does for the first time ends without one. */
async function settle(): Promise<void> {
  process.on("SIGUSR2", () => {});
  console.error("settled");
  await new Promise((resolve) => setTimeout(resolve, 0));
}

/** Takes all descriptors. */
function fill(): number[] {
  const held: number[] = [];
  try {
    for (;;) held.push(openSync("/dev/null", "r"));
  } catch {
    return held; // none is left
  }
}

function releaseAll(held: number[]): void {
  for (const fd of held.splice(0)) closeSync(fd);
}

async function reportShared(): Promise<void> {
  await report("channel", () => mpsc(u32, { shared: true }));
  await report("pool", () => pool({ slab: 4096, count: 4, shared: true }));
}

async function reportPrivate(): Promise<void> {
  await report("private channel", () => mpsc(u32));
}

const scenes: Record<string, () => Promise<void>> = {
  async shared() {
    await reportShared();
    await reportPrivate();
  },

  /** Longer than what a runtime writes into its own caches. */
  async huge() {
    await report("channel", () => mpsc(u32, { shared: true, capacity: 2 ** 24 }));
    await report("pool", () => pool({ slab: 2 ** 30, count: 64, shared: true }));
    await reportPrivate();
  },

  /** Longer than there are addresses. */
  async long() {
    await report("pool", () => pool({ slab: 2 ** 30, count: 2 ** 20, shared: true }));
    await report("private pool", () => pool({ slab: 2 ** 30, count: 2 ** 20 }));
  },

  async descriptors() {
    const name = `@millrace-limits-${process.pid}`;
    using channel = mpsc(u32, { shared: true });
    using _share = channel.share(name);
    // What the first connection starts stays.
    (await Sender.connect(name)).close();
    using private_ = mpsc(u32);
    const receiver = private_.receiver();
    await until(() => _share.connections === 0, "the connection has gone");
    await settle();
    const before = descriptors();
    const channels = native().symbols.millrace_channels_alive();
    const held = fill();
    await reportShared();
    await reportPrivate();
    await report("eventfd", () => receiver.eventFd());
    await report("pair", () => socketPair());
    await report("share", () => channel.share(`${name}-other`));
    const outcomes: string[] = [];
    for (let free = 0; free <= 12 && outcomes.at(-1) !== "ok"; free++) {
      if (free > 0) closeSync(held.pop() as number);
      outcomes.push(await outcomeOf(() => Sender.connect(name, { timeout: 20_000 })));
    }
    console.log(`connect: ${[...new Set(outcomes)].join(", ")}`);
    releaseAll(held);
    await until(() => _share.connections === 0, "no connection is left");
    await until(() => descriptors() === before, `${before} descriptors are open`);
    console.log(`channels: ${native().symbols.millrace_channels_alive() - channels}`);
  },

  /** Shares, and has no descriptor for who connects, until it is told to have some again. */
  async keeper() {
    using channel = mpsc(u32, { shared: true });
    using share = channel.share(address);
    (await Sender.connect(address)).close();
    await until(() => share.connections === 0, "the connection has gone");
    const told = process.stdin.iterator({ destroyOnReturn: false });
    const release = told.next();
    await settle();
    const held = fill();
    console.log("full");
    await release;
    releaseAll(held);
    console.log("free");
    await told.next(); // its end
  },
};

await scenes[scene]?.();
process.exit(0);
