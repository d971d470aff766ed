/**
 * Waits that are unref'd, in a process that something idle keeps alive and nothing else turns the event
 * loop of; see waiting.test.ts. The first parameter says what waits. A Worker, which only blocks, is the
 * other side.
 *
 * @module
 */

import "./no_watch.ts"; // were one noticed only by the watch of a wait, it would never be noticed
import { createServer } from "node:net";
import process from "node:process";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { bytes, mpsc, pool, Receiver, Sender, u32 } from "../../mod.ts";

const rounds = 30;
/** Only a hang reaches it. */
const limitMs = 90_000;

const modes: Record<string, (start: (work: unknown) => void) => Promise<unknown>> = {
  /** The Worker sends the next value when it has the answer to the last. */
  async receiver(start) {
    const [there, back] = [mpsc(u32), mpsc(u32)];
    const receiver = there.receiver().unref();
    const sender = back.sender();
    start({ role: "send", send: there.senderTicket(), receive: back.receiverTicket() });
    for (let round = 0; round < rounds; round++) sender.trySend(await receiver.receive());
  },
  async run(start) {
    const [there, back] = [mpsc(u32), mpsc(u32)];
    const receiver = there.receiver().unref();
    const sender = back.sender();
    start({ role: "send", send: there.senderTicket(), receive: back.receiverTicket() });
    const { promise, resolve } = Promise.withResolvers<void>();
    const loop = receiver.run((round) => {
      sender.trySend(round);
      if (round === rounds - 1) resolve();
    });
    await promise;
    await loop.stop();
  },
  async sender(start) {
    const channel = mpsc(u32, { capacity: 1 });
    const sender = channel.sender().unref();
    start({ role: "receive", receive: channel.receiverTicket() });
    for (let round = 0; round < rounds; round++) await sender.send(round);
  },
  async writer(start) {
    const channel = mpsc(u32, { capacity: 1 });
    const sender = channel.sender().unref();
    start({ role: "receive", receive: channel.receiverTicket() });
    const writer = sender.writer();
    for (let round = 0; round < rounds; round++) {
      while (!writer.tryPush(round)) await writer.ready();
      writer.flush();
    }
  },
  async pool(start) {
    const slabs = pool({ slab: 64, count: 1 });
    const channel = mpsc(slabs.layout());
    const sender = channel.sender();
    start({ role: "receive", receive: channel.receiverTicket() });
    slabs.unref();
    for (let round = 0; round < rounds; round++) await sender.send(await slabs.alloc());
  },
  /** A sender that waits for a slab. */
  async slabs(start) {
    const slabs = pool({ slab: 4096, count: 1 });
    const channel = mpsc(bytes, { capacity: 1024 }).withPool(slabs, { threshold: 16 });
    const sender = channel.sender().unref();
    start({ role: "receive", receive: channel.receiverTicket() });
    for (let round = 0; round < rounds; round++) await sender.send(new Uint8Array(2048));
  },
  async drained(start) {
    const [there, back] = [mpsc(u32), mpsc(u32)];
    const sender = there.sender();
    const answers = back.receiver().unref();
    start({
      role: "answer",
      receive: there.receiverTicket(),
      send: back.senderTicket(),
    });
    there.unref();
    sender.trySend(1);
    await answers.receive();
    sender.close();
    await there.drained();
  },
};

interface Work {
  readonly role: string;
  readonly send: never;
  readonly receive: never;
}

/** The Worker's part: it blocks, so that nobody turns the other event loop. */
function work({ role, send, receive }: Work): void {
  const receiver = Receiver.open<unknown>(receive);
  if (role === "send") {
    const sender = Sender.open<number>(send);
    for (let round = 0; round < rounds; round++) {
      pause();
      sender.sendSync(round);
      receiver.receiveSync();
    }
    return;
  }
  const sender = role === "answer" ? Sender.open<number>(send) : undefined;
  for (let round = 0; role === "answer" ? round < 1 : round < rounds; round++) {
    pause();
    const value = receiver.receiveSync();
    if (typeof value === "object" && value !== null && "free" in value) {
      (value as { free(): void }).free();
    }
    sender?.sendSync(0);
  }
  pause();
  receiver.close();
}

/** Longer than a wait polls. */
function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
}

if (isMainThread) {
  const server = createServer().listen(0);
  const workers: Worker[] = [];
  const late = setTimeout(() => {
    console.log("late");
    process.exit(1);
  }, limitMs);
  const mode = modes[process.argv[2] ?? ""];
  // Behind the start of the server and of all else that turns the event loop at first.
  await new Promise((resolve) => setTimeout(resolve, 50));
  await mode?.((workerData) => {
    workers.push(new Worker(new URL(import.meta.url), { workerData }));
  });
  console.log("as expected");
  clearTimeout(late);
  server.close();
  await Promise.all(workers.map((worker) => worker.terminate()));
  process.exit(0);
} else {
  work(workerData as Work);
}
