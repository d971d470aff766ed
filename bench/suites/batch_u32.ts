/**
 * Numbers in batches of 1024.
 *
 * @module
 */

import { mpsc, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { mismatch, type Suite, throughput } from "../harness.ts";
import { ringMemory, ringPusher, ringTransfer } from "../peers/ringbuf.ts";
import { type Role, startWorker, workerScope } from "../workers.ts";

const capacity = 2 ** 16;
const batch = 1024;
/** Looks in vain before a side waits: a batch takes the other side less than a turn of a loop. */
const looksMax = 256;

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
    return async (count: number) => {
      for (let next = 0, looks = 0; next < count;) {
        const room = sender.reserve(Math.min(batch, count - next));
        if (room === undefined) {
          if (++looks > looksMax) await sender.ready();
          continue;
        }
        looks = 0;
        for (let index = 0; index < room.length; index++) room[index] = next++;
        sender.commit();
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

function check(values: Uint32Array, next: number, length: number): void {
  for (let index = 0; index < length; index++) {
    if (values[index] !== next + index) mismatch(next + index, values[index]);
  }
}

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
    const runCopied = async (count: number) => {
      sender.postMessage(count);
      for (let next = 0, looks = 0; next < count;) {
        const received = copiedReceiver.receiveBatch(values);
        if (received > 0) looks = 0;
        else if (++looks > looksMax) await copiedReceiver.ready();
        check(values, next, received);
        next += received;
      }
    };
    const runInPlace = async (count: number) => {
      reserving.postMessage(count);
      for (let next = 0, looks = 0; next < count;) {
        const window = inPlaceReceiver.readable();
        if (window === undefined) {
          if (++looks > looksMax) await inPlaceReceiver.ready();
          continue;
        }
        looks = 0;
        check(window, next, window.length);
        next += window.length;
        inPlaceReceiver.release();
      }
    };
    const runPosted = (count: number) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      let next = 0;
      posting.onmessage = ({ data }) => {
        check(data as Uint32Array, next, batch);
        next += batch;
        if (next === count) resolve();
      };
      posting.postMessage(count);
      return promise;
    };
    return [
      await throughput({ name: "millrace", step: batch, run: runCopied }, effort),
      await throughput({ name: "millrace-in-place", step: batch, run: runInPlace }, effort),
      await throughput({ name: "postMessage", step: batch, run: runPosted }, effort),
      await throughput(ringTransfer(pushing, memory, batch), effort),
    ];
  },
};
