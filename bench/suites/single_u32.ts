/**
 * Numbers one at a time, each published on its own.
 *
 * @module
 */

import { mpsc, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { mismatch, type Suite, throughput } from "../harness.ts";
import { openPeers, peerRoles } from "../numbers.ts";
import { type Role, startWorker } from "../workers.ts";

const capacity = 2 ** 16;

/** What the Workers do. */
export const roles: Record<string, Role> = {
  millrace: (ticket: SenderTicket<number, Uint32Array>) => {
    const sender = Sender.open(ticket);
    return (count: number) => {
      for (let value = 0; value < count; value++) {
        if (!sender.trySend(value)) sender.sendSync(value);
      }
    };
  },
  ...peerRoles,
};

/** The suite. */
export const suite: Suite = {
  name: "single-u32",
  about: "trySend() and tryReceive(), each value published on its own, Worker to main",
  unit: "msg/s",
  ratios: [
    ["millrace/postMessage", "millrace", "postMessage"],
    ["millrace/ringbuf", "millrace", "ringbuf"],
  ],
  async open(effort) {
    const channel = mpsc(u32, { capacity });
    const receiver = channel.receiver();
    const sender = await startWorker(import.meta.url, "millrace", channel.senderTicket());

    const run = async (count: number) => {
      sender.postMessage(count);
      for (let next = 0; next < count;) {
        const result = receiver.tryReceive();
        if (result.state !== "ok") {
          await receiver.ready();
          continue;
        }
        if (result.value !== next) mismatch(next, result.value);
        next++;
      }
    };
    return [
      await throughput({ name: "millrace", run }, effort),
      ...await openPeers(import.meta.url, capacity, effort),
    ];
  },
};
