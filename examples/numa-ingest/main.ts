/**
 * Ingest on a machine with several NUMA nodes: on each node a Worker pinned to it produces samples into
 * a ring of that node's memory; the consumer is pinned to one. The kernel is asked where the pages
 * really are. On a machine with one node it does the same with one producer.
 *
 *     node 0: producer.ts ── ring on node 0 ─┐
 *                                            ├─▶ main.ts, control block on node 0
 *     node 1: producer.ts ── ring on node 1 ─┘
 *
 * Run it with `deno run -A examples/numa-ingest/main.ts` or `bun examples/numa-ingest/main.ts`.
 */

import assert from "node:assert/strict";
import { currentNode, mpsc, numa, pinThread, type RegionPlacement } from "../../mod.ts";
import { type Order, sample, valueOf } from "./samples.ts";

const samplesEach = 200_000;

const { nodes: all, problems } = numa.topology();
for (const problem of problems) console.log(problem);
for (const { node, cpus, memoryBytes, distances } of all) {
  const memory = (memoryBytes / 2 ** 30).toFixed(1);
  console.log(`node ${node}: ${cpus.length} CPUs, ${memory} GiB, distances ${distances.join(" ")}`);
}
const nodes = all.filter(({ cpus, allowed }) => cpus.length > 0 && allowed).map(({ node }) => node);

using channel = mpsc(sample, { capacity: 1 << 14, maxSenders: nodes.length });
const tickets = nodes.map(() => channel.senderTicket());

// Workers first: one that is started by a pinned thread begins with its pin.
const workers = nodes.map((node, index) => {
  const worker = new Worker(new URL("./producer.ts", import.meta.url), { type: "module" });
  worker.postMessage({ node, samples: samplesEach, ticket: tickets[index] } as Order);
  return worker;
});

const home = nodes[0] ?? 0;
pinThread({ node: home });
assert.equal(currentNode(), home);
using receiver = channel.receiver({ node: "local" });

const received = new Map(nodes.map((node) => [node, { count: 0, sum: 0 }]));
const expected = samplesEach * nodes.length;
let total = 0;
let placement = channel.placement();
for await (const { node, sequence, value } of receiver) {
  const tally = received.get(node);
  assert(tally !== undefined);
  assert.equal(sequence, tally.count++); // in order, none lost
  tally.sum += value;
  if (++total < expected) continue;
  placement = channel.placement();
  for (const worker of workers) worker.postMessage("close");
}
for (const worker of workers) worker.terminate();

const { control, rings } = placement;
console.log("\nmemory    wanted on   pages   on nodes");
const row = (name: string, { wanted, nodes, pages, refusal }: RegionPlacement) => {
  const where = nodes === undefined
    ? "the kernel does not tell"
    : Object.entries(nodes).map(([node, pages]) => `${node}: ${pages}`).join(", ");
  console.log(
    `${name.padEnd(10)}${String(wanted ?? "-").padStart(9)} ${String(pages).padStart(7)}   ` +
      `${where}${refusal === undefined ? "" : ` (${refusal})`}`,
  );
};
row("control", control);
for (const ring of rings) row(`ring ${ring.ring}`, ring);

for (const [node, { count, sum }] of received) {
  let sent = 0;
  for (let sequence = 0; sequence < samplesEach; sequence++) sent += valueOf(node, sequence);
  assert.equal(count, samplesEach);
  assert.equal(sum, sent);
}
console.log(`\n${samplesEach} samples of each of ${nodes.length} nodes received, none lost`);
