/**
 * A pipeline of two channels: two Workers read lines of weather stations, a third parses them, and
 * the main thread keeps the coldest, the mean and the warmest of each station.
 *
 *     station.ts ─┐  lines: utf8              samples: struct
 *                 ├────────────▶ parser.ts ─────────────▶ main.ts
 *     station.ts ─┘
 *
 * Nobody says "the end": a stage closes its sender when its input ends, and so the next one ends.
 * Nobody runs ahead either: a full ring makes the stage before it wait.
 *
 * Run it with `deno run -A examples/pipeline/main.ts` or `bun examples/pipeline/main.ts`.
 */

import assert from "node:assert/strict";
import { mpsc, utf8 } from "../../mod.ts";
import { celsius, linesPerStation, sample, stations } from "./weather.ts";

await using lines = mpsc(utf8, { capacity: 64 * 1024, maxSenders: stations.length });
await using samples = mpsc(sample, { capacity: 1024, maxSenders: 1 });

const readers = stations.map((_, station) => ({ station, output: lines.senderTicket() }));
const workers = [
  start("./parser.ts", { input: lines.receiverTicket(), output: samples.senderTicket() }),
  ...readers.map((order) => start("./station.ts", order)),
];

function start(module: string, order: unknown): Worker {
  const worker = new Worker(new URL(module, import.meta.url), { type: "module" });
  worker.postMessage(order);
  return worker;
}

interface Summary {
  count: number;
  sum: number;
  coldest: number;
  warmest: number;
}

const summaries = stations.map((): Summary => ({
  count: 0,
  sum: 0,
  coldest: Infinity,
  warmest: -Infinity,
}));

for await (const { station, celsius } of samples.receiver()) {
  const summary = summaries[station];
  assert(summary !== undefined);
  summary.count++;
  summary.sum += celsius;
  summary.coldest = Math.min(summary.coldest, celsius);
  summary.warmest = Math.max(summary.warmest, celsius);
}
for (const worker of workers) worker.terminate();

// The same without Workers and channels.
for (const [station, name] of stations.entries()) {
  const readings = Array.from({ length: linesPerStation }, (_, n) => celsius(station, n));
  const expected: Summary = {
    count: readings.length,
    sum: readings.reduce((sum, reading) => sum + reading, 0),
    coldest: Math.min(...readings),
    warmest: Math.max(...readings),
  };
  assert.deepEqual(summaries[station], expected);
  const mean = expected.sum / expected.count;
  console.log(
    `${name.padEnd(10)} ${expected.coldest.toFixed(1).padStart(6)} ${
      mean.toFixed(1).padStart(6)
    } ` +
      `${expected.warmest.toFixed(1).padStart(6)}   ${expected.count} readings`,
  );
}
for (const [name, channel] of Object.entries({ lines, samples })) {
  const { sent, received } = channel.stats();
  assert.equal(received, sent);
  console.log(`${name}: ${received} received of ${sent} sent`);
}
