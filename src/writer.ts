/**
 * The batching writer: a plain store a value, a native call a chunk.
 *
 * @module
 */

import { checkInteger } from "./check.ts";
import { MillraceError } from "./errors.ts";
import type { Endpoint } from "./endpoint.ts";
import type { FixedProducer, RecordProducer } from "./producer.ts";
import type { SenderWaiter } from "./sender_waiter.ts";
import { type CheckedLimits, limitsOf, type WaitLimits } from "./pending.ts";
import { queueMicrotask } from "./timers.ts";
import {
  checkStrategy,
  waitBlocking,
  type WaitOptions,
  type WaitStrategy,
} from "./wait_strategy.ts";

/** Options of {@linkcode Sender.writer}. */
export interface WriterOptions extends WaitOptions {
  /**
   * Values in a chunk: it is published when so many have been pushed. Default: a quarter of the
   * ring, 1024 at most.
   */
  readonly chunk?: number;
}

const chunkMax = 1024;

/**
 * Sends values in chunks. What was pushed is published when its chunk is full, at `flush()`, and at
 * the latest when the turn of the event loop ends.
 *
 * @typeParam Value What is sent.
 */
export class Writer<Value> implements Disposable {
  readonly #producer: FixedProducer<Value, unknown> | RecordProducer<Value>;
  readonly #endpoint: Endpoint;
  readonly #waiter: SenderWaiter;
  readonly #chunk: number;
  readonly #options: WaitOptions;
  readonly #wait: WaitStrategy;
  readonly #closedError: (...unsent: [value: unknown] | []) => MillraceError;
  readonly #admits: () => boolean;
  readonly #ready: (slots: number, limits: CheckedLimits | undefined) => Promise<void>;
  /** What the last refused value needs. */
  #slotsNeeded = 1;
  #isFlushScheduled = false;
  /** What the flush at the end of a turn met; thrown by the next call. */
  #failure: MillraceError | undefined;

  /** Made by the library: see {@linkcode Sender.writer}. */
  constructor(
    producer: FixedProducer<Value, unknown> | RecordProducer<Value>,
    endpoint: Endpoint,
    waiter: SenderWaiter,
    options: WriterOptions | undefined,
    wait: WaitStrategy,
    closedError: (...unsent: [value: unknown] | []) => MillraceError,
    admits: () => boolean,
    ready: (slots: number, limits: CheckedLimits | undefined) => Promise<void>,
  ) {
    const { chunk } = options ?? {};
    this.#producer = producer;
    this.#endpoint = endpoint;
    this.#waiter = waiter;
    this.#chunk = chunk === undefined
      ? Math.max(1, Math.min(chunkMax, endpoint.info.capacity >>> 2))
      : checkInteger("make a writer", "chunk", chunk, 1);
    this.#options = options ?? {};
    this.#wait = options?.wait === undefined ? wait : checkStrategy(options.wait);
    this.#closedError = closedError;
    this.#admits = admits;
    this.#ready = ready;
  }

  /**
   * Sends a value with its chunk, blocking this thread while the ring is full.
   *
   * @throws {ChannelClosedError} If the channel is closed; `value` is an array of what was pushed
   *   and not sent.
   * @throws {TimeoutError} If a `timeout` was given and the time is up; the value was not taken.
   * @throws {TypeError} If the value has the wrong type for the layout.
   * @throws {RangeError} If it is outside the layout's range, or longer than half the ring.
   */
  push(value: Value): void {
    if (!this.#producer.store(value)) this.#pushSlow(value);
  }

  /** The first and the last of a chunk, and what needs room or more than a store. */
  #pushSlow(value: Value): void {
    const producer = this.#producer;
    if (producer.pendingMessages === 0) this.#beginChunk();
    if (!this.#put(value)) this.#pushBlocking(value);
    this.#afterPut();
  }

  /** Puts a value, unless sends wait for room: what came first goes first. */
  #put(value: Value): boolean {
    return this.#admits() && this.#producer.put(value);
  }

  #afterPut(): void {
    if (this.#producer.pendingMessages >= this.#chunk) this.flush();
    else this.#producer.openChunk(this.#chunk);
  }

  /**
   * The same as `push()`, without blocking.
   *
   * @returns Whether there was room for the value. If not, `await writer.ready()`.
   */
  tryPush(value: Value): boolean {
    const producer = this.#producer;
    if (producer.store(value)) return true;
    if (producer.pendingMessages === 0) this.#beginChunk();
    if (!this.#put(value)) {
      this.#slotsNeeded = producer.slotsNeeded;
      this.flush();
      return false;
    }
    this.#afterPut();
    return true;
  }

  #beginChunk(): void {
    if (this.#failure !== undefined) {
      const failure = this.#failure;
      this.#failure = undefined;
      throw failure;
    }
    if (this.#endpoint.handle === 0) throw this.#closedError();
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    queueMicrotask(() => {
      this.#isFlushScheduled = false;
      if (this.#endpoint.handle === 0) return;
      try {
        this.flush();
      } catch (error) {
        if (!(error instanceof MillraceError)) throw error;
        this.#failure = error;
      }
    });
  }

  #pushBlocking(value: Value): void {
    waitBlocking(this.#options, this.#wait, "push", () => {
      // put() has published what was pushed before, or could not because the channel is closed.
      if (this.#put(value)) return true;
      if (!this.#producer.publish() || this.#isClosed()) {
        const unsent = [...Array.from(this.#producer.pendingValues()), value];
        this.#producer.discard();
        throw this.#closedError(unsent);
      }
      return false;
    }, (strategy, timeoutUs) => {
      this.#producer.waitNative(strategy, timeoutUs);
      this.#waiter.resume();
    });
  }

  #isClosed(): boolean {
    const { handle, symbols } = this.#endpoint;
    return handle === 0 || symbols.millrace_endpoint_close_state(handle) !== 0;
  }

  /**
   * Publishes what was pushed.
   *
   * @throws {ChannelClosedError} If the channel is closed; `value` is an array of what was pushed
   *   and not sent.
   */
  flush(): void {
    if (this.#failure !== undefined) {
      const failure = this.#failure;
      this.#failure = undefined;
      throw failure;
    }
    const producer = this.#producer;
    if (producer.publish()) return;
    const unsent = producer.pendingValues();
    producer.discard();
    throw this.#closedError(unsent);
  }

  /**
   * Resolves when there is room for a value; after a `tryPush()` that had none, for that value.
   *
   * @throws {ChannelClosedError} If the channel is or becomes closed.
   */
  ready(options?: WaitLimits): Promise<void> {
    try {
      return this.#ready(this.#slotsNeeded, limitsOf("wait for room", options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Publishes what was pushed; the sender stays open. Throws as `flush()` does. */
  [Symbol.dispose](): void {
    if (this.#endpoint.handle !== 0) this.flush();
  }
}
