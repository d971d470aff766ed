/**
 * The runtime's timers and clock, as they were when this module was loaded. A program's tests may put
 * others in their place, which stand still until told to go on: no wait of this library may depend on
 * those.
 *
 * @module
 */

import { native } from "./native.ts";

/** A timer that was started: whether it keeps the process alive can be changed. */
export interface Timer {
  ref(): unknown;
  unref(): unknown;
}

type Start = (callback: () => void, milliseconds?: number) => Timer;
type Stop = (timer: unknown) => void;
type Turn = (callback: () => void) => Timer;

/** What the global scope of a runtime is asked for. */
interface Host {
  readonly setTimeout: Start;
  readonly clearTimeout: Stop;
  readonly setInterval: Start;
  readonly clearInterval: Stop;
  readonly queueMicrotask: (callback: () => void) => void;
  readonly Deno?: unknown;
}

const host = globalThis as unknown as Host;
const startTimeout = host.setTimeout;
const stopTimeout = host.clearTimeout;
const startInterval = host.setInterval;
const stopInterval = host.clearInterval;
const turn = keep<Turn>("setImmediate");
const stopTurn = keep<Stop>("clearImmediate");

/** Runs `callback` when the present task is done. */
export const queueMicrotask: (callback: () => void) => void = host.queueMicrotask.bind(globalThis);

/**
 * What the global scope has under this name now. Deno loads `setImmediate` when it is first read, in
 * some milliseconds: what loads it is kept, and called when it is first needed.
 */
function keep<Kept>(name: "setImmediate" | "clearImmediate"): () => Kept {
  const property = Object.getOwnPropertyDescriptor(globalThis, name);
  if (property?.get === undefined) {
    const kept = property?.value as Kept;
    return () => kept;
  }
  let kept: Kept | undefined;
  return () => kept ??= property.get?.call(globalThis) as Kept;
}

/**
 * Whether the runtime's timers, also those that were kept, are held by fake ones: Bun's stop the timers
 * themselves, and mark the function as fake timers do that take its place.
 */
function areHeld(): boolean {
  return Object.hasOwn(startTimeout, "clock");
}

/** A timer for while the runtime's are held. It sleeps in `waitAsync`, and keeps no process alive. */
class SleptTimer implements Timer {
  readonly #word = new Int32Array(new SharedArrayBuffer(4));
  readonly #milliseconds: number;
  readonly #callback: () => void;
  readonly #repeats: boolean;
  #isStopped = false;

  constructor(callback: () => void, milliseconds: number, repeats: boolean) {
    this.#callback = callback;
    this.#milliseconds = Math.max(1, milliseconds);
    this.#repeats = repeats;
    this.#sleep();
  }

  #sleep(): void {
    const slept = Atomics.waitAsync(this.#word, 0, 0, this.#milliseconds);
    // It is pending: the word is 0, and the time not.
    Promise.resolve(slept.value).then(() => {
      if (this.#isStopped) return;
      if (this.#repeats) this.#sleep();
      this.#callback();
    });
  }

  stop(): void {
    this.#isStopped = true;
    Atomics.notify(this.#word, 0);
  }

  ref(): void {}

  unref(): void {}
}

/**
 * The time, in milliseconds since some moment: it never goes back. The native library reads the clock: in
 * Bun the fake timers of its tests stop every clock of JavaScript, also one that was kept.
 */
export function nowMs(): number {
  return native().symbols.millrace_now_ms();
}

/** Calls `callback` once, after so many milliseconds. */
export function setTimeout(callback: () => void, milliseconds: number): Timer {
  if (areHeld()) return new SleptTimer(callback, milliseconds, false);
  return startTimeout.call(globalThis, callback, milliseconds);
}

/** Stops a timer of {@linkcode setTimeout}, if it is one. */
export function clearTimeout(timer: Timer | undefined): void {
  if (timer instanceof SleptTimer) timer.stop();
  else stopTimeout.call(globalThis, timer);
}

/** Calls `callback` every so many milliseconds. */
export function setInterval(callback: () => void, milliseconds: number): Timer {
  if (areHeld()) return new SleptTimer(callback, milliseconds, true);
  return startInterval.call(globalThis, callback, milliseconds);
}

/** Stops a timer of {@linkcode setInterval}, if it is one. */
export function clearInterval(timer: Timer | undefined): void {
  if (timer instanceof SleptTimer) timer.stop();
  else stopInterval.call(globalThis, timer);
}

/**
 * Whether what was passed to {@linkcode setImmediate} is called also when it is unref'd and nothing else
 * turns the loop, as long as something keeps the process alive. In Deno (2.8, 2.9) it is not: an
 * unref'd wait must not poll by it. An unref'd timeout is called in both.
 */
export const callsUnrefdImmediates: boolean = host.Deno === undefined;

/** Calls `callback` in the next turn of the event loop. */
export function setImmediate(callback: () => void): Timer {
  return turn()(callback);
}

/** Stops a timer of {@linkcode setImmediate}, if it is one. */
export function clearImmediate(timer: Timer | undefined): void {
  stopTurn()(timer);
}
