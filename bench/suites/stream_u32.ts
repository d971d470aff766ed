/**
 * A stream of numbers, pushed by a writer.
 *
 * @module
 */

import { mpsc, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { mismatch, type Suite, throughput } from "../harness.ts";
import { poster, postMessageTransfer } from "../peers/post_message.ts";
import { ringMemory, ringPusher, ringTransfer } from "../peers/ringbuf.ts";
import { type Role, startWorker } from "../workers.ts";

const capacity = 2 ** 16;

/** What the Workers do. */
export const roles: Record<string, Role> = {
  millrace: (ticket: SenderTicket<number, Uint32Array>) => {
    const writer = Sender.open(ticket).writer();
    return (count: number) => {
      for (let value = 0; value < count; value++) writer.push(value);
      writer.flush();
    };
  },
  postMessage: poster((index) => index),
  postMessageObject: poster((v) => ({ v })),
  ringbuf: ringPusher(1),
};

/** The suite. */
export const suite: Suite = {
  name: "stream-u32",
  about: "each value pushed by a writer and checked one by one, Worker to main",
  unit: "msg/s",
  ratios: [
    ["millrace/postMessage", "millrace", "postMessage"],
    ["millrace/postMessage-object", "millrace", "postMessage-object"],
    ["millrace/ringbuf", "millrace", "ringbuf"],
  ],
  async open(effort) {
    const channel = mpsc(u32, { capacity });
    const receiver = channel.receiver();
    const sender = await startWorker(import.meta.url, "millrace", channel.senderTicket());
    const posting = await startWorker(import.meta.url, "postMessage");
    const postingObjects = await startWorker(import.meta.url, "postMessageObject");
    const memory = ringMemory(capacity);
    const pushing = await startWorker(import.meta.url, "ringbuf", memory);

    const run = async (count: number) => {
      sender.postMessage(count);
      for (let next = 0; next < count;) {
        const values = receiver.readable();
        if (values === undefined) {
          await receiver.ready();
          continue;
        }
        for (let index = 0; index < values.length; index++) {
          if (values[index] !== next) mismatch(next, values[index]);
          next++;
        }
        receiver.release();
      }
    };
    return [
      await throughput({ name: "millrace", run }, effort),
      await throughput(
        postMessageTransfer<number>(posting, (value, index) => {
          if (value !== index) mismatch(index, value);
        }),
        effort,
      ),
      await throughput(
        postMessageTransfer<{ v: number }>(postingObjects, ({ v }, index) => {
          if (v !== index) mismatch(index, v);
        }, "postMessage-object"),
        effort,
      ),
      await throughput(ringTransfer(pushing, memory, 1), effort),
    ];
  },
};
