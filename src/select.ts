/**
 * Waiting for the first of several: receivers of any kinds, a point in time, a signal.
 *
 * @module
 */

import { checkBoolean, checkDuration, checkOptions, wrongType } from "./check.ts";
import { type ChannelClosedError, TimeoutError } from "./errors.ts";
import { native } from "./native.ts";
import { type CheckedLimits, limitsOf, type WaitLimits } from "./pending.ts";
import { Receiver, selecting } from "./receiver.ts";
import { clearTimeout, nowMs, setImmediate, setTimeout, type Timer } from "./timers.ts";
import { Answers } from "./turn.ts";
import { waitBlocking, type WaitOptions } from "./wait_strategy.ts";

/** A point in time that can be waited for: see {@linkcode after}. */
export class Deadline {
  /** When it is, in milliseconds of the library's clock. */
  readonly #atMs: number;

  /** Made by the library: see {@linkcode after}. */
  constructor(milliseconds: number) {
    this.#atMs = nowMs() + milliseconds;
  }

  /** How many milliseconds are left; 0 once it has passed. */
  get left(): number {
    return Math.max(0, this.#atMs - nowMs());
  }
}

/**
 * The moment in so many milliseconds, as something to select. It is counted from this call, and stays
 * passed: one deadline can bound many calls of {@linkcode select}.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { after, mpsc, select, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { capacity: 8 });
 * const deadline = after(5);
 * const { state, source } = await select([channel.receiver(), deadline]);
 * assert(state === "elapsed" && source === deadline && deadline.left === 0);
 * ```
 *
 * @throws {TypeError} If `milliseconds` is not a number.
 * @throws {RangeError} If it is negative or NaN.
 */
export function after(milliseconds: number): Deadline {
  return new Deadline(checkDuration("make a deadline", "it", milliseconds, "milliseconds"));
}

/** A receiver of any layout. */
type AnyReceiver = Receiver<unknown, unknown>;

/**
 * What can be selected: a receiver, a {@linkcode Deadline} or an `AbortSignal`. `undefined` is never
 * selected: it keeps the place of a source that is switched off.
 */
// deno-lint-ignore no-explicit-any
export type Selectable = Receiver<any, any> | Deadline | AbortSignal | undefined;

/** What was selected, of one source: told apart by `source`, `index` or `state`. */
export type SelectedOf<Source, Index extends number = number> = Source extends
  Receiver<infer Value, infer _> ?
    | {
      /** A value was received. */
      readonly state: "ok";
      /** What was selected. */
      readonly source: Source;
      /** Its place in the list. */
      readonly index: Index;
      /** The value. */
      readonly value: Value;
    }
    | {
      /** The channel is closed, and drained. */
      readonly state: "closed";
      /** What was selected. */
      readonly source: Source;
      /** Its place in the list. */
      readonly index: Index;
      /** What it was closed with, if that was no clean end; its `cause` is the reason. */
      readonly error: ChannelClosedError | undefined;
    }
  : Source extends Deadline ? {
      /** The time has come. */
      readonly state: "elapsed";
      /** What was selected. */
      readonly source: Source;
      /** Its place in the list. */
      readonly index: Index;
    }
  : Source extends AbortSignal ? {
      /** The signal is aborted. */
      readonly state: "aborted";
      /** What was selected. */
      readonly source: Source;
      /** Its place in the list. */
      readonly index: Index;
      /** The signal's reason. */
      readonly reason: unknown;
    }
  : never;

/** What was selected, of several sources. */
export type Selected<Sources extends readonly Selectable[]> = {
  [Index in keyof Sources]: SelectedOf<
    Sources[Index],
    Index extends `${infer Place extends number}` ? Place : number
  >;
}[number];

/** Options of {@linkcode select}. */
export interface SelectOptions extends WaitLimits {
  /**
   * Of several sources that are ready, take the first in the list, instead of one by chance: the list is
   * then an order of priority. False unless given: by chance, no source is starved.
   */
  readonly biased?: boolean;
}

/** Options of {@linkcode selectSync}. */
export interface SelectSyncOptions extends WaitOptions {
  /** As of {@linkcode SelectOptions}. */
  readonly biased?: boolean;
}

/** The sources of one call, checked. */
class Sources {
  readonly #all: readonly Selectable[];
  /** The places of those that can be selected, in the order they are looked at. */
  readonly #order: number[] = [];
  readonly #isBiased: boolean;
  readonly receivers = new Set<AnyReceiver>();
  readonly deadlines: Deadline[] = [];
  readonly signals: AbortSignal[] = [];

