/**
 * A logging pipeline: many Workers log structured records, one flusher writes them to a file, and at
 * SIGTERM or SIGINT nothing that was logged is lost.
 *
 *     server.ts ─┐
 *     server.ts ─┼─ lines: utf8 ─▶ flusher.ts ─▶ file
 *     server.ts ─┘
 *
 * Run it with `deno run -A examples/logging/main.ts` or `bun examples/logging/main.ts`. Options:
 * `--file PATH` (a file of its own below the directory for temporary files, removed at the end),
 * `--workers 4`, `--requests 500` (that each Worker serves before it ends by itself).
 *
 * Exit code: 0 every record that was logged is in the file, 1 one is missing.
 */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { mpsc, utf8 } from "../../mod.ts";
import type { FlusherOrder, FlusherReport, ServerOrder, ServerReport } from "./orders.ts";

/** After this long a Worker that has not stopped logs no more. */
const stopLimitMs = 5000;

const { values } = parseArgs({
  options: {
    file: { type: "string" },
    workers: { type: "string", default: "4" },
    requests: { type: "string", default: "500" },
  },
});
const directory = values.file === undefined
  ? mkdtempSync(join(tmpdir(), "millrace-logging-"))
  : undefined;
const path = values.file ?? join(directory as string, "service.log");
const workerCount = Number(values.workers);

// Before anything is logged: a signal may come at any moment.
const stopped = Promise.withResolvers<string>();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stopped.resolve(signal));

/** Starts a Worker; gives what it says at its end. */
function start<Report>(
  module: string,
  order: unknown,
): { worker: Worker; report: Promise<Report> } {
  const worker = new Worker(new URL(module, import.meta.url), { type: "module" });
  const report = new Promise<Report>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Report>) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(`${module} failed: ${message}`));
  });
  worker.postMessage(order);
  return { worker, report };
}

/** The file may be there already: what is in it stays. */
const bytesBefore = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
const channel = mpsc(utf8, { capacity: 64 * 1024, maxSenders: workerCount });
const flusher = start<FlusherReport>(
  "./flusher.ts",
  { path, ticket: channel.receiverTicket() } satisfies FlusherOrder,
);
const tickets = Array.from({ length: workerCount }, () => channel.senderTicket());
const servers = tickets.map((ticket, index) =>
  start<ServerReport>(
    "./server.ts",
    { ticket, index, requests: Number(values.requests) } satisfies ServerOrder,
  )
);
console.log(`${workerCount} Workers log to ${path}`);

const served = Promise.all(servers.map(({ report }) => report));
const reason = await Promise.race([stopped.promise, served.then(() => "all requests are served")]);
// 1. The Workers finish the request in hand, log their last words and close their senders.
for (const { worker } of servers) worker.postMessage("stop");
if (await Promise.race([served, delay(stopLimitMs)]) === undefined) channel.close();
// 2. With the last sender gone the channel ends, and the flusher when everything is in the file.
const { bytes } = await flusher.report;
const reports = await served;

// 3. What is in the file is what the Workers say they logged.
const lines = readFileSync(path).subarray(bytesBefore).toString().split("\n").slice(0, -1);
const logged = new Array<number>(workerCount).fill(0);
for (const line of lines) {
  const { worker, number } = JSON.parse(line) as { worker: number; number: number };
  assert.equal(number, logged[worker], `a record of Worker ${worker} is missing or out of order`);
  logged[worker] = number + 1;
}
for (const [worker, report] of reports.entries()) {
  assert.equal(logged[worker], report.logged, `records of Worker ${worker} are missing`);
  console.log(`Worker ${worker} logged ${report.logged}`);
}
console.log(`${reason}: ${lines.length} records, ${bytes} bytes, nothing lost`);
if (directory !== undefined) rmSync(directory, { recursive: true });
process.exit(0);
