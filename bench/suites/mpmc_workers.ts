/**
 * Workers that send to Workers that share the work.
 *
 * @module
 */

import { mpmc, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { type Side, type Suite, throughput } from "../harness.ts";
import { Crew, receiving, sequenceBits, sequenceMask } from "../sharing.ts";
import { type Role, startWorker } from "../workers.ts";

const counts = [1, 2, 4];
const capacity = 2 ** 16;

interface Setup {
  readonly ticket: SenderTicket<number, Uint32Array>;
  readonly id: number;
}

/** What the Workers do. */
export const roles: Record<string, Role> = {
  receiving,
  sender: ({ ticket, id }: Setup) => {
    const writer = Sender.open(ticket).writer();
    const first = (id << sequenceBits) >>> 0;
    let next = 0;
    return (count: number) => {
      for (let index = 0; index < count; index++) writer.push(first + (next++ & sequenceMask));
      writer.flush();
    };
  },
};

async function square(size: number): Promise<Parameters<typeof throughput>[0]> {
  const channel = mpmc(u32, { capacity, maxSenders: size, maxReceivers: size });
  const crew = await Crew.start(import.meta.url, channel, size);
  const senders: Worker[] = [];
  for (let id = 0; id < size; id++) {
    const setup: Setup = { ticket: channel.senderTicket(), id };
    senders.push(await startWorker(import.meta.url, "sender", setup));
  }
  return {
    name: `millrace-${size}x${size}`,
    step: size,
    async run(count) {
      crew.begin();
      for (const sender of senders) sender.postMessage(count / size);
      await crew.until(count);
    },
  };
}

/** The suite. */
export const suite: Suite = {
  name: "mpmc-workers",
  about: "1, 2 and 4 Workers pushing u32 with writers to as many that share them",
  unit: "msg/s",
  ratios: counts.slice(1).map((count) =>
    [`${count}x${count}/1x1`, `millrace-${count}x${count}`, "millrace-1x1"] as const
  ),
  async open(effort) {
    const sides: Side[] = [];
    for (const count of counts) sides.push(await throughput(await square(count), effort));
    return sides;
  },
};
