/**
 * The batching writer: a plain store a value, a native call a chunk.
 *
 * @module
 */

import { checkInteger } from "./check.ts";
import { MillraceError } from "./errors.ts";
import type { Endpoint } from "./endpoint.ts";
import { limitsOf, type WaitLimits } from "./pending.ts";
import type { FixedProducer, Need, RecordProducer } from "./producer.ts";
import { type ClosedError, PendingRoom, type SendQueue } from "./send_queue.ts";
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
  readonly #queue: SendQueue<Value>;
  readonly #chunk: number;
  readonly #options: WaitOptions;
  readonly #wait: WaitStrategy;
  readonly #closedError: ClosedError;
  /** What the value needs that `tryPush()` had no room for last: the next `ready()` is for it. */
  #need: Need | undefined;
  /** Those that wait: of no use once a value was pushed. */
  readonly #readies = new Set<PendingRoom<Value>>();
  #isFlushScheduled = false;
  /** What the flush at the end of a turn met; thrown by the next call. */
  #failure: MillraceError | undefined;

  /** Made by the library: see {@linkcode Sender.writer}. */
  constructor(
    endpoint: Endpoint,
    queue: SendQueue<Value>,
    options: WriterOptions | undefined,
    wait: WaitStrategy,
    closedError: ClosedError,
  ) {
    const { chunk } = options ?? {};
    this.#producer = queue.producer;
    this.#endpoint = endpoint;
    this.#queue = queue;
    this.#chunk = chunk === undefined
      ? Math.max(1, Math.min(chunkMax, endpoint.info.capacity >>> 2))
      : checkInteger("make a writer", "chunk", chunk, 1);
    this.#options = options ?? {};
    this.#wait = options?.wait === undefined ? wait : checkStrategy(options.wait);
    this.#closedError = closedError;
  }

  /**
   * Sends a value with its chunk, blocking this thread while the ring is full.
   *
   * @throws {ChannelClosedError} If the channel is closed; `value` is an array of what was pushed
   *   and not sent.
   * @throws {TimeoutError} If a `timeout` was given and the time is up; the value was not taken.
   * @throws {DeadlockError} If there is no room, and every receiver is in this very thread; the value was
   *   not taken.
   * @throws {TypeError} If the value has the wrong type for the layout.
   * @throws {RangeError} If it is outside the layout's range, or longer than half the ring.
   */
  push(value: Value): void {
    if (!this.#producer.store(value)) this.#pushSlow(value);
  }

  /** The first and the last of a chunk, and what needs room or more than a store. */
  #pushSlow(value: Value): void {
    const producer = this.#producer;
    producer.checkNotWriting();
    if (producer.pendingMessages === 0) this.#beginChunk();
    if (!this.#put(value, this.#queue.admits())) this.#pushBlocking(value);
    this.#afterPut();
  }

  /** Puts a value, unless values wait for room: what came first goes first. */
  #put(value: Value, isAdmitted: boolean): boolean {
    if (isAdmitted) return this.#producer.put(value);
    this.#producer.check(value);
    return false;
  }

  #afterPut(): void {
    const producer = this.#producer;
    this.#need = undefined;
    if (this.#readies.size !== 0) {
      for (const ready of this.#readies) this.#queue.release(ready);
    }
    if (producer.pendingMessages >= this.#chunk) this.flush();
    // A plain store must not pass by what waits.
    else if (!this.#queue.hasValues) producer.openChunk(this.#chunk);
  }

  /**
   * The same as `push()`, without blocking.
   *
   * @returns Whether there was room for the value. If not, `await writer.ready()`.
   * @throws {TypeError} If the value has the wrong type for the layout, also when there is no room.
   * @throws {RangeError} If it is outside the layout's range, or longer than half the ring.
   */
  tryPush(value: Value): boolean {
    const producer = this.#producer;
    if (producer.store(value)) return true;
    producer.checkNotWriting();
    if (producer.pendingMessages === 0) this.#beginChunk();
    if (!this.#put(value, this.#queue.admits())) {
      this.#need = producer.need;
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
      if (this.#put(value, this.#queue.admitsBlocking())) return true;
      if (!this.#producer.publish() || this.#isClosed()) {
        const unsent = [...Array.from(this.#producer.pendingValues()), value];
        this.#producer.discard();
        throw this.#closedError(unsent);
      }
      return false;
    }, (strategy, timeoutUs) => {
      this.#producer.waitNative(strategy, timeoutUs);
      this.#queue.resume();
    }, () => this.#producer.blocked("tryPush() and await ready()"));
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
    this.#producer.checkNotWriting();
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
   * Resolves when there is room for a value; after a `tryPush()` that had none, for that value. It does not
   * wait for a value that the program has dropped: another one that was pushed ends the wait, and so does
   * `bytes`, which says how long the message is that is to be pushed next. Otherwise as
   * {@linkcode Sender.ready}.
   *
   * @throws {ChannelClosedError} If the channel is or becomes closed.
   * @throws {TimeoutError} If a `timeout` was given and the time is up.
   * @throws {RangeError} If a message cannot have so many bytes.
   */
  ready(options?: WaitLimits & { readonly bytes?: number }): Promise<void> {
    try {
      const limits = limitsOf("wait for room", options);
      const producer = this.#producer;
      producer.checkNotWriting();
      if (this.#endpoint.handle === 0) throw this.#closedError();
      const bytes = options?.bytes;
      const need = bytes === undefined
        ? this.#need ?? producer.needOf(0)
        : producer.needOf(checkInteger("wait for room", "bytes", bytes, 0));
      this.#need = undefined;
      const ready = new PendingRoom<Value>(need);
      const promise = this.#queue.run(ready, limits);
      if (ready.isPending) {
        this.#readies.add(ready);
        const forget = () => this.#readies.delete(ready);
        promise.then(forget, forget);
      }
      return promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Publishes what was pushed; the sender stays open. Throws as `flush()` does. */
  [Symbol.dispose](): void {
    if (this.#endpoint.handle !== 0) this.flush();
  }
}
