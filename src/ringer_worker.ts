/**
 * The bell ringer's Worker: it blocks in the native library until a native thread has something to
 * ring, and rings it. See docs/native.md.
 *
 * @module
 */

import { parentPort, workerData } from "node:worker_threads";
import { StructBytes } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { native } from "./native.ts";
import type { RingerPost } from "./ringer.ts";
import { setImmediate } from "./timers.ts";

/** Between two waits the event loop turns, or this Worker could not be terminated. */
const sliceUs = 1_000_000;

const { symbols } = native();
const ringer = workerData as number;
const bellsOf = new Map<number, Bells>();
let posts = 0;
let isScheduled = false;
const request = new Uint32Array(StructBytes.ringRequest / 4);

parentPort?.on("message", ({ registration, bells }: RingerPost) => {
  bellsOf.set(registration, new Bells(bells));
  posts++;
  ring();
});

/** Rings until there is a post to be read, or the event loop has to turn. */
function ring(): void {
  for (;;) {
    const answer = symbols.millrace_ringer_wait(ringer, posts, sliceUs, request);
    if (answer < 0) return end();
    const [registration = 0, bells = 0, index = 0, isGone, posted] = request;
    if (answer === 0) {
      if (posted === posts) scheduleRing();
      return;
    }
    if (isGone !== 1) {
      bellsOf.get(registration)?.ring(bells, index);
      continue;
    }
    bellsOf.delete(registration);
    if (symbols.millrace_ringer_close(ringer, 1) !== 0) return end();
  }
}

function scheduleRing(): void {
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(() => {
    isScheduled = false;
    ring();
  });
}

/** Whoever started this Worker terminates it. */
function end(): void {
  parentPort?.postMessage("ended");
}
