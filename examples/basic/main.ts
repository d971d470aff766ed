/**
 * Four Workers look for prime numbers, each in its quarter of the numbers below a million, and send
 * every one they find to the main thread.
 *
 * Run it with `deno run -A examples/basic/main.ts` or `bun examples/basic/main.ts`.
 */

import assert from "node:assert/strict";
import { mpsc, u32 } from "../../mod.ts";
import type { Search } from "./worker.ts";

const limit = 1_000_000;
const workerCount = 4;

await using channel = mpsc(u32, { capacity: 4096, maxSenders: workerCount });
// All tickets before the first is used: a channel ends when no sender and no ticket is left.
// Each names its Worker: one that fails to start is not waited for.
const url = new URL("./worker.ts", import.meta.url);
const workers = Array.from({ length: workerCount }, () => new Worker(url, { type: "module" }));
const searches = workers.map((worker, index): Search => ({
  from: (limit / workerCount) * index,
  to: (limit / workerCount) * (index + 1),
  ticket: channel.senderTicket({ worker }),
}));
workers.forEach((worker, index) => worker.postMessage(searches[index]));

let count = 0;
let sum = 0;
// Ends by itself: when every Worker has closed its sender and everything is received.
for await (const prime of channel.receiver()) {
  count++;
  sum += prime;
}
for (const worker of workers) worker.terminate();

assert.equal(count, 78_498);
assert.equal(sum, 37_550_402_023);
console.log(`${count} primes below ${limit}, their sum is ${sum}`);
