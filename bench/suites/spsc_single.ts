/**
 * Numbers one by one over an spsc channel, against mpsc and ringbuf.js.
 *
 * @module
 */

import { type Channel, mpsc, Sender, type SenderTicket, spsc, u32 } from "../../mod.ts";
import { mismatch, type Suite, throughput, type Transfer } from "../harness.ts";
import { ringMemory, ringPusher, ringTransfer } from "../peers/ringbuf.ts";
import { type Role, startWorker } from "../workers.ts";

const capacity = 2 ** 16;

/** What the Workers do. */
export const roles: Record<string, Role> = {
  sender: (ticket: SenderTicket<number, Uint32Array>) => {
    const sender = Sender.open(ticket);
    return (count: number) => {
      for (let value = 0; value < count; value++) {
        if (!sender.trySend(value)) sender.sendSync(value);
      }
    };
  },
  ringbuf: ringPusher(1),
};

async function transfer(name: string, channel: Channel<number, Uint32Array>): Promise<Transfer> {
  const receiver = channel.receiver();
  const worker = await startWorker(import.meta.url, "sender", channel.senderTicket());
  const take = (next: number, count: number) => {
    while (next < count) {
      const result = receiver.tryReceive();
      if (result.state !== "ok") continue;
      if (result.value !== next) mismatch(next, result.value);
      next++;
    }
  };
  return {
    name,
    run(count) {
      worker.postMessage(count);
      take(0, count);
      return Promise.resolve();
    },
  };
}

/** The suite. */
export const suite: Suite = {
  name: "spsc-single",
  about: "u32 by trySend and tryReceive over an spsc channel, Worker to main",
  unit: "msg/s",
  ratios: [
    ["spsc/mpsc", "millrace", "mpsc"],
    ["millrace/ringbuf", "millrace", "ringbuf"],
  ],
  async open(effort) {
    const memory = ringMemory(capacity);
    const pushing = await startWorker(import.meta.url, "ringbuf", memory);
    return [
      await throughput(await transfer("millrace", spsc(u32, { capacity })), effort),
      await throughput(await transfer("mpsc", mpsc(u32, { capacity })), effort),
      await throughput(ringTransfer(pushing, memory, 1), effort),
    ];
  },
};
