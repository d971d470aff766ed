/**
 * One way to wait a process; see waiting.test.ts. The first parameter names it.
 *
 * @module
 */

import process from "node:process";
import { mpsc, Receiver, Sender, u32, type WaitStrategy } from "../../mod.ts";
import { within } from "./bounded.ts";
import { startChild } from "./runtime.ts";
import { TestWorker } from "./workers.ts";

/** How long the modes that measure CPU time wait. */
const measureMs = 1500;
/** How much CPU time those use that do not sleep: until then they go on. */
const usedMs = 400;

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Waits until this process has used so much CPU time. */
async function haveUsed(): Promise<void> {
  const before = process.cpuUsage();
  const used = () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
  while (used() < usedMs) await sleep(50);
}

/** Calls back later; by itself it does not keep the process alive. */
function later(milliseconds: number, call: () => void): void {
  (setTimeout(call, milliseconds) as unknown as NodeJS.Timeout).unref();
}

/** Prints the CPU time the process, all its threads, has used while `wait` ran. */
async function measure(wait: () => Promise<unknown>): Promise<void> {
  console.log(JSON.stringify({ cpuMs: await measured(wait) }));
}

async function measured(wait: () => Promise<unknown>): Promise<number> {
  // What a runtime does at its start, and the first look at everything, is not waiting.
  await sleep(300);
  const before = process.cpuUsage();
  await wait();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

const [mode = "", argument = ""] = process.argv.slice(2);
const channel = mpsc(u32, { capacity: 1 });
const sender = channel.sender();
const receiver = channel.receiver();

const modes: Record<string, () => unknown> = {
  // ---- what keeps a process alive: nothing here awaits, so only the pending call can ----
  receive() {
    receiver.receive().then((value) => console.log(`received ${value}`));
    later(300, () => sender.trySend(7));
  },
  iterate() {
    receiver[Symbol.asyncIterator]().next().then(({ value }) => console.log(`received ${value}`));
    later(300, () => sender.trySend(7));
  },
  run() {
    receiver.run((value) => console.log(`received ${value}`));
    later(300, () => {
      sender.trySend(7);
      channel.close();
    });
  },
  send() {
    sender.trySend(1);
    sender.send(2).then(() => console.log("sent"));
    later(300, () => receiver.tryReceive());
  },
  "receive, unref, ref"() {
    receiver.unref();
    receiver.receive().then((value) => console.log(`received ${value}`));
    later(50, () => {});
    receiver.ref();
    later(300, () => sender.trySend(7));
  },
  "unref, receive"() {
    receiver.unref().receive().then(() => console.log("received"));
    later(60_000, () => sender.trySend(7));
  },
  "receive, unref"() {
    receiver.receive().then(() => console.log("received"));
    receiver.unref();
  },
  "receive, asleep, unref"() {
    receiver.receive().then(() => console.log("received"));
    // Longer than a receiver polls: it sleeps by then.
    setTimeout(() => receiver.unref(), 100);
  },
  async "idle stream"() {
    const writer = sender.toWritableStream().getWriter();
    await writer.write(1);
    writer.closed.then(() => console.log("closed"), () => console.log("errored"));
  },
  "unref, send"() {
    sender.trySend(1);
    sender.unref().send(2).then(() => console.log("sent"));
  },
  "unref, run"() {
    receiver.unref().run(() => console.log("received"));
  },
  nothing() {},
  "receive, close"() {
    receiver.receive().catch((error) => console.log(error.code));
    later(300, () => channel.close());
  },

  // ---- CPU time ----
  idle: () =>
    measure(async () => {
      const pending = receiver.receive();
      await sleep(measureMs);
      channel.close();
      await pending.catch(() => {});
    }),
  idleRun: () =>
    measure(async () => {
      const loop = receiver.run(() => {});
      await sleep(measureMs);
      await loop.stop();
    }),
  idleSend: () =>
    measure(async () => {
      sender.trySend(1);
      const pending = sender.send(2);
      await sleep(measureMs);
      channel.close();
      await pending.catch(() => {});
    }),
  idleDrained: () =>
    measure(async () => {
      sender.trySend(1);
      const drained = channel.drained();
      await sleep(measureMs);
      channel.close();
      receiver.tryReceive();
      await drained;
    }),
  /** A receiver sleeps here, and a receiver and a sender in another process. The CPU time of both. */
  async idleShared() {
    const address = `@millrace-idle-${process.pid}`;
    const full = mpsc(u32, { shared: true, capacity: 1 });
    const [there, back] = [mpsc(u32, { shared: true }), mpsc(u32, { shared: true })];
    there.share(`${address}-there`);
    back.share(`${address}-back`);
    full.share(`${address}-full`);
    const other = startChild("child_waiting.ts", ["idleConnected", address]);
    const pending = back.receiver().receive();
    await other.said("connected");
    const cpuMs = await measured(() => sleep(measureMs));
    const { stdout, stderr } = await other.ended;
    const [, tally = ""] = stdout.split("connected\n");
    if (tally === "") throw new Error(stderr);
    console.log(JSON.stringify({ cpuMs: cpuMs + (JSON.parse(tally) as { cpuMs: number }).cpuMs }));
    for (const shared of [there, back, full]) shared.close();
    await pending.catch(() => {});
  },
  async idleConnected() {
    const layout = u32;
    const there = await Receiver.connect(`${argument}-there`, { layout });
    const back = await Sender.connect(`${argument}-back`, { layout });
    const full = await Sender.connect(`${argument}-full`, { layout });
    full.trySend(1);
    const pending = [there.receive(), full.send(2)].map((call) => call.catch(() => {}));
    console.log("connected");
    await measure(() => sleep(measureMs));
    for (const endpoint of [there, back, full]) endpoint.close();
    await Promise.all(pending);
  },
  polling: () =>
    measure(async () => {
      const polled = mpsc(u32, { pollBudget: 1e9 });
      const pending = polled.receiver().receive();
      await haveUsed();
      polled.close();
      await pending.catch(() => {});
    }),
  blocked: () => blocked(argument as WaitStrategy, () => sleep(measureMs)),
  spinning: () => blocked("spin", haveUsed),
};

/** Measures a Worker that blocks in a receive, while `wait` runs. */
async function blocked(strategy: WaitStrategy, wait: () => Promise<void>): Promise<void> {
  await using worker = new TestWorker("web");
  const other = mpsc(u32);
  const waiting = worker.call(
    "blockIdle",
    other.receiverTicket(),
    strategy,
    600_000,
  );
  waiting.catch(() => {});
  await within(
    (async () => {
      while (other.stats().receiver !== "open") await sleep(10);
    })(),
    "the Worker to open its receiver",
  );
  await measure(wait);
  other.close();
  await waiting.catch(() => {});
}

const run = modes[mode];
if (run === undefined) throw new Error(`there is no mode ${mode}`);
await run();
