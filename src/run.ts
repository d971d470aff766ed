/**
 * The managed event loop: a receiver consumed on the runtime's own event loop.
 *
 * @module
 */

import { checkDuration, checkFunction, checkInteger } from "./check.ts";
import type { Consumer } from "./consumer.ts";
import { ended } from "./consumer.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ChannelClosedError } from "./errors.ts";
import { Pace } from "./pace.ts";
import {
  type CheckedLimits,
  limitsOf,
  PendingPromise,
  PendingQueue,
  type WaitLimits,
} from "./pending.ts";
import type { BatchOf } from "./layout.ts";
import { signalOf } from "./signal.ts";
import { hold, letGo, turnMsDefault } from "./turn.ts";
import { nowMs, setImmediate } from "./timers.ts";

/** Called with a value or a batch. If it gives a promise, the next call waits for that. */
export type RunHandler<Message> = (message: Message) => void | PromiseLike<void>;

/** Options of {@linkcode Receiver.run}. */
export interface RunOptions {
  /** Hand out batches of up to so many values, instead of single values. */
  readonly batch?: number;
  /** How long, in milliseconds, one turn of the event loop may last; 2 unless given. */
  readonly budget?: number;
  /** Stops the loop at once, without draining; `finished` rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** How the loop ended. */
export interface RunSummary {
  /** Values handed out. */
  readonly messages: number;
  /** Why: the channel was closed and is drained, or `stop()` was called. */
  readonly state: "closed" | "stopped";
}

/** What a loop needs of its receiver. */
export interface RunSource<Value, Batch> {
  readonly consumer: Consumer<Value, Batch | Value[]>;
  readonly endpoint: Endpoint;
  /** How many messages to claim at once, where receivers share the rings. */
  readonly claim: number;
  /** Claims up to so many messages: true when there is something, false when the channel has ended. */
  readonly ready: (claim: number, signal: AbortSignal) => Promise<boolean>;
  /** What the channel ended with, if that was no clean end. */
  readonly failure: () => ChannelClosedError | undefined;
  readonly finished: () => void;
  readonly ended: () => void;
}

/** The most messages between two looks at the clock, which costs as much as a small message. */
const messagesBetweenLooksMax = 32;

/**
 * A running loop.
 *
 * @typeParam Value What is received.
 * @typeParam Batch What a batch of values is received as.
 */
export class Run<Value, Batch = BatchOf<Value>> implements AsyncDisposable {
  /**
   * Resolves when the loop has ended: the channel is closed and drained, or the loop was stopped.
   * Rejects with what the handler threw, with `ChannelClosedError` if the channel was closed with a
   * reason, which is its `cause`, or with the reason of the signal. What the handler threw is an unhandled rejection, as of any promise, if nobody
   * awaits or catches this one, or called `stop()` before, or holds the loop by `await using`.
   */
  readonly finished: Promise<RunSummary>;
  readonly #source: RunSource<Value, Batch>;
  /** Said to take anything: else a receiver of one batch type were no receiver of a wider one. */
  readonly #handle: RunHandler<unknown>;
  readonly #batch: number | undefined;
  readonly #budgetMs: number;
  readonly #pace: Pace;
  readonly #signal: AbortSignal | undefined;
  readonly #stopWaiting = new AbortController();
  #messages = 0;
  #calls = 0;
  #turns = 0;
  #isStopping = false;
  #isAborted = false;
  /** It was aborted, or has to stop at the end of a claim: what comes between two looks at the clock counts. */
  #isWatchful = false;
  /** Inside the handler, a stop() that waited for the loop would wait for itself. */
  #isDone = false;

  /** Made by the library: see {@linkcode Receiver.run}. */
  constructor(
    source: RunSource<Value, Batch>,
    handle: RunHandler<Value | Batch>,
    options: RunOptions,
  ) {
    const { batch, budget = turnMsDefault } = options;
    const signal = signalOf("run", options);
    checkFunction("run", "the handler", handle);
    checkDuration("run", "budget", budget, "milliseconds", "more than 0");
    this.#batch = batch === undefined ? undefined : checkInteger("run", "batch", batch, 1);
    this.#source = source;
    this.#handle = handle as RunHandler<unknown>;
    this.#budgetMs = budget;
    this.#pace = new Pace(budget, messagesBetweenLooksMax);
    this.#signal = signal;
    this.finished = this.#loop();
  }

  /** Values handed out so far. */
  get messages(): number {
    return this.#messages;
  }

  /** Calls of the handler so far: fewer than values when they come in batches. */
  get calls(): number {
    return this.#calls;
  }

  /** Turns of the event loop used so far. */
  get turns(): number {
    return this.#turns;
  }

  /**
   * Stops the loop after everything that has been sent by now is handled (and perhaps some of what
   * is sent meanwhile); where receivers share the channel, after what this one has claimed is handled,
   * for the rest is anybody's. The receiver stays open.
   *
   * @param options How long to wait for that at most. When the time is up, or the signal aborts, only the
   *   wait is given up: the loop stops as soon as it can. (The signal of `run()` stops it at once.)
   * @returns A promise that resolves then, and rejects as `finished` does. Inside the handler do not
   *   await it: the loop would wait for itself.
   * @throws {TimeoutError} If the time is up.
   * @throws The signal's reason, if it aborts.
   */
  async stop(options?: WaitLimits): Promise<void> {
    const limits = limitsOf("stop the loop", options);
    if (!this.#isStopping && !this.#isDone) {
      const { endpoint } = this.#source;
      if (endpoint.handle !== 0) endpoint.symbols.millrace_receiver_mark(endpoint.handle);
      this.#isStopping = true;
      // Where receivers share the channel, this one is done with its own at the end of a claim.
      if (this.#source.consumer.isShared) this.#isWatchful = true;
      this.#stopWaiting.abort(stopped);
    }
    await (limits === undefined ? this.finished : waitFor(this.finished, limits));
  }

  /** The same as {@linkcode Run.stop}. */
  get [Symbol.asyncDispose](): () => Promise<void> {
    // `await using` reads this where it stands, and tells at the end of its block how the loop ended.
    this.#finishQuietly();
    return () => this.stop();
  }

  /** Somebody will be told otherwise, or knows: nobody must look at `finished`. */
  #finishQuietly(): void {
    this.finished.catch(() => {});
  }

