/**
 * Event descriptors: woken once a sleep, never while busy, by whoever sends, closes or dies; in epoll
 * loops of C and Zig, and by what each runtime has to read a descriptor with.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { mpmc, mpsc, type Receiver, spmc, spsc, u32 } from "../mod.ts";
import { waitFor } from "../examples/event_notifier/wait.ts";
import { endpointClosed, throws, until, within } from "./support/bounded.ts";
import { Workshop } from "./support/foreign.ts";

const workshop = new Workshop();
after(() => workshop[Symbol.dispose]());

const kinds = { mpsc, spsc, spmc, mpmc };
const level = workshop.compile("notifier_level.c", "program");
const edge = workshop.compileZig("notifier_edge.zig");

function numbersOf(program: string, kind: number): number[] {
  const run = spawnSync(program, [String(kind), "8000"], { encoding: "utf8", timeout: 110_000 });
  assert.equal(run.status, 0, `${run.stdout}${run.stderr}${run.signal ?? ""}`);
  return run.stdout.trim().split(" ").map(Number);
}

for (const [kind, name] of Object.keys(kinds).entries()) {
  test(`an epoll loop in C, level-triggered, is woken once a sleep and never while busy, by ${name}`, () => {
    const [sleeps = 0, writes, received, whileBusy] = numbersOf(level, kind);
    assert.deepEqual({ received, whileBusy, writes }, {
      received: 8000,
      whileBusy: 0,
      writes: sleeps,
    });
    assert.ok(sleeps > 10, `it slept ${sleeps} times`);
  });

  test(`an epoll loop in Zig, edge-triggered, never reads its eventfd and misses nothing, by ${name}`, () => {
    const [sleeps = 0, writes, received] = numbersOf(edge, kind);
    assert.deepEqual({ received, writes }, { received: 8000, writes: sleeps });
    assert.ok(sleeps > 10, `it slept ${sleeps} times`);
  });
}

/** How often a descriptor was written to since it was read last, without reading it. */
function writesOf(fd: number): number {
  const count = /eventfd-count:\s*([0-9a-f]+)/.exec(
    readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"),
  );
  return parseInt(count?.[1] ?? "", 16);
}

/**
 * Sends `count` numbers from a Worker, eight at a time, and closes. Before each eight, and before the end,
 * it waits until the receiver has gone to sleep once more than it has sent such a lot.
 */
function startSender(
  ticket: unknown,
  count: number,
  sleeps: Int32Array<SharedArrayBuffer>,
  end: "close" | "stay" = "close",
): Worker {
  const code = `
    import { Sender } from "${import.meta.resolve("../mod.ts")}";
    self.onmessage = async ({ data: { ticket, sleeps } }) => {
      const sender = Sender.open(ticket);
      const asleep = (times) => {
        for (let slept; (slept = Atomics.load(sleeps, 0)) < times;) Atomics.wait(sleeps, 0, slept);
      };
      for (let value = 0; value < ${count}; value++) {
        if (value % 8 === 0) asleep(value / 8 + 1);
        await sender.send(value);
      }
      if (${end === "close"}) sender.close();
      self.postMessage("done");
    };`;
  const url = URL.createObjectURL(new Blob([code], { type: "application/javascript" }));
  const worker = new Worker(url, { type: "module" });
  worker.postMessage({ ticket, sleeps });
  return worker;
}

async function consume(
  receiver: Receiver<number, Uint32Array>,
  sleeps: Int32Array<SharedArrayBuffer>,
): Promise<{ writes: number; received: number; arms: number }> {
  const eventFd = receiver.eventFd();
  let [writes, received, arms] = [0, 0, 0];
  for (;;) {
    const result = receiver.tryReceive();
    if (result.state === "closed") return { writes, received, arms };
    if (result.state === "ok") {
      assert.equal(result.value, received++);
      continue;
    }
    arms++;
    if (eventFd.arm()) {
      Atomics.add(sleeps, 0, 1);
      Atomics.notify(sleeps, 0);
      writes += await within(waitFor(eventFd.fd), `a write after ${received} values`);
    }
  }
}

