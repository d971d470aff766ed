/**
 * Streams of numbers, sent one by one: the peers they are compared with, and what takes them in place.
 *
 * @module
 */

import { type Channel, type Receiver, Sender, type SenderTicket } from "../mod.ts";
import { type Effort, mismatch, type Side, throughput } from "./harness.ts";
import { sequenceTransfer } from "./millrace.ts";
import { poster, postMessageTransfer } from "./peers/post_message.ts";
import { ringMemory, ringPusher, ringTransfer } from "./peers/ringbuf.ts";
import { type Role, startWorker } from "./workers.ts";

/** A role that pushes a sequence with a writer. */
export const pusher: Role = (ticket: SenderTicket<number, Uint32Array>) => {
  const writer = Sender.open(ticket).writer();
  return (count: number) => {
    for (let value = 0; value < count; value++) writer.push(value);
    writer.flush();
  };
};

/** A side: a Worker of the suite in file `suite` plays `role` on the channel, and is received here. */
export async function openStream(
  name: string,
  suite: string,
  role: string,
  channel: Channel<number, Uint32Array>,
  effort: Effort,
): Promise<Side> {
  const receiver = channel.receiver();
  const worker = await startWorker(suite, role, channel.senderTicket());
  return throughput(sequenceTransfer(name, worker, receiver, takingInPlace(receiver)), effort);
}

/** The roles of the peers' Workers. */
export const peerRoles: Record<string, Role> = {
  postMessage: poster((index) => index),
  ringbuf: ringPusher(1),
};

/** The peers, with Workers of the suite in file `suite`: `postMessage`, and a ring of `capacity`. */
export async function openPeers(suite: string, capacity: number, effort: Effort): Promise<Side[]> {
  const posting = await startWorker(suite, "postMessage");
  const memory = ringMemory(capacity);
  const pushing = await startWorker(suite, "ringbuf", memory);
  const check = (value: number, index: number) => {
    if (value !== index) mismatch(index, value);
  };
  return [
    await throughput(postMessageTransfer<number>(posting, check), effort),
    await throughput(ringTransfer(pushing, memory, 1), effort),
  ];
}

/** Takes what is there in place, one number after the other; see `sequenceTransfer()`. */
export function takingInPlace(receiver: Receiver<number, Uint32Array>): (next: number) => number {
  return (next) => {
    const values = receiver.readable();
    if (values === undefined) return next;
    for (let index = 0; index < values.length; index++) {
      if (values[index] !== next) mismatch(next, values[index]);
      next++;
    }
    receiver.release();
    return next;
  };
}
