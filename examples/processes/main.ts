/**
 * A channel between two processes: this one keeps it and consumes, and it starts another that produces,
 * of the other runtime:
 *
 *     deno run -A examples/processes/main.ts     # starts producer.ts under bun
 *     bun examples/processes/main.ts             # starts producer.ts under deno
 *
 * or whatever program is named, to which the address of the channel is given as its last parameter:
 *
 *     bun examples/processes/main.ts ./producer  # producer.c
 *
 * @module
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { mpsc } from "../../mod.ts";
import { sample } from "./sample.ts";

const producerTs = fileURLToPath(new URL("./producer.ts", import.meta.url));
const [program = "", ...parameters] = process.argv.length > 2
  ? process.argv.slice(2)
  : process.versions.bun === undefined
  ? ["bun", producerTs]
  : ["deno", "run", "-A", producerTs];

const channel = mpsc(sample, { capacity: 4096, shared: true });
// An abstract name: no file, nothing to clean up. One producer, and when it is done that is the end.
const address = `@millrace-example-${process.pid}`;
channel.share(address, { receivers: false, limit: 1 });

const child = spawn(program, [...parameters, address], { stdio: "inherit" });
child.on("error", (error) => {
  console.error(`${program} could not be started: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  if (code !== 0) console.error(`${program} ended with ${signal ?? code}`);
  // Nobody will come any more. What it sent, if anything, is still received.
  channel.close();
});

let count = 0;
let sum = 0;
{
  using receiver = channel.receiver();
  for await (const { sequence, value } of receiver) {
    assert.equal(sequence, count++);
    sum += value;
  }
}
assert.ok(count > 0);
assert.equal(sum, count * (count - 1) / 4);
console.log(`${count} samples from ${program}, in order, the sum is right`);
channel[Symbol.dispose]();
