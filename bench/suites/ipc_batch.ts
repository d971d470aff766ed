/**
 * Numbers from another process in batches of 1024.
 *
 * @module
 */

import { mpsc, Sender, type SenderTicket, u32 } from "../../mod.ts";
import type { Receiver } from "../../mod.ts";
import { mismatch, type Side, type Suite, throughput } from "../harness.ts";
import { sequenceTransfer } from "../millrace.ts";
import { peer } from "../peers/byte_stream.ts";
import {
  type Commanded,
  obey,
  openPipe,
  openSocket,
  type ProcessRole,
  sendOver,
  shareWith,
  streamTransfer,
} from "../processes.ts";
import { type Role, startWorker } from "../workers.ts";

const capacity = 2 ** 16;
const batch = 1024;

/** Fills an array of its own and sends that. */
function sendsBatches(sender: Sender<number, Uint32Array>): (count: number) => void {
  const values = new Uint32Array(batch);
  return (count) => {
    for (let next = 0; next < count; next += batch) {
      for (let index = 0; index < batch; index++) values[index] = next + index;
      sender.sendAllSync(values);
    }
  };
}

/** What the Worker does. */
export const roles: Record<string, Role> = {
  inprocess: (ticket: SenderTicket<number, Uint32Array>) => sendsBatches(Sender.open(ticket)),
};

/** What the processes do. */
export const processRoles: Record<string, ProcessRole> = {
  millrace: async (address: string) =>
    await obey(sendsBatches(await Sender.connect(address, { layout: u32 }))),
  socket: async (path: string) => await sendOver(await peer.connect(path), batch),
  pipe: () => sendOver(peer.stdio(), batch),
};

function receivesBatches(
  name: string,
  sender: Pick<Commanded, "postMessage">,
  receiver: Receiver<number, Uint32Array>,
  effort: Parameters<Suite["open"]>[0],
): Promise<Side> {
  const values = new Uint32Array(batch);
  const take = (next: number) => {
    const received = receiver.receiveBatch(values);
    for (let index = 0; index < received; index++) {
      if (values[index] !== next) mismatch(next, values[index]);
      next++;
    }
    return next;
  };
  return throughput({ ...sequenceTransfer(name, sender, receiver, take), step: batch }, effort);
}

/** The suite. */
export const suite: Suite = {
  name: "ipc-batch",
  about: `u32 from another process in batches of ${batch}, each value written and checked`,
  unit: "msg/s",
  ratios: [
    ["ipc/inprocess", "millrace", "inprocess"],
    ["millrace/unix-socket", "millrace", "unix-socket"],
    ["millrace/pipe", "millrace", "pipe"],
  ],
  async open(effort) {
    const channel = mpsc(u32, { capacity, shared: true });
    const receiver = channel.receiver();
    const sender = shareWith(channel, { receivers: false }, import.meta.url, "millrace");
    const inprocess = mpsc(u32, { capacity });
    const inprocessReceiver = inprocess.receiver();
    const worker = await startWorker(import.meta.url, "inprocess", inprocess.senderTicket());
    const socket = await openSocket(import.meta.url, "socket");
    const pipe = openPipe(import.meta.url, "pipe");
    return [
      await receivesBatches("millrace", sender, receiver, effort),
      await receivesBatches("inprocess", worker, inprocessReceiver, effort),
      await throughput(streamTransfer("unix-socket", socket, batch), effort),
      await throughput(streamTransfer("pipe", pipe, batch), effort),
    ];
  },
};
