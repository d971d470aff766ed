/**
 * Waits that are pending on an event loop, in the order they came, each with its signal and its
 * timeout.
 *
 * @module
 */

import { checkTimeout } from "./check.ts";
import { TimeoutError } from "./errors.ts";
import { signalOf } from "./signal.ts";
import { clearTimeout, setTimeout, type Timer } from "./timers.ts";

/** What ends a wait early. */
export interface WaitLimits {
  /** Aborts the wait: it rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * How long to wait at most, in milliseconds, 0 or more; forever unless given. When the time is up the
   * wait rejects with {@linkcode TimeoutError}.
   */
  readonly timeout?: number;
}

/** Limits that have been checked, and what the wait is for. */
export interface CheckedLimits extends WaitLimits {
  /** Completes "Cannot …". */
  readonly action: string;
}

/**
 * Checks the limits in some options; `action` completes "Cannot …". Undefined: there are none.
 *
 * @throws {TypeError} If one has the wrong type.
 * @throws {RangeError} If the timeout is negative or NaN.
 * @throws The signal's reason, if it is already aborted.
 */
export function limitsOf(
  action: string,
  options: WaitLimits | undefined,
): CheckedLimits | undefined {
  if (options === undefined) return undefined;
  const signal = signalOf(action, options);
  const timeout = checkTimeout(action, options.timeout);
  if (signal?.aborted) throw signal.reason;
  if (signal === undefined && timeout === undefined) return undefined;
  return { action, signal, timeout };
}

/** One pending wait; it is in one queue at most. */
export abstract class PendingWait {
  /** @ignore The library's own: the queue it is in, and its neighbours there. */
  queue: PendingQueue<PendingWait> | undefined;
  /** @ignore The library's own. */
  previous: PendingWait | undefined;
  /** @ignore The library's own. */
  next: PendingWait | undefined;
  /** @ignore The library's own. */
  limits: CheckedLimits | undefined;
  /** @ignore The library's own. */
  timer: Timer | undefined;

  /** Ends the wait with an error. Called by the queue when the wait was aborted or its time is up. */
  abstract reject(reason: unknown): void;

  /** Whether it still waits: neither served nor given up. */
  get isPending(): boolean {
    return this.queue !== undefined;
  }
}

/** A pending wait that is a promise. */
export class PendingPromise<Value> extends PendingWait {
  /** Settles when the wait ends. */
  readonly promise: Promise<Value>;
  /** Ends the wait with a value; take it out of its queue first. */
  readonly resolve: (value: Value) => void;
  readonly #reject: (reason: unknown) => void;

  /** Makes the promise. */
  constructor() {
    super();
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    this.promise = promise;
    this.resolve = resolve;
    this.#reject = reject;
  }

  override reject(reason: unknown): void {
    this.#reject(reason);
  }
}

/**
 * The pending waits of one endpoint, first come first served.
 *
 * - Each step takes the same time however many wait: it is a doubly linked list. (`Array.shift()`
 *   moves the whole array in V8 once it is long.)
 * - A wait that was aborted or timed out leaves from wherever it stands.
 * - A wait costs its signal one listener at most, which is removed when the wait ends.
 *
 * @typeParam Wait What waits.
 */
export class PendingQueue<Wait extends PendingWait> {
  #first: PendingWait | undefined;
  #last: PendingWait | undefined;
  #length = 0;
  readonly #onGivenUp: (wasFirst: boolean, wait: Wait) => void;
  readonly #lastLook: () => void;

  /**
   * @param onGivenUp Called when a wait was aborted or timed out, after it has left the queue and
   *   before it is rejected; `wasFirst` says whether another wait is now the first, or none is.
   * @param lastLook Called when a time is up: serves what can be served. An event loop that was kept busy
   *   may have had no chance to look before.
   */
  constructor(
    onGivenUp: (wasFirst: boolean, wait: Wait) => void,
    lastLook: () => void = () => {},
  ) {
    this.#onGivenUp = onGivenUp;
    this.#lastLook = lastLook;
  }

  /** How many wait. */
  get length(): number {
    return this.#length;
  }

  /** The wait whose turn it is. */
  get first(): Wait | undefined {
    return this.#first as Wait | undefined;
  }

