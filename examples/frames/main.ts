/**
 * Video frames through a buffer pool: one Worker draws them, another inverts them where they lie,
 * the main thread looks at them. A frame is written once and never copied: its slab changes hands.
 *
 *     camera.ts ──────────▶ negative.ts ──────────▶ main.ts
 *         ▲     raw: slabs               inverted: slabs │
 *         └──────────────── free slabs ◀─────────────────┘
 *
 * There are four slabs for all the frames: who has none waits until one is free. A Worker that dies
 * with slabs in its hands takes none away from the pool.
 *
 * Run it with `deno run -A examples/frames/main.ts` or `bun examples/frames/main.ts`.
 */

import assert from "node:assert/strict";
import { mpsc, pool } from "../../mod.ts";
import { frameBytes, frames, height, pixel, width } from "./film.ts";

using slabs = pool({ slab: frameBytes, count: 4 });
await using raw = mpsc(slabs.layout(), { capacity: 4, maxSenders: 1 });
await using inverted = mpsc(slabs.layout(), { capacity: 4, maxSenders: 1 });

const workers = [
  start("./camera.ts", { slabs: slabs.ticket(), output: raw.senderTicket() }),
  start("./negative.ts", { input: raw.receiverTicket(), output: inverted.senderTicket() }),
];

function start(module: string, order: unknown): Worker {
  const worker = new Worker(new URL(module, import.meta.url), { type: "module" });
  worker.postMessage(order);
  return worker;
}

let received = 0;
for await (const slab of inverted.receiver()) {
  using frame = slab; // freed at the end of the block
  const { bytes } = frame;
  assert.equal(bytes.length, frameBytes);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (bytes[at] !== 255 - pixel(received, x, y)) {
        throw new Error(`frame ${received} is wrong at ${x}, ${y}`);
      }
    }
  }
  received++;
}
for (const worker of workers) worker.terminate();

assert.equal(received, frames);
const { free } = slabs.stats();
assert.equal(free, slabs.count);
console.log(
  `${received} frames of ${frameBytes} bytes in ${slabs.count} slabs, each written once and right; ` +
    `${free} slabs are free again`,
);