  constructor(action: string, sources: readonly Selectable[], biased: unknown) {
    if (!Array.isArray(sources)) {
      throw wrongType(action, "the sources", "an array", sources);
    }
    this.#all = sources;
    this.#isBiased = checkBoolean(action, "biased", biased);
    sources.forEach((source: Selectable, index) => {
      if (source === undefined) return;
      this.#order.push(index);
      if (source instanceof Receiver) this.receivers.add(source);
      else if (source instanceof Deadline) this.deadlines.push(source);
      else if (isSignal(source)) this.signals.push(source);
      else {
        throw wrongType(action, `source ${index}`, "a receiver, a deadline or a signal", source);
      }
    });
    if (this.#order.length === 0) {
      throw new TypeError(
        `Cannot ${action}: there is nothing to wait for; name a receiver, a deadline or a signal`,
      );
    }
  }

  /** Takes from the first that is ready. Undefined: none is. */
  take(): SelectedOf<Selectable> | undefined {
    if (!this.#isBiased) shuffle(this.#order);
    for (const index of this.#order) {
      const source = this.#all[index];
      if (source instanceof Receiver) {
        const result = source.tryReceive();
        if (result.state === "ok") return { state: "ok", source, index, value: result.value };
        if (result.state === "empty") continue;
        return { state: "closed", source, index, error: source[selecting]().failure() };
      }
      if (source instanceof Deadline) {
        if (source.left === 0) return { state: "elapsed", source, index };
      } else if (source?.aborted) {
        return { state: "aborted", source, index, reason: source.reason };
      }
    }
    return undefined;
  }

  /** How long until the first deadline, in milliseconds. */
  get leftMs(): number {
    return Math.min(Infinity, ...this.deadlines.map(({ left }) => left));
  }
}

function isSignal(source: object): source is AbortSignal {
  const { aborted, addEventListener } = source as Partial<AbortSignal>;
  return typeof aborted === "boolean" && typeof addEventListener === "function";
}

/** Fisher and Yates: every order is as likely. */
function shuffle(order: number[]): void {
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [order[last], order[other]] = [order[other] as number, order[last] as number];
  }
}

/** Of selects that were answered at once. */
const answers = new Answers();

/**
 * Waits for the first of several sources, and takes from just that one: a value of a receiver (of any kind
 * and layout), the end of a channel, a {@linkcode Deadline}, or an `AbortSignal`. Nothing is withheld from
 * anyone by the others: where receivers share a channel, what this call does not take another receiver can
 * have. After the `select!` of crossbeam-channel and tokio.
 *
 * A channel that has ended is ready for ever, with the state `"closed"`: leave it out of the next call, or
 * put `undefined` in its place. Receives that wait already on one of the receivers come first.
 *
 * @example Several channels, a deadline, and a signal
 * ```ts
 * import assert from "node:assert/strict";
 * import { after, mpsc, select, u32, utf8 } from "millrace";
 *
 * using numbers = mpsc(u32, { capacity: 8 });
 * using texts = mpsc(utf8);
 * const [a, b] = [numbers.receiver(), texts.receiver()];
 * texts.sender().trySend("water");
 * const stop = new AbortController();
 *
 * const chosen = await select([a, b, after(1000), stop.signal]);
 * assert(chosen.source === b && chosen.state === "ok" && chosen.value === "water");
 * ```
 *
 * @example Lanes of priority
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, select, u32 } from "millrace";
 *
 * using urgent = mpsc(u32, { capacity: 8 });
 * using normal = mpsc(u32, { capacity: 8 });
 * const lanes = [urgent.receiver(), normal.receiver()] as const;
 * normal.sender().trySend(2);
 * urgent.sender().trySend(1);
 * for (const expected of [1, 2]) {
 *   const chosen = await select(lanes, { biased: true });
 *   assert(chosen.state === "ok" && chosen.value === expected);
 * }
 * ```
 *
 * @param sources What to wait for; one source may stand in it several times.
 * @returns What was selected, and the value or reason.
 * @throws {TypeError} If a source is none of these, there is none, or `run()` consumes a receiver.
 * @throws {ChannelClosedError} If a receiver is or was closed (`"ENDPOINT_CLOSED"`).
 * @throws {TimeoutError} If the time of the options is up.
 * @throws The reason of the signal of the options, if that aborts. What the layout of a message throws.
 */
export async function select<const All extends readonly Selectable[]>(
  sources: All,
  options: SelectOptions = {},
): Promise<Selected<All>> {
  const action = "select";
  const { biased = false } = checkOptions(action, options);
  const limits = limitsOf(action, options);
  const all = new Sources(action, sources, biased);
  const timeout = limits?.timeout === undefined ? undefined : after(limits.timeout);
  if (--answers.left < 0 && answers.areOver()) await nextTurn();
  while (true) {
    if (limits?.signal?.aborted) throw limits.signal.reason;
    const selected = all.take();
    if (selected !== undefined) return selected as Selected<All>;
    if (timeout?.left === 0) {
      throw new TimeoutError("TIMEOUT", `Cannot ${action}: waited ${limits?.timeout} ms`);
    }
    await waitForAny(all, timeout, limits);
  }
}

/** Resolves when one of the sources may be ready. Nothing is left behind by it. */
async function waitForAny(
  { receivers, deadlines, signals, leftMs }: Sources,
  timeout: Deadline | undefined,
  limits: CheckedLimits | undefined,
): Promise<void> {
  const over = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  const onAbort = () => resolve();
  const heard = limits?.signal === undefined ? signals : [...signals, limits.signal];
  let timer: Timer | undefined;
  try {
    for (const signal of heard) signal.addEventListener("abort", onAbort);
    const left = Math.min(leftMs, timeout?.left ?? Infinity);
    if (left !== Infinity) timer = setTimeout(onAbort, Math.min(left, timerMsMost));
    // A receiver alone decides whether it keeps the process alive.
    if (deadlines.length === 0) timer?.unref();
    const looks = Array.from(receivers, (receiver) => receiver.ready({ signal: over.signal }));
    await Promise.race([promise, ...looks]);
  } finally {
    over.abort();
    if (timer !== undefined) clearTimeout(timer);
    for (const signal of heard) signal.removeEventListener("abort", onAbort);
  }
}

const timerMsMost = 2 ** 31 - 1;

function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** The most receivers of a {@linkcode selectSync}. */
const receiversMost = 64;

/**
 * The same as {@linkcode select}, blocking this thread. For Workers: it stops the event loop. The thread
 * sleeps on all channels at once (before Linux 5.16 it looks every millisecond).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { after, mpsc, selectSync, u32 } from "millrace";
 *
 * using a = mpsc(u32, { capacity: 8 });
 * using b = mpsc(u32, { capacity: 8 });
 * const receivers = [a.receiver(), b.receiver()] as const;
 * b.sender().trySend(7);
 * const chosen = selectSync(receivers);
 * assert(chosen.index === 1 && chosen.state === "ok" && chosen.value === 7);
 * assert(selectSync([...receivers, after(5)]).state === "elapsed");
 * ```
 *
 * @param sources Receivers, 64 at most, and deadlines.
 * @throws {TypeError} As {@linkcode select}; and for a signal, which cannot abort while its thread is
 *   blocked.
 * @throws {RangeError} If there are more than 64 receivers.
 * @throws {ChannelClosedError} If a receiver was closed (`"ENDPOINT_CLOSED"`).
 * @throws {TimeoutError} If the time of the options is up.
 * @throws {DeadlockError} If there is nothing and no deadline, and every sender of every receiver is in
 *   this very thread.
 */
export function selectSync<const All extends readonly Selectable[]>(
  sources: All,
  options: SelectSyncOptions = {},
): Selected<All> {
  const action = "select";
  const { biased = false } = checkOptions(action, options);
  const all = new Sources(action, sources, biased);
  if (all.signals.length > 0) {
    throw new TypeError(
      `Cannot ${action}: a signal cannot abort while its thread is blocked; use select(), or a deadline`,
    );
  }
  const receivers = [...all.receivers];
  if (receivers.length > receiversMost) {
    throw new RangeError(
      `Cannot ${action}: at most ${receiversMost} receivers can be waited for, received ${receivers.length}`,
    );
  }
  let selected: SelectedOf<Selectable> | undefined;
  waitBlocking(
    options,
    "phased",
    action,
    () => (selected = all.take()) !== undefined,
    (strategy, timeoutUs) =>
      waitNatively(receivers, strategy, Math.min(timeoutUs, all.leftMs * 1000)),
    () => {
      const canEnd = all.leftMs !== Infinity ||
        receivers.some((receiver) => !receiver[selecting]().endpoint.isAlone());
      return canEnd
        ? undefined
        : "there is nothing, and nobody but this very thread, which would block, can send; " +
          "use await select(), or send from a Worker";
    },
  );
  return selected as Selected<All>;
}

function waitNatively(
  receivers: readonly AnyReceiver[],
  strategy: number,
  timeoutUs: number,
): void {
  const { symbols } = native();
  const us = Math.ceil(timeoutUs);
  if (receivers.length === 0) {
    // Deadlines alone.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, us / 1000);
    return;
  }
  const waits = receivers.map((receiver) => receiver[selecting]());
  const handles = Uint32Array.from(waits, ({ endpoint }) => endpoint.handle);
  const bells = new Uint32Array(handles.length);
  symbols.millrace_receivers_wait(handles, bells, handles.length, strategy, us);
  waits.forEach(({ endpoint, resume }, index) => {
    const ring = bells[index] as number;
    if (ring !== 0) endpoint.bells.ring(ring, 0);
    resume();
  });
}
