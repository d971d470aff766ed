/**
 * A service that ends well: three Workers send jobs, one after the other is handled here, and at
 * SIGINT or SIGTERM nothing more is accepted and everything accepted is handled.
 *
 * Run it with `deno run -A examples/graceful_shutdown/main.ts` or `bun …/main.ts` and stop it with
 * Ctrl-C. Without, it stops itself after a second; `--seconds 60` makes it a minute.
 *
 * Exit code: 0 everything accepted was handled, 1 it was not within five seconds, 130 a second
 * Ctrl-C quit at once.
 */

import assert from "node:assert/strict";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { json, mpsc } from "../../mod.ts";
import type { Job, Report } from "./jobs.ts";

const workerCount = 3;
const drainLimitMs = 5000;
/** A Ctrl-C this soon after another is the same one, forwarded by whoever started this program. */
const sameInterruptMs = 500;

const { values } = parseArgs({ options: { seconds: { type: "string", default: "1" } } });

// First of all: a signal may come at any moment.
const stop = Promise.withResolvers<string>();
let stoppedAt: number | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    stoppedAt ??= performance.now();
    if (performance.now() - stoppedAt > sameInterruptMs) process.exit(130);
    stop.resolve(signal);
  });
}
setTimeout(() => stop.resolve("the time is up"), Number(values.seconds) * 1000);

const channel = mpsc(json<Job>(), { capacity: 16 * 1024, maxSenders: workerCount });
let handled = 0;
const loop = channel.receiver().run(async ({ worker, id }) => {
  // A database, a disk: whatever takes its time and must not be cut off.
  if (id % 64 === worker) await delay(1);
  handled++;
});

const tickets = Array.from({ length: workerCount }, () => channel.senderTicket());
const workers = tickets.map((ticket, index) => {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const report = new Promise<Report>((resolve) => {
    worker.onmessage = ({ data }: MessageEvent<Report>) => resolve(data);
  });
  worker.postMessage({ ticket, index });
  return { worker, report };
});
console.log(`${workerCount} Workers send jobs; stop with Ctrl-C`);

const reason = await stop.promise;
const handledBefore = handled;
// 1. Nothing more is accepted: every send that is under way, or comes now, throws ChannelClosedError.
channel.close();
// 2. What was accepted is handled; the loop ends by itself. But not for ever.
const late = Symbol("late");
const end = await Promise.race([loop.finished, delay(drainLimitMs, late)]);
if (end === late) {
  console.error(`Not drained within ${drainLimitMs} ms: ${channel.size} jobs are lost`);
  process.exit(1);
}
// 3. The Workers have noticed, and say how many of their jobs were accepted.
const reports = await Promise.all(workers.map(({ report }) => report));
for (const { worker } of workers) worker.terminate();
channel[Symbol.dispose]();

const accepted = reports.reduce((sum, report) => sum + report.accepted, 0);
assert.equal(handled, accepted);
for (const { accepted, refused } of reports) assert.equal(refused?.id ?? 0, accepted);
console.log(
  `${reason}: ${accepted} jobs accepted, ${handled} handled, ${
    handled - handledBefore
  } of them after`,
);
process.exit(0);