  /**
   * Puts a wait at the end.
   *
   * @throws The signal's reason, if it is aborted, or what it throws itself; then nothing waits.
   */
  push(wait: Wait, limits: CheckedLimits | undefined): void {
    // Before the wait is in the queue: if this throws, nothing must be waited for.
    if (limits !== undefined) limit(wait, limits);
    wait.queue = this as unknown as PendingQueue<PendingWait>;
    wait.previous = this.#last;
    if (this.#last === undefined) this.#first = wait;
    else this.#last.next = wait;
    this.#last = wait;
    this.#length++;
  }

  /** Takes a wait out, wherever it stands. False: it was not in this queue. */
  remove(wait: Wait): boolean {
    if (wait.queue !== this as unknown) return false;
    const { previous, next } = wait;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    wait.queue = wait.previous = wait.next = undefined;
    this.#length--;
    if (wait.limits !== undefined) unlimit(wait, wait.limits);
    return true;
  }

  /** Takes the first wait out. */
  shift(): Wait | undefined {
    const wait = this.first;
    if (wait !== undefined) this.remove(wait);
    return wait;
  }

  /** Takes all waits out, in their order. */
  takeAll(): Wait[] {
    const waits: Wait[] = [];
    for (let wait = this.shift(); wait !== undefined; wait = this.shift()) waits.push(wait);
    return waits;
  }

  /** @ignore The library's own: the time of a wait is up. */
  endTime(wait: Wait, error: TimeoutError): void {
    this.#lastLook();
    this.giveUp(wait, error);
  }

  /** @ignore The library's own: a wait was aborted, or its time is up. */
  giveUp(wait: Wait, reason: unknown): void {
    const wasFirst = this.#first === wait;
    if (!this.remove(wait)) return;
    this.#onGivenUp(wasFirst, wait);
    wait.reject(reason);
  }
}

/** The longest time a timer takes; what is longer is waited for in parts. */
const timerMsMax = 2 ** 31 - 1;

/**
 * The waits of each signal. They share one listener: an event target looks at every listener it has
 * when one is added.
 */
const waitsOfSignals = new WeakMap<AbortSignal, SignalWaits>();

interface SignalWaits {
  readonly waits: Set<PendingWait>;
  readonly onAbort: () => void;
}

function limit(wait: PendingWait, limits: CheckedLimits): void {
  const { action, signal, timeout = Infinity } = limits;
  if (signal !== undefined) listen(signal, wait);
  wait.limits = limits;
  if (timeout !== Infinity) startTimer(wait, action, timeout, timeout);
}

function unlimit(wait: PendingWait, { signal }: CheckedLimits): void {
  wait.limits = undefined;
  if (wait.timer !== undefined) clearTimeout(wait.timer);
  wait.timer = undefined;
  if (signal !== undefined) unlisten(signal, wait);
}

/** The wait itself keeps the process alive, if its endpoint does. Its timer never does. */
function startTimer(wait: PendingWait, action: string, totalMs: number, leftMs: number): void {
  const partMs = Math.min(leftMs, timerMsMax);
  wait.timer = setTimeout(() => {
    if (leftMs > partMs) return startTimer(wait, action, totalMs, leftMs - partMs);
    wait.queue?.endTime(
      wait,
      new TimeoutError("TIMEOUT", `Cannot ${action}: waited ${totalMs} ms`),
    );
  }, partMs);
  wait.timer.unref();
}

function listen(signal: AbortSignal, wait: PendingWait): void {
  const known = waitsOfSignals.get(signal);
  if (known !== undefined) return void known.waits.add(wait);
  const waits = new Set([wait]);
  const onAbort = () => {
    forget(signal, onAbort);
    for (const wait of waits) wait.queue?.giveUp(wait, signal.reason);
  };
  signal.addEventListener("abort", onAbort);
  // A signal of the program's own may be aborted by now, and will not say so again.
  if (signal.aborted) {
    signal.removeEventListener("abort", onAbort);
    throw signal.reason;
  }
  waitsOfSignals.set(signal, { waits, onAbort });
}

function unlisten(signal: AbortSignal, wait: PendingWait): void {
  const known = waitsOfSignals.get(signal);
  if (known?.waits.delete(wait) && known.waits.size === 0) forget(signal, known.onAbort);
}

function forget(signal: AbortSignal, onAbort: () => void): void {
  waitsOfSignals.delete(signal);
  signal.removeEventListener("abort", onAbort);
}
