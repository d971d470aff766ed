/**
 * What the place of a ring is worth on a machine with several NUMA nodes: a producer pinned to one
 * node, a consumer to another, and the ring on either. With one node there is nothing to measure, and
 * it says so; under emulation the numbers would mean nothing.
 *
 * @module
 */

import { mpsc, numa, type NumaNode, pinThread, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { type Effort, type Side, type Suite, throughput } from "../harness.ts";
import { sequenceTransfer } from "../millrace.ts";
import { takingInPlace } from "../numbers.ts";
import { type Role, startWorker } from "../workers.ts";

/** One ring that the caches hold, one that they do not. */
const capacities = { small: 2 ** 16, large: 2 ** 25 };

interface Setup {
  readonly ticket: SenderTicket<number, Uint32Array>;
  /** Where the producer runs, */
  readonly node: number;
  /** and where its ring lies. */
  readonly ring: number;
}

/** What the Workers do. */
export const roles: Record<string, Role> = {
  producer: ({ ticket, node, ring }: Setup) => {
    pinThread({ node });
    const writer = Sender.open(ticket, { node: ring, numa: "require" }).writer();
    return (count: number) => {
      for (let value = 0; value < count; value++) writer.push(value);
      writer.flush();
    };
  },
};

const nodes = numa.topology().nodes.filter(({ cpus, allowed }) => cpus.length > 0 && allowed);
const consumer = nodes[0];
/** The node the furthest from the consumer's. */
const producer = nodes.slice(1).toSorted((a, b) => distance(b) - distance(a))[0];

function distance({ distances }: NumaNode): number {
  return distances[0] ?? 0;
}

async function stream(
  name: string,
  capacity: number,
  place: Omit<Setup, "ticket">,
  effort: Effort,
): Promise<Side> {
  const channel = mpsc(u32, { capacity, maxSenders: 1 });
  const receiver = channel.receiver({ node: "local", numa: "require" });
  const setup: Setup = { ticket: channel.senderTicket(), ...place };
  const worker = await startWorker(import.meta.url, "producer", setup);
  return throughput(sequenceTransfer(name, worker, receiver, takingInPlace(receiver)), effort);
}

/** The suite. */
export const suite: Suite = {
  name: "numa-placement",
  about: producer === undefined
    ? "not measured: this machine has one NUMA node this process may use"
    : "u32 pushed by a writer on one NUMA node to a receiver on another, by where the ring lies",
  unit: "msg/s",
  ratios: producer === undefined ? [] : Object.keys(capacities).flatMap((size) => [
    [`${size}: local/remote`, `${size}-local`, `${size}-remote`] as const,
    [`${size}: across/within`, `${size}-local`, `${size}-within`] as const,
  ]),
  async open(effort) {
    if (consumer === undefined || producer === undefined) {
      console.error(suite.about);
      return [];
    }
    pinThread({ node: consumer.node });
    const sides: Side[] = [];
    for (const [size, capacity] of Object.entries(capacities)) {
      const [here, there] = [consumer.node, producer.node];
      // The ring beside its producer, the ring beside its consumer, and all on one node.
      sides.push(
        await stream(`${size}-local`, capacity, { node: there, ring: there }, effort),
        await stream(`${size}-remote`, capacity, { node: there, ring: here }, effort),
        await stream(`${size}-within`, capacity, { node: here, ring: here }, effort),
      );
    }
    return sides;
  },
};
