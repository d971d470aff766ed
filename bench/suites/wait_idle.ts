/**
 * What it costs a blocked thread to wait for nothing, by the strategy it waits by.
 *
 * @module
 */

import { mpsc, Receiver, type ReceiverTicket, Sender, u32, type WaitStrategy } from "../../mod.ts";
import { type Effort, efforts, mismatch, type Sample, type Suite } from "../harness.ts";
import { cpuMs } from "../idle.ts";
import { type Role, startWorker, workerScope } from "../workers.ts";

const idleMs = 1000;
const last = 7;
const strategies: readonly WaitStrategy[] = ["phased", "spin", "yield", "sleep", "block"];

/** What the Workers do. */
export const roles: Record<string, Role> = {
  /** Blocks until a value comes, when told how. */
  blocker: (ticket: ReceiverTicket<number, Uint32Array>) => {
    const receiver = Receiver.open(ticket);
    return (wait: WaitStrategy) => workerScope.postMessage(receiver.receiveSync({ wait }));
  },
};

async function idle(wait: WaitStrategy): Promise<Sample> {
  const channel = mpsc(u32);
  const sender = Sender.open(channel.senderTicket());
  const worker = await startWorker(import.meta.url, "blocker", channel.receiverTicket());
  const received = new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
  worker.postMessage(wait);
  const sample = await cpuMs(idleMs);
  sender.sendSync(last);
  const value = await received;
  if (value !== last) mismatch(last, value);
  worker.terminate();
  return sample;
}

/** The suite. */
export const suite: Suite = {
  name: "wait-idle",
  about: `CPU of the process while a Worker waits ${idleMs / 1000} s in receiveSync()`,
  unit: "ms",
  ratios: [],
  rounds: (effort: Effort) => effort === efforts.quick ? 3 : 7,
  open: () => Promise.resolve(strategies.map((wait) => ({ name: wait, sample: () => idle(wait) }))),
};