for (const [name, open] of Object.entries(kinds)) {
  test(`a read of the eventfd is woken by a Worker that sends, by ${name}`, async () => {
    using channel = open(u32, { capacity: 64 });
    const receiver = channel.receiver();
    const sleeps = new Int32Array(new SharedArrayBuffer(4));
    const worker = startSender(channel.senderTicket(), 800, sleeps);
    const { writes, received, arms } = await consume(receiver, sleeps);
    worker.terminate();
    assert.equal(received, 800);
    const [slept = 0] = sleeps;
    // An arm that is taken while it is looked at is written for, too, and not slept on.
    assert.ok(slept >= 100 && writes <= arms, `${writes} writes, ${slept} sleeps, ${arms} arms`);
  });

  test(`a dying Worker writes to the eventfd: the end of the channel wakes, by ${name}`, async () => {
    using channel = open(u32, { capacity: 64 });
    const receiver = channel.receiver();
    const { promise, resolve } = Promise.withResolvers<void>();
    const sleeps = new Int32Array(new SharedArrayBuffer(4));
    sleeps[0] = 1; // what it sends it sends at once
    const worker = startSender(channel.senderTicket(), 3, sleeps, "stay");
    worker.onmessage = () => resolve();
    await within(promise, "the Worker to send");
    worker.terminate();
    assert.equal((await consume(receiver, sleeps)).received, 3);
  });
}

test("eventFd() is written to once for each arm that is taken, and not otherwise", () => {
  using channel = mpsc(u32, { capacity: 64 });
  const receiver = channel.receiver();
  const sender = channel.sender();
  const eventFd = receiver.eventFd();
  assert.equal(receiver.eventFd(), eventFd);
  for (let value = 0; value < 10; value++) sender.trySend(value);
  assert.equal(writesOf(eventFd.fd), 0);
  assert.equal(eventFd.arm(), false);
  assert.equal(receiver.receiveBatch(64).length, 10);
  assert.equal(eventFd.arm(), true);
  for (let value = 0; value < 10; value++) sender.trySend(value);
  assert.equal(writesOf(eventFd.fd), 1);
  assert.equal(eventFd.arm(), false);
  assert.equal(receiver.receiveBatch(64).length, 10);
  assert.equal(eventFd.arm(), true);
  channel.close();
  assert.equal(writesOf(eventFd.fd), 2);
});

for (const open of [mpsc, mpmc]) {
  test(`a receive that waits breaks the arm and says so, by ${open.name}`, async () => {
    using channel = open(u32, { capacity: 64, pollBudget: 0 });
    const receiver = channel.receiver();
    const sender = channel.sender();
    const eventFd = receiver.eventFd();
    assert.equal(eventFd.arm(), true);
    const received = receiver.receive();
    throws(() => eventFd.arm(), { name: "TypeError", message: /a receive is pending/ });
    // It waits at once, or lets the event loop turn before.
    await until(() => writesOf(eventFd.fd) === 1, "the arm is broken");
    sender.trySend(7);
    assert.equal(await within(received, "the receive"), 7);
    assert.equal(writesOf(eventFd.fd), 1);

    assert.equal(receiver.tryReceive().state, "empty");
    assert.equal(eventFd.arm(), true);
    throws(() => receiver.receiveSync({ wait: "block", timeout: 1 }), { name: "TimeoutError" });
    assert.equal(writesOf(eventFd.fd), 2);
    // And after that the arm works as ever.
    assert.equal(eventFd.arm(), true);
    sender.trySend(8);
    assert.equal(writesOf(eventFd.fd), 3);
  });
}

test("arm() refuses while run() consumes, and on a closed receiver; closing lets a reader go", async () => {
  const channel = mpsc(u32, { capacity: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const eventFd = receiver.eventFd();
  const loop = receiver.run(() => {});
  throws(() => eventFd.arm(), { name: "TypeError", message: /run\(\) is consuming/ });
  await loop.stop();
  assert.equal(eventFd.arm(), true);
  const waiting = waitFor(eventFd.fd);
  receiver.close();
  assert.ok(await within(waiting, "the reader") >= 1);
  throws(() => eventFd.arm(), endpointClosed);
  throws(() => receiver.eventFd(), endpointClosed);
  // The sender still holds the channel, and with it the descriptor.
  assert.ok(writesOf(eventFd.fd) >= 0);
  sender.close();
  channel[Symbol.dispose]();
  assert.throws(() => readFileSync(`/proc/self/fdinfo/${eventFd.fd}`));
});
