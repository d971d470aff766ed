/**
 * A stream of numbers, pushed by a writer.
 *
 * @module
 */

import { mpsc, u32 } from "../../mod.ts";
import { mismatch, type Suite, throughput } from "../harness.ts";
import { openPeers, openStream, peerRoles, pusher } from "../numbers.ts";
import { poster, postMessageTransfer } from "../peers/post_message.ts";
import { type Role, startWorker } from "../workers.ts";

const capacity = 2 ** 16;

/** What the Workers do. */
export const roles: Record<string, Role> = {
  millrace: pusher,
  ...peerRoles,
  postMessageObject: poster((v) => ({ v })),
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
    const postingObjects = await startWorker(import.meta.url, "postMessageObject");
    return [
      await openStream("millrace", import.meta.url, "millrace", mpsc(u32, { capacity }), effort),
      await throughput(
        postMessageTransfer<{ v: number }>(postingObjects, ({ v }, index) => {
          if (v !== index) mismatch(index, v);
        }, "postMessage-object"),
        effort,
      ),
      ...await openPeers(import.meta.url, capacity, effort),
    ];
  },
};
