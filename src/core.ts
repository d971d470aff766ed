/**
 * The core this thread runs on, and whether it should be offered to somebody else before this
 * thread polls: to a thread it has just woken, or one it has lately shared the core with.
 *
 * @module
 */

import { native } from "./native.ts";
import { nowMs } from "./timers.ts";

/** A yield that took longer than this let somebody else run, */
const sharedLeastMs = 0.002;
/** and one that took longer than this let somebody run who is in no conversation. */
const sharedMostMs = 0.2;

let hasWoken = false;
let isShared = false;

/** To be called when this thread has woken another one. */
export function noteWake(): void {
  hasWoken = true;
}

/** Gives the core away, if somebody else wants it. */
export function yieldCore(): void {
  const startMs = nowMs();
  native().symbols.millrace_thread_yield();
  const tookMs = nowMs() - startMs;
  isShared = tookMs > sharedLeastMs && tookMs < sharedMostMs;
}

/**
 * Gives the core away if there is reason to think that whoever is to answer waits for it: the
 * kernel often wakes a thread on the core of its waker. Returns whether it did.
 */
export function yieldCoreIfShared(): boolean {
  if (!hasWoken && !isShared) return false;
  hasWoken = false;
  yieldCore();
  return true;
}
