/**
 * What it costs to wait for nothing.
 *
 * @module
 */

import { mpsc, Receiver, type ReceiverTicket, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { delay, type Effort, efforts, mismatch, type Sample, type Suite } from "../harness.ts";
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

/** CPU of the whole process, all its threads, over the idle time. */
async function cpuMs(): Promise<Sample> {
  // What happened before (compilation, collection of garbage, polling) settles first.
  await delay(200);
  const before = process.cpuUsage();
  await delay(idleMs);
  const { user, system } = process.cpuUsage(before);
  return { value: (user + system) / 1000 };
}

/** The suite. */
export const suite: Suite = {
  name: "idle",
  about: `CPU of the process while a receiver waits ${idleMs / 1000} s`,
  unit: "ms",
  ratios: [],
  rounds: (effort: Effort) => effort === efforts.quick ? 2 : 5,
  async open() {
    const toMain = mpsc(u32);
    const receiver = toMain.receiver();
    const sending = await startWorker(import.meta.url, "sender", toMain.senderTicket());
    const toWorker = mpsc(u32);
    const sender = toWorker.sender();
    const blocking = await startWorker(import.meta.url, "blocker", toWorker.receiverTicket());
    const posting = await startWorker(import.meta.url, "postMessage");
    const answerOf = (worker: Worker) =>
      new Promise<unknown>((resolve) => worker.onmessage = ({ data }) => resolve(data));

    let next = 0;
    /** The value that ends the wait must arrive: a receiver that is never woken idles well. */
    const idleUntil = async (received: Promise<unknown>, send: (value: number) => void) => {
      const sample = await cpuMs();
      const value = ++next;
      send(value);
      const answer = await received;
      if (answer !== value) mismatch(value, answer);
      return sample;
    };
    return [
      {
        name: "millrace",
        sample: () => idleUntil(receiver.receive(), (value) => sending.postMessage(value)),
      },
      {
        name: "millrace-sync",
        sample() {
          const received = answerOf(blocking);
          blocking.postMessage("receive");
          return idleUntil(received, (value) => sender.sendSync(value));
        },
      },
      {
        name: "postMessage",
        sample: () => idleUntil(answerOf(posting), (value) => posting.postMessage(value)),
      },
    ];
  },
};
