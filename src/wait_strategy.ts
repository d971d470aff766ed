/**
 * Blocking waits: a thread sleeps in the native library, in slices, so that a Worker can be
 * terminated while it waits.
 *
 * @module
 */

import { DeadlockError, TimeoutError } from "./errors.ts";
import { checkName, checkTimeout } from "./check.ts";
import { nowMs } from "./timers.ts";
import { settleHeld } from "./turn.ts";

/**
 * How a blocking call waits.
 *
 * - `"spin"`: never leaves the core; the quickest, for a core of one's own.
 * - `"yield"`: gives the core away between looks.
 * - `"sleep"`: sleeps 50 µs between looks.
 * - `"block"`: sleeps in the kernel until woken; no CPU while idle.
 * - `"timed"`: `"block"` with a deadline; needs a `timeout`.
 * - `"phased"`: spins, then yields, then blocks: the default.
 *
 * After the wait strategies of the LMAX Disruptor.
 */
export type WaitStrategy = "spin" | "yield" | "sleep" | "block" | "timed" | "phased";

/** Options of the blocking calls. */
export interface WaitOptions {
  /** How to wait; the channel's `wait` unless given. */
  readonly wait?: WaitStrategy;
  /** How long to wait at most, in milliseconds; forever unless given. */
  readonly timeout?: number;
}

const strategies: readonly WaitStrategy[] = ["spin", "yield", "sleep", "block", "timed", "phased"];

/** Checks the name of a strategy. */
export function checkStrategy(wait: unknown): WaitStrategy {
  return checkName("wait", "wait", wait, strategies);
}

/** A slice of a blocking wait: between two, a terminated Worker can end. */
const sliceUs = 200_000;

/**
 * The first slice: whether the wait can end at all is asked when it has lasted so long, and not for every
 * short one. A timeout that is no longer just ends the wait.
 */
const firstSliceUs = 1000;

/**
 * Calls `attempt` until it is true, and `waitNative` (strategy, microseconds) between attempts. `blocked`
 * says why nothing but this thread could end the wait, if that is so.
 *
 * @throws {TimeoutError} If the time is up. `action` completes "Cannot …".
 * @throws {DeadlockError} If the wait cannot end.
 */
export function waitBlocking(
  options: WaitOptions | undefined,
  defaultStrategy: WaitStrategy,
  action: string,
  attempt: () => boolean,
  waitNative: (strategy: number, timeoutUs: number) => void,
  blocked: () => string | undefined,
): void {
  const wait = options?.wait === undefined ? defaultStrategy : checkStrategy(options.wait);
  const timeout = checkTimeout(action, options?.timeout);
  if (wait === "timed" && timeout === undefined) {
    throw new TypeError(`Cannot ${action}: the wait strategy "timed" needs a timeout`);
  }
  if (attempt()) return;
  // What this thread waits for may need the room of what it has received.
  settleHeld();
  const strategy = strategies.indexOf(wait);
  const deadline = timeout === undefined ? Infinity : nowMs() + timeout;
  for (let mostUs = firstSliceUs;; mostUs = sliceUs) {
    const leftUs = (deadline - nowMs()) * 1000;
    if (leftUs <= 0) break;
    waitNative(strategy, Math.ceil(Math.min(leftUs, mostUs)));
    if (attempt()) return;
    const why = nowMs() < deadline ? blocked() : undefined;
    if (why === undefined) continue;
    // The last of the others may have done something before it went.
    if (attempt()) return;
    throw new DeadlockError("DEADLOCK", `Cannot ${action}: ${why}`);
  }
  throw new TimeoutError("TIMEOUT", `Cannot ${action}: waited ${timeout} ms`);
}