  async #loop(): Promise<RunSummary> {
    const { consumer, endpoint, ended: tellEnd, failure, finished } = this.#source;
    // run() returns before the first value is handed out, or anything has failed.
    await Promise.resolve();
    try {
      const signal = this.#signal;
      signal?.throwIfAborted();
      const onAbort = () => {
        this.#isAborted = this.#isWatchful = true;
        this.#stopWaiting.abort(signal?.reason);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        while (true) {
          signal?.throwIfAborted();
          if (endpoint.handle === 0) return this.#summary("closed");
          const there = await this.#turn();
          if (endpoint.handle === 0) return this.#summary("closed");
          if (there === ended) {
            tellEnd();
            const error = failure();
            if (error === undefined) return this.#summary("closed");
            this.#finishQuietly();
            throw error;
          }
          if (this.#isStopping && this.#hasReachedMark()) return this.#summary("stopped");
          if (there > 0) await nextTurn();
          else if (!(await this.#wait())) continue; // the next turn finds the end
        }
      } finally {
        signal?.removeEventListener("abort", onAbort);
      }
    } catch (error) {
      if (this.#signal?.aborted && error === this.#signal.reason) this.#finishQuietly();
      throw error;
    } finally {
      this.#isDone = true;
      // What was claimed and not handed out, another receiver can have.
      if (endpoint.handle !== 0) consumer.offer();
      finished();
    }
  }

  get #claim(): number {
    return this.#batch ?? this.#source.claim;
  }

  #summary(state: RunSummary["state"]): RunSummary {
    return { messages: this.#messages, state };
  }

  #hasReachedMark(): boolean {
    const { consumer, endpoint } = this.#source;
    consumer.settle();
    return endpoint.symbols.millrace_receiver_reached_mark(endpoint.handle) === 1;
  }

  async #wait(): Promise<boolean> {
    if (this.#isStopping) {
      await nextTurn();
      return true;
    }
    try {
      return await this.#source.ready(this.#claim, this.#stopWaiting.signal);
    } catch (error) {
      // Stopped, or the receiver was closed: the loop looks which.
      if (error === stopped || this.#source.endpoint.handle === 0) return true;
      throw error;
    }
  }

  #mustLook(): boolean {
    return this.#isAborted || this.#source.consumer.isAtEnd;
  }

  /** Hands out what is there until the budget is spent. Returns what the last look found. */
  async #turn(): Promise<number> {
    const { consumer, endpoint } = this.#source;
    const batch = this.#batch;
    const claim = this.#claim;
    const { isShared } = consumer;
    const pace = this.#pace;
    const start = nowMs();
    const until = start + this.#budgetMs;
    this.#turns++;
    let there: number;
    let countdown = pace.begin(start);
    hold(consumer); // The handler may block.
    try {
      while ((there = consumer.poll(claim)) > 0) {
        let message: Value | Batch;
        if (batch === undefined) {
          message = consumer.take();
          this.#messages++;
        } else {
          const taken = consumer.takeToHandle(batch) as Batch & ArrayLike<Value>;
          this.#messages += taken.length;
          countdown = 0;
          message = taken;
        }
        this.#calls++;
        const handled = this.#handle(message);
        if (handled !== undefined && typeof handled?.then === "function") {
          // The sender may have the room while the handler is at work; but where another receiver
          // takes over what a dead one had in hand, it keeps that in hand.
          if (!consumer.isShared) consumer.settle();
          await handled;
          if (consumer.isShared) consumer.settle();
          hold(consumer);
          countdown = 0;
        } else {
          consumer.settleSoon();
          if (isShared) consumer.markHandled();
        }
        if (endpoint.handle === 0) break;
        if (--countdown > 0 && !(this.#isWatchful && this.#mustLook())) continue;
        if (this.#isAborted || this.#signal?.aborted) break;
        if (this.#isStopping && this.#hasReachedMark()) break;
        const now = nowMs();
        if (now >= until) break;
        // Not 0: it looked before its time, and does not know how long a step takes.
        countdown = countdown !== 0 ? pace.begin(now) : pace.next(now);
      }
    } finally {
      if (endpoint.handle !== 0) consumer.settle();
      letGo(consumer);
    }
    return there;
  }
}

const stopped = Symbol("stopped");

/** Waits for a promise within limits. */
function waitFor(finished: Promise<unknown>, limits: CheckedLimits): Promise<void> {
  const waits = new PendingQueue<PendingPromise<void>>(() => {});
  const wait = new PendingPromise<void>();
  waits.push(wait, limits);
  // The loop keeps the process alive only while it waits for values; a handler need not.
  wait.timer?.ref();
  finished.then(() => {
    if (waits.remove(wait)) wait.resolve();
  }, (error) => {
    if (waits.remove(wait)) wait.reject(error);
  });
  return wait.promise;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
