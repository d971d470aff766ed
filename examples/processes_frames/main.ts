/**
 * Large frames between two processes: this one keeps a buffer pool and a channel, and starts another, of
 * the other runtime, that draws. A frame is written once, in the memory that this process reads: what
 * goes through the channel is 16 bytes.
 *
 *     camera.ts, a process ──── slabs ───▶ main.ts, a process
 *             ▲                               │
 *             └──────── free slabs ───────────┘
 *
 * A process that dies with slabs in its hands takes none away from the pool.
 *
 * Run it with `deno run -A examples/processes_frames/main.ts` (the camera runs under bun) or
 * `bun examples/processes_frames/main.ts` (under deno).
 *
 * @module
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { mpsc, pool } from "../../mod.ts";
import { frameBytes, frames, height, pixel, width } from "../frames/film.ts";

const slabs = pool({ slab: frameBytes, count: 4, shared: true });
const channel = mpsc(slabs.layout(), { capacity: 4, shared: true });
// Abstract names: no file, nothing to clean up. One camera, and when it is done that is the end.
const address = `@millrace-frames-${process.pid}`;
slabs.share(`${address}-slabs`, { limit: 1 });
channel.share(address, { receivers: false, limit: 1 });

const camera = fileURLToPath(new URL("./camera.ts", import.meta.url));
const [program, ...parameters] = process.versions.bun === undefined
  ? ["bun", camera] as const
  : ["deno", "run", "-A", camera] as const;
const child = spawn(program, [...parameters, address], { stdio: "inherit" });
child.on("error", (error) => {
  console.error(`${program} could not be started: ${error.message}`);
  process.exit(1);
});
// If it never connected nobody will.
child.on("exit", () => channel.close());

let received = 0;
{
  using receiver = channel.receiver();
  for await (const slab of receiver) {
    using frame = slab; // freed at the end of the block
    const { bytes } = frame;
    assert.equal(bytes.length, frameBytes);
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        if (bytes[at] !== pixel(received, x, y)) {
          throw new Error(`frame ${received} is wrong at ${x}, ${y}`);
        }
      }
    }
    received++;
  }
}
assert.equal(received, frames);
const { free } = slabs.stats();
assert.equal(free, slabs.count);
console.log(
  `${received} frames of ${frameBytes} bytes from ${program} in ${slabs.count} slabs, each written ` +
    `once and right; ${free} slabs are free again`,
);
channel[Symbol.dispose]();
slabs.close();
