/**
 * One Worker that sends to several that share the work.
 *
 * @module
 */

import { Sender, type SenderTicket, spmc, u32 } from "../../mod.ts";
import { mismatch, type Side, type Suite, throughput } from "../harness.ts";
import { Crew, receiving, sequenceMask } from "../sharing.ts";
import { type Role, startWorker, workerScope } from "../workers.ts";

const counts = [1, 2, 4];
const receiversMost = 4;
const capacity = 2 ** 16;

/** What the Workers do. */
export const roles: Record<string, Role> = {
  receiving,
  sender: (ticket: SenderTicket<number, Uint32Array>) => {
    const writer = Sender.open(ticket).writer();
    let next = 0;
    return (count: number) => {
      for (let index = 0; index < count; index++) writer.push(next++ & sequenceMask);
      writer.flush();
    };
  },
  /** Tells how many it has had, once it has had them all. */
  posted: () => {
    let left = 0;
    let last = -1;
    return (command: number | { readonly expect: number }) => {
      if (typeof command !== "number") {
        left = command.expect;
        last = -1;
        return;
      }
      if (command <= last) mismatch(last, command);
      last = command;
      if (--left === 0) workerScope.postMessage("all");
    };
  },
};

async function fanout(receivers: number): Promise<Parameters<typeof throughput>[0]> {
  const channel = spmc(u32, { capacity, maxReceivers: receivers });
  const crew = await Crew.start(import.meta.url, channel, receivers);
  const sender = await startWorker(import.meta.url, "sender", channel.senderTicket());
  return {
    name: `millrace-${receivers}`,
    async run(count) {
      crew.begin();
      sender.postMessage(count);
      await crew.until(count);
    },
  };
}

async function posted(receivers: number): Promise<Parameters<typeof throughput>[0]> {
  const workers: Worker[] = [];
  for (let index = 0; index < receivers; index++) {
    workers.push(await startWorker(import.meta.url, "posted"));
  }
  return {
    name: `postMessage-${receivers}`,
    step: receivers,
    async run(count) {
      const all = workers.map((worker) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        worker.onmessage = () => resolve();
        worker.postMessage({ expect: count / receivers });
        return promise;
      });
      for (let value = 0; value < count; value++) workers[value % receivers]?.postMessage(value);
      await Promise.all(all);
    },
  };
}

/** The suite. */
export const suite: Suite = {
  name: "spmc-fanout",
  about: "one Worker pushing u32 with a writer to 1, 2 and 4 Workers that share them",
  unit: "msg/s",
  ratios: [
    ...counts.slice(1).map((count) => [`${count}/1`, `millrace-${count}`, "millrace-1"] as const),
    ["millrace/postMessage", `millrace-${receiversMost}`, `postMessage-${receiversMost}`],
  ],
  async open(effort) {
    const sides: Side[] = [];
    for (const count of counts) sides.push(await throughput(await fanout(count), effort));
    sides.push(await throughput(await posted(receiversMost), effort));
    return sides;
  },
};
