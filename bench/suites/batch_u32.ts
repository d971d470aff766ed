/**
 * Numbers in batches of 1024.
 *
 * @module
 */

import { mpsc, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { mismatch, type Suite, throughput } from "../harness.ts";
import { looksMax, sequenceTransfer } from "../millrace.ts";
import { ringMemory, ringPusher, ringTransfer } from "../peers/ringbuf.ts";
import { type Role, startWorker, workerScope } from "../workers.ts";

const capacity = 2 ** 16;
const batch = 1024;
type Ticket = SenderTicket<number, Uint32Array>;

/** What the Workers do. */
export const roles: Record<string, Role> = {
  /** Fills an array of its own and sends that, as the receiver fills one of its own. */
  millrace: (ticket: Ticket) => {
    const sender = Sender.open(ticket);
    const values = new Uint32Array(batch);
    return (count: number) => {
      for (let next = 0; next < count; next += batch) {
        for (let index = 0; index < batch; index++) values[index] = next + index;
        sender.sendAllSync(values);
      }
    };
  },
  /** Fills the ring itself. */
  inPlace: (ticket: Ticket) => {
    const sender = Sender.open(ticket);
    const fill = (next: number) => {
      const room = sender.reserve(batch);
      if (room === undefined) return next;
      for (let index = 0; index < room.length; index++) room[index] = next++;
      sender.commit();
      return next;
    };
    return async (count: number) => {
      for (let next = 0, looks = 0; next < count;) {
        const reached = fill(next);
        if (reached !== next) looks = 0;
        else if (++looks > looksMax) await sender.ready();
        next = reached;
      }
    };
  },
  postMessage: () => (count: number) => {
    const values = new Uint32Array(batch);
    for (let next = 0; next < count; next += batch) {
      for (let index = 0; index < batch; index++) values[index] = next + index;
      workerScope.postMessage(values);
    }
  },
  ringbuf: ringPusher(batch),
};

/** The suite. */
export const suite: Suite = {
  name: "batch-u32",
  about: `batches of ${batch}, each value written and checked one by one, Worker to main`,
  unit: "msg/s",
  ratios: [
    ["millrace/postMessage", "millrace", "postMessage"],
    ["millrace/ringbuf", "millrace", "ringbuf"],
    ["millrace-in-place/ringbuf", "millrace-in-place", "ringbuf"],
  ],
  async open(effort) {
    const copied = mpsc(u32, { capacity });
    const copiedReceiver = copied.receiver();
    const sender = await startWorker(import.meta.url, "millrace", copied.senderTicket());
    const inPlace = mpsc(u32, { capacity });
    const inPlaceReceiver = inPlace.receiver();
    const reserving = await startWorker(import.meta.url, "inPlace", inPlace.senderTicket());
    const posting = await startWorker(import.meta.url, "postMessage");
    const memory = ringMemory(capacity);
    const pushing = await startWorker(import.meta.url, "ringbuf", memory);

    const values = new Uint32Array(batch);
    const takeCopied = (next: number) => {
      const received = copiedReceiver.receiveBatch(values);
      for (let index = 0; index < received; index++) {
        if (values[index] !== next) mismatch(next, values[index]);
        next++;
      }
      return next;
    };
    const takeInPlace = (next: number) => {
      const window = inPlaceReceiver.readable();
      if (window === undefined) return next;
      for (let index = 0; index < window.length; index++) {
        if (window[index] !== next) mismatch(next, window[index]);
        next++;
      }
      inPlaceReceiver.release();
      return next;
    };
    const runPosted = (count: number) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      let next = 0;
      posting.onmessage = ({ data }) => {
        const values = data as Uint32Array;
        for (let index = 0; index < batch; index++) {
          if (values[index] !== next) mismatch(next, values[index]);
          next++;
        }
        if (next === count) resolve();
      };
      posting.postMessage(count);
      return promise;
    };
    return [
      await throughput({
        ...sequenceTransfer("millrace", sender, copiedReceiver, takeCopied),
        step: batch,
      }, effort),
      await throughput({
        ...sequenceTransfer("millrace-in-place", reserving, inPlaceReceiver, takeInPlace),
        step: batch,
      }, effort),
      await throughput({ name: "postMessage", step: batch, run: runPosted }, effort),
      await throughput(ringTransfer(pushing, memory, batch), effort),
    ];
  },
};
