/**
 * What it costs to wait for nothing.
 *
 * @module
 */

import { mpsc, Receiver, type ReceiverTicket, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { type Effort, efforts, mismatch, type Sample, type Suite } from "../harness.ts";
import { cpuMs } from "../idle.ts";
import { type Role, startWorker, workerScope } from "../workers.ts";

const idleMs = 3000;

/** What the Workers do. */
export const roles: Record<string, Role> = {
  /** Sends a value when told to. */
  sender: (ticket: SenderTicket<number, Uint32Array>) => {
    const sender = Sender.open(ticket);
    return (value: number) => sender.sendSync(value);
  },
  /** Blocks until a value comes, when told to. */
  blocker: (ticket: ReceiverTicket<number, Uint32Array>) => {
    const receiver = Receiver.open(ticket);
    return () => workerScope.postMessage(receiver.receiveSync());
  },
  postMessage: () => (value: number) => workerScope.postMessage(value),
};

/** A receiver that waits, and what ends its wait. */
interface Wait {
  readonly received: Promise<unknown>;
  send(value: number): void;
}

/** One idle time, with one Worker: an idle one too uses CPU now and then. */
async function idle(
  role: string,
  wait: (start: (ticket?: unknown) => Promise<Worker>) => Promise<Wait>,
): Promise<Sample> {
  let worker: Worker | undefined;
  const start = async (ticket?: unknown) =>
    worker = await startWorker(import.meta.url, role, ticket);
  const { received, send } = await wait(start);
  const sample = await cpuMs(idleMs);
  send(last);
  // It must arrive: a receiver that nobody can wake idles well.
  const value = await received;
  if (value !== last) mismatch(last, value);
  worker?.terminate();
  return sample;
}

const last = 7;

function answerOf(worker: Worker): Promise<unknown> {
  return new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
}

const mainWaits = async (start: (ticket: unknown) => Promise<Worker>): Promise<Wait> => {
  const channel = mpsc(u32);
  const received = channel.receiver().receive();
  const worker = await start(channel.senderTicket());
  return { received, send: (value) => worker.postMessage(value) };
};

const workerBlocks = async (start: (ticket: unknown) => Promise<Worker>): Promise<Wait> => {
  const channel = mpsc(u32);
  const sender = channel.sender();
  const worker = await start(channel.receiverTicket());
  const received = answerOf(worker);
  worker.postMessage("receive");
  return { received, send: (value) => sender.sendSync(value) };
};

const mainListens = async (start: () => Promise<Worker>): Promise<Wait> => {
  const worker = await start();
  return { received: answerOf(worker), send: (value) => worker.postMessage(value) };
};

/** The suite. */
export const suite: Suite = {
  name: "idle",
  about: `CPU of the process while a receiver waits ${idleMs / 1000} s`,
  unit: "ms",
  ratios: [],
  rounds: (effort: Effort) => effort === efforts.quick ? 2 : 5,
  open() {
    return Promise.resolve([
      { name: "millrace", sample: () => idle("sender", mainWaits) },
      { name: "millrace-sync", sample: () => idle("blocker", workerBlocks) },
      { name: "postMessage", sample: () => idle("postMessage", mainListens) },
    ]);
  },
};
