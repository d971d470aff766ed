/**
 * The receiving endpoint of a channel.
 *
 * @module
 */

import { Role } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { recordSlotBytes, type WritableBatch } from "./codec.ts";
import { noteReceiver } from "./consumed.ts";
import { consumerOf, ended, type FixedConsumer, type RecordConsumer } from "./consumer.ts";
import { buildOn, Endpoint, openInfo } from "./endpoint.ts";
import { ChannelClosedError, TicketError } from "./errors.ts";
import { type EventFd, makeEventFd } from "./event_fd.ts";
import { check } from "./native.ts";
import { connect, type ConnectOptions } from "./connect.ts";
import type { ConnectPlace } from "./dial.ts";
import { describe } from "./describe.ts";
import { codecOf, type Layout } from "./layout.ts";
import { checkReceiverPlace, encodePlace, type NumaMode, type PlaceOptions } from "./numa.ts";
import type { PoolLink } from "./pool.ts";
import { closedError, encodeReason, failureOf } from "./reason.ts";
import { armBell } from "./ringer.ts";
import { Run, type RunHandler, type RunOptions } from "./run.ts";
import { readCounters } from "./statistics.ts";
import type { RoomSetter } from "./sender.ts";
import { signalOf } from "./signal.ts";
import { checkTicket, isConsistent, layoutOfTicket, type ReceiverTicket } from "./ticket.ts";
import { setImmediate } from "./timers.ts";
import { type PollBudget, Waiter, type WaitTarget } from "./waiter.ts";
import { waitBlocking, type WaitOptions, type WaitStrategy } from "./wait_strategy.ts";
import type { Window } from "./codec.ts";
import { checkFunction, checkInteger } from "./check.ts";

/** What {@linkcode Receiver.tryReceive} gives; the same as in `@std/async/channel`. */
export type ReceiveResult<Value> =
  | { readonly state: "ok"; readonly value: Value }
  | { readonly state: "empty" }
  | { readonly state: "closed" };

/** Options of the async receives. */
export interface ReceiveOptions {
  /** Aborts the wait: the promise rejects with the signal's reason, nothing is lost. */
  readonly signal?: AbortSignal;
}

interface PendingReceive<Value> {
  /** False: it waits until something can be received, and takes nothing. */
  readonly takes: boolean;
  /** How many messages it wants claimed, if not as many as every receive of this receiver. */
  readonly claim?: number;
  readonly resolve: (value: Value) => void;
  readonly reject: (reason: unknown) => void;
  /** Called instead of reject() when the channel ends. */
  readonly end: () => void;
  /**
   * Of an iteration, which has handled a value when it asks for the next one. It ends, too, when this
   * receiver is closed: nothing it was handed is missing.
   */
  readonly isIteration?: boolean;
}

const emptyResult: { readonly state: "empty" } = Object.freeze({ state: "empty" });
const closedResult: { readonly state: "closed" } = Object.freeze({ state: "closed" });

/** Opens a receiver over an endpoint; the library's own way in. */
export const makeReceiver = Symbol("makeReceiver");

/** Calls of tryReceive() in a row that find nothing before each pauses for a moment, */
const triesBeforePause = 2;
/** so many pause instructions: a few messages' time. */
const pauseHints = 32;

/** What `readable()` and `drain()` claim at a time, where receivers share the rings. */
const claimInPlace = 1024;
const claimToDrain = 64;

/** The most values of one batch of {@linkcode Receiver.batches}, unless told otherwise. */
const batchMax = 4096;

/**
 * Receives the values of a channel. It belongs to the thread that opened it: to receive in a Worker,
 * post it a ticket ({@linkcode Channel.receiverTicket}) and open that there.
 *
 * An mpsc or spsc channel has one receiver in its life; the receivers of an spmc or mpmc channel come
 * and go, and each value goes to one of them. When the last one closes the channel is closed, and its
 * senders get `ChannelClosedError`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { capacity: 8 });
 * const receiver = channel.receiver();
 * {
 *   using sender = channel.sender();
 *   sender.sendBatch([1, 2, 3]);
 * } // the last sender is gone: the channel ends once drained
 * let sum = 0;
 * for await (const value of receiver) sum += value;
 * assert(sum === 6);
 * ```
 *
 * @typeParam Value What is received.
 * @typeParam Batch What a batch of values is received as.
 */
export class Receiver<Value, Batch = Value[]>
  implements AsyncIterable<Value>, Disposable, AsyncDisposable {
  /**
   * A symbol, which `postMessage` refuses to clone, with this as its message: an endpoint cannot be
   * posted; post a ticket.
   */
  readonly confined: symbol = Symbol("a Receiver belongs to its thread: post a ticket");
  readonly #endpoint: Endpoint;
  readonly #consumer: FixedConsumer<Value, Batch> | RecordConsumer<Value>;
  readonly #wait: WaitStrategy;
  /** How many messages are claimed at once, where receivers share the rings. */
  readonly #claim: number;
  readonly #waiter: Waiter;
  readonly #pending: PendingReceive<Value>[] = [];
  /** Messages of the last `readable()` that can still be released, */
  #exposed = 0;
  /** if the consumer still stands there. */
  #exposedAt = 0;
  #hasEnded = false;
  /** Calls of tryReceive() in a row that found nothing. */
  #emptyTries = 0;
  #isSettleScheduled = false;
  #run: Run<Value, Batch> | undefined;
  #eventFd: EventFd | undefined;
  /** Iterations that have begun and neither ended nor been left. */
  #iterations = 0;
  /** Whether something receives from it, or will go on to. */
  readonly #isConsumed = (): boolean =>
    this.#run !== undefined || this.#iterations !== 0 || this.#pending.length !== 0;

  /** Made by the library: see {@linkcode Channel.receiver} and {@linkcode Receiver.open}. */
  private constructor(
    endpoint: Endpoint,
    layout: Layout<Value, Batch>,
    wait: WaitStrategy,
    pollBudget: PollBudget,
    claim: number,
    pool: PoolLink | undefined,
  ) {
    this.#endpoint = endpoint;
    this.#claim = claim;
    noteReceiver(endpoint, this.#isConsumed);
    this.#consumer = consumerOf(endpoint, codecOf(layout), pool);
    this.#wait = wait;
    const target: WaitTarget = {
      attempt: () => this.#servePending(),
      arm: () => armBell(endpoint, () => endpoint.symbols.millrace_receiver_arm(endpoint.handle)),
      disarm: () => void endpoint.symbols.millrace_receiver_disarm(endpoint.handle),
      giveUp: () => {
        const bells = endpoint.symbols.millrace_receiver_give_up(endpoint.handle);
        if (bells > 0) endpoint.bells.ring(bells, 0);
      },
      orphans: () => endpoint.orphans(),
    };
    this.#waiter = new Waiter(
      endpoint.bells.words,
      Bells.ofReceiver(endpoint.info.index),
      target,
      pollBudget,
    );
  }

  /** @ignore Made by the library. */
  static [makeReceiver]<Value, Batch>(
    endpoint: Endpoint,
    layout: Layout<Value, Batch>,
    wait: WaitStrategy,
    pollBudget: PollBudget,
    claim: number,
    pool: PoolLink | undefined,
  ): Receiver<Value, Batch> {
    return buildOn(endpoint, () => new Receiver(endpoint, layout, wait, pollBudget, claim, pool));
  }

  /**
   * Opens the receiver a ticket is for, in this thread. A ticket is good once.
   *
   * @throws {TypeError} If `ticket` is not a ticket.
   * @throws {TicketError} If it was used, revoked or forged, is of another process or a sender's,
   *   or its channel is gone.
   * @throws {LayoutError} If its custom layout is not registered in this thread.
   * @throws {ReceiverTakenError} If the channel has, or had, a receiver.
   * @throws {NumaError} If `numa` is `"require"` and the memory cannot lie on the node. The ticket
   *   stays good.
   * @param options The NUMA node that what receivers write is to lie on, with the control block of the
   *   channel. Receivers that share a channel share these pages: the first that asks decides.
   */
  static open<Value, Batch = Value[]>(
    ticket: ReceiverTicket<Value, Batch>,
    options?: PlaceOptions,
  ): Receiver<Value, Batch> {
    const checked = checkTicket(ticket, "receiver");
    const place = encodePlace(checkReceiverPlace(options, checked));
    // Before the right is used up: the layout may still have to be registered.
    const layout = layoutOfTicket<Value, Batch>(checked);
    const codec = codecOf(layout);
    const bells = new Bells(checked.bells);
    const info = openInfo(
      "open a receiver",
      bells,
      (symbols, info) =>
        symbols.millrace_endpoint_open_at(checked.right, Role.receiver, place, info),
    );
    const endpoint = new Endpoint(info, bells);
    const slotBytes = codec.kind === "fixed" ? codec.slotBytes : recordSlotBytes;
    if (!isConsistent(checked, info.slotBytes, info.maxSenders, slotBytes)) {
      endpoint.close();
      throw new TicketError("TICKET_FORGED", "Cannot open a receiver: the ticket was altered");
    }
    return Receiver[makeReceiver](
      endpoint,
      layout,
      checked.wait,
      checked.pollBudget,
      checked.claim,
      checked.pool,
    );
  }

  /**
   * Opens a receiver of a channel in another process, which shares it there: see
   * {@linkcode Channel.share}. If this process dies without closing it the channel is closed, with
   * `"PEER_DIED"` for its senders, unless it was made with `onReceiverDeath: "wait"`. When the process
   * that made the channel dies, what was sent is received first, and then receives reject with
   * `"PEER_DIED"`.
   *
   * @param place The address it is shared at, or one end of a pair of sockets.
   * @throws {ConnectError} As {@linkcode Sender.connect}.
   * @throws {ReceiverTakenError} If the channel has, or had, a receiver.
   * @throws {TooManyError} If `maxReceivers` are open.
   * @throws {ChannelClosedError} If the channel is closed.
   * @throws {LayoutError} If its custom layout is not registered in this thread.
   * @throws {NumaError} If `numa` is `"require"` and the memory cannot lie on the node: pages that other
   *   processes use are moved only for who has `CAP_SYS_NICE`.
   */
  static async connect<Value, Batch = Value[]>(
    place: ConnectPlace,
    options: ConnectOptions<Value, Batch> = {},
  ): Promise<Receiver<Value, Batch>> {
    const { endpoint, layout, terms, pool } = await connect("receiver", place, options);
    const { wait, pollBudget, claim } = terms;
    return Receiver[makeReceiver](endpoint, layout, wait, pollBudget, claim, pool);
  }

  /** The most values (bytes, for layouts of variable length) the ring of one sender holds. */
  get capacity(): number {
    const { capacity, slotBytes } = this.#endpoint.info;
    return this.#consumer.countsBytes ? capacity * slotBytes : capacity;
  }

  /** Values sent and not yet received, over all senders. */
  get size(): number {
    this.#checkOpen();
    const { sent, received } = readCounters(this.#endpoint);
    // A sender counts what it has published just after it has: some of it may be received by then.
    return Math.max(0, sent - received - this.#consumer.unsettledMessages);
  }

  /** Whether the channel is closed, or this receiver is. Values may still be there to receive. */
  get closed(): boolean {
    const { handle, symbols } = this.#endpoint;
    return handle === 0 || symbols.millrace_endpoint_close_state(handle) !== 0;
  }

  /**
   * Receives a value if one is there.
   *
   * @returns `{ state: "ok", value }`, `{ state: "empty" }`, or `{ state: "closed" }` when the
   *   channel is closed and drained.
   * @throws {ChannelClosedError} If this receiver has been closed (`"ENDPOINT_CLOSED"`).
   */
  tryReceive(): ReceiveResult<Value> {
    this.#checkFree();
    const there = this.#poll();
    if (there > 0) {
      this.#emptyTries = 0;
      return { state: "ok", value: this.#takeOne() };
    }
    if (there === 0) {
      // Whoever asks again and again takes the ring's line from the sender with every look.
      if (++this.#emptyTries > triesBeforePause) {
        this.#endpoint.symbols.millrace_thread_pause(pauseHints);
      }
      return emptyResult;
    }
    this.#end();
    return closedResult;
  }

  /**
   * Receives a value, waiting for one if need be. Calls are served in their order. The value is the
   * caller's: if its Worker dies, nobody else gets it.
   *
   * @throws {ChannelClosedError} If the channel is or becomes closed, and is drained. If it was closed
   *   with a reason, that is the `cause`.
   */
  receive(options?: ReceiveOptions): Promise<Value> {
    try {
      const signal = options === undefined ? undefined : signalOf("receive", options);
      this.#checkFree();
      const there = this.#poll();
      if (there > 0) return Promise.resolve(this.#takeOne());
      if (there === ended) {
        this.#end();
        return Promise.reject(this.#endError());
      }
      const { promise, resolve, reject } = Promise.withResolvers<Value>();
      this.#enqueue(
        { takes: true, resolve, reject, end: () => reject(this.#endError()) },
        signal,
      );
      return promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Resolves when something can be received without waiting: to true when there is, to false when
   * the channel is closed and drained.
   */
  ready(options?: ReceiveOptions): Promise<boolean> {
    try {
      this.#checkFree();
      return this.#readyToTake(this.#claim, signalOf("wait for a value", options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #readyToTake(claim: number, signal: AbortSignal | undefined): Promise<boolean> {
    const there = this.#poll(claim);
    if (there > 0) return resolvedTrue;
    if (there === ended) {
      this.#end();
      return resolvedFalse;
    }
    return this.#waitUntilReady(claim, signal);
  }

  #waitUntilReady(claim: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.#enqueue(
      { takes: false, claim, resolve: () => resolve(true), reject, end: () => resolve(false) },
      signal,
    );
    return promise;
  }

  #enqueue(entry: PendingReceive<Value>, signal: AbortSignal | undefined): void {
    if (signal === undefined) {
      this.#pending.push(entry);
      return this.#waiter.start();
    }
    if (signal.aborted) return entry.reject(signal.reason);
    const onAbort = () => {
      const index = this.#pending.indexOf(listening);
      if (index < 0) return;
      this.#pending.splice(index, 1);
      if (this.#pending.length === 0) this.#waiter.cancel();
      entry.reject(signal.reason);
    };
    const unlisten = () => signal.removeEventListener("abort", onAbort);
    const listening: PendingReceive<Value> = {
      ...entry,
      resolve: (value) => {
        unlisten();
        entry.resolve(value);
      },
      reject: (reason) => {
        unlisten();
        entry.reject(reason);
      },
      end: () => {
        unlisten();
        entry.end();
      },
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#pending.push(listening);
    this.#waiter.start();
  }

  /** Serves those who wait, as far as there is something. True: nobody waits any more. */
  #servePending(): boolean {
    const consumer = this.#consumer;
    while (this.#pending.length !== 0) {
      let there: number;
      try {
        there = consumer.poll(this.#pending[0]?.claim ?? this.#claim);
      } catch (error) {
        for (const entry of this.#pending.splice(0)) entry.reject(error);
        break;
      }
      if (there === 0) return false;
      if (there === ended) {
        this.#end();
        for (const entry of this.#pending.splice(0)) entry.end();
        break;
      }
      const entry = this.#pending.shift() as PendingReceive<Value>;
      if (!entry.takes) {
        entry.resolve(undefined as Value);
        continue;
      }
      let isInHand = false;
      try {
        entry.resolve(consumer.take());
        isInHand = entry.isIteration === true && consumer.isShared;
      } catch (error) {
        entry.reject(error);
      }
      if (!isInHand) consumer.settle();
    }
    return true;
  }

  /** Seen once: closed and drained. Tells those who wait in `drained()`. */
  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#endpoint.bells.ringDrain();
  }

  /** What a receive that finds the channel ended throws. */
  #endError(): ChannelClosedError {
    return closedError(this.#endpoint, "receive", "closed and drained");
  }

  /** Takes a value and gives its place back, even if it cannot be decoded. */
  #takeOne(): Value {
    try {
      return this.#consumer.take();
    } finally {
      this.#consumer.settle();
    }
  }

  /** Looks what is there, for whoever does not wait: those who do come first. */
  #poll(limit = this.#claim): number {
    if (this.#pending.length !== 0 && !this.#servePending()) return 0;
    return this.#consumer.poll(limit);
  }

  #checkOpen(): void {
    if (this.#endpoint.handle !== 0) return;
    throw new ChannelClosedError(
      "ENDPOINT_CLOSED",
      "Cannot receive: this receiver has been closed",
    );
  }

  /** Open, and not run by a managed loop. */
  #checkFree(): void {
    if (this.#endpoint.handle === 0) this.#checkOpen();
    this.#exposed = 0;
    if (this.#run !== undefined) {
      throw new TypeError("Cannot receive: run() is consuming this receiver; stop() it first");
    }
  }

  /**
   * Receives a value, blocking this thread until there is one. For Workers: it stops the event loop.
   *
   * @throws {TimeoutError} If the time is up.
   * @throws {ChannelClosedError} If the channel is or becomes closed, and is drained. If it was closed
   *   with a reason, that is the `cause`.
   */
  receiveSync(options?: WaitOptions): Value {
    let value: Value | undefined;
    const { symbols } = this.#endpoint;
    waitBlocking(options, this.#wait, "receive", () => {
      const result = this.tryReceive();
      if (result.state === "closed") throw this.#endError();
      if (result.state === "empty") return false;
      value = result.value;
      return true;
    }, (strategy, timeoutUs) => {
      symbols.millrace_receiver_wait(this.#endpoint.handle, strategy, timeoutUs);
      this.#waiter.resume();
    });
    return value as Value;
  }

  /**
   * Receives what is there, without waiting.
   *
   * @param target The most values to receive, which come as a batch of their own; or an array or
   *   typed array to fill from its start, whose `length` is the most.
   * @returns The batch; or, when `target` was filled, how many values were. Empty or 0 when there
   *   is nothing.
   */
  receiveBatch(target: number): Batch;
  /** Receives what is there into `target`, from its start. */
  receiveBatch(target: WritableBatch<Value>): number;
  receiveBatch(target: number | WritableBatch<Value>): Batch | number {
    this.#checkFree();
    if (this.#pending.length !== 0 && !this.#servePending()) {
      return typeof target === "number" ? this.#consumer.takeBatch(0) as Batch : 0;
    }
    if (typeof target === "number") {
      return this.#consumer.takeBatch(
        checkInteger("receive a batch", "target", target, 1),
      ) as Batch;
    }
    const isBatch = Array.isArray(target) ||
      (ArrayBuffer.isView(target) && !(target instanceof DataView));
    if (isBatch) return this.#consumer.takeInto(target);
    throw new TypeError(
      `Cannot receive a batch: expected a number, an array or a typed array, received ${
        describe(target)
      }`,
    );
  }

  /**
   * Values until the channel is closed and drained, or this receiver is closed. If the channel was closed
   * with a reason, {@linkcode ChannelClosedError} is thrown in the end, with the reason as its `cause`.
   * Where receivers share the channel, a value counts as handled when the next one is asked for, or
   * another receive of this receiver comes between.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Value> {
    let isFinished = false;
    const wasOpen = this.#endpoint.handle !== 0;
    /** Calls of next() that have not been served: return() takes them back. */
    const waiting = new Set<PendingReceive<Value>>();
    const finish = () => Promise.resolve({ done: true, value: undefined } as const);
    let isUnderWay = false;
    const end = () => {
      if (isUnderWay) this.#iterations--;
      isUnderWay = false;
    };
    return {
      next: () => {
        try {
          // Closed on the way: the iteration ends. One begun on a closed receiver is a mistake.
          if (isFinished || (wasOpen && this.#endpoint.handle === 0)) return finish();
          this.#checkFree();
          if (!isUnderWay) {
            isUnderWay = true;
            this.#iterations++;
          }
          const consumer = this.#consumer;
          if (consumer.isShared) consumer.settleSoon();
          if (this.#poll() > 0) {
            let isInHand = false;
            try {
              const value = consumer.take();
              isInHand = consumer.isShared;
              return Promise.resolve({ done: false, value });
            } finally {
              if (!isInHand) {
                consumer.settleSoon();
                this.#settleThisTurn();
              }
            }
          }
        } catch (error) {
          end();
          return Promise.reject(error);
        }
        return this.#nextOrEnd(waiting, end);
      },
      return: () => {
        isFinished = true;
        end();
        for (const entry of waiting) this.#forget(entry);
        if (this.#endpoint.handle !== 0) this.#consumer.settle();
        return finish();
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  /** Gives back what was taken when this turn ends: the loop's body may wait for long. */
  #settleThisTurn(): void {
    if (this.#isSettleScheduled || this.#consumer.unsettledMessages === 0) return;
    this.#isSettleScheduled = true;
    setImmediate(() => {
      this.#isSettleScheduled = false;
      if (this.#endpoint.handle !== 0) this.#consumer.settle();
    });
  }

  #nextOrEnd(
    waiting: Set<PendingReceive<Value>>,
    end: () => void,
  ): Promise<IteratorResult<Value, undefined>> {
    const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<Value, undefined>>();
    const entry: PendingReceive<Value> = {
      takes: true,
      resolve: (value) => {
        waiting.delete(entry);
        resolve({ done: false, value });
      },
      reject: (reason) => {
        waiting.delete(entry);
        end();
        reject(reason);
      },
      end: () => {
        waiting.delete(entry);
        end();
        const failure = failureOf(this.#endpoint);
        if (failure === undefined) resolve({ done: true, value: undefined });
        else reject(failure);
      },
      isIteration: true,
    };
    waiting.add(entry);
    this.#enqueue(entry, undefined);
    return promise;
  }

  /** Takes back a receive that waits, as if the channel had ended for it. */
  #forget(entry: PendingReceive<Value>): void {
    const index = this.#pending.indexOf(entry);
    if (index < 0) return;
    this.#pending.splice(index, 1);
    if (this.#pending.length === 0) this.#waiter.cancel();
    entry.end();
  }

  /**
   * Batches of values, each all that was there up to `max`, until the channel is closed and
   * drained, or this receiver is closed. Each batch is the caller's own. Where receivers share the
   * channel, a batch is what one claim found, and counts as handled when the next one is asked for. If
   * the channel was closed with a reason, {@linkcode ChannelClosedError} is thrown in the end, with the
   * reason as its `cause`.
   */
  async *batches(
    options?: ReceiveOptions & { readonly max?: number },
  ): AsyncGenerator<Batch, void, void> {
    const max = checkInteger("receive batches", "max", options?.max ?? batchMax, 1);
    const signal = signalOf("receive batches", options);
    this.#checkOpen();
    this.#iterations++;
    try {
      while (this.#endpoint.handle !== 0) {
        this.#checkFree();
        const isThere = await this.#readyToTake(max, signal).catch((error) => {
          if (this.#endpoint.handle !== 0) throw error;
          return false;
        });
        if (!isThere) break;
        // Another receive may have taken it since.
        if (this.#endpoint.handle !== 0 && this.#poll(max) > 0) {
          try {
            yield this.#consumer.takeToHandle(max) as Batch;
          } finally {
            this.#consumer.settle();
          }
        }
      }
    } finally {
      this.#iterations--;
    }
    const failure = failureOf(this.#endpoint);
    if (failure !== undefined) throw failure;
  }

  /**
   * What can be read in one run, in the ring itself: for numbers a typed array, for structs a
   * `StructWindow`, for layouts of variable length an array of the payloads' bytes. Good until
   * `release()`; nothing is received before that.
   *
   * @returns The values in place, or undefined when there is nothing now.
   */
  readable(): Readable<Value, Batch> | undefined {
    this.#checkFree();
    const there = this.#poll(claimInPlace);
    if (there === ended) this.#end();
    if (there <= 0) return undefined;
    const { view, messages } = this.#consumer.window();
    this.#exposed = messages;
    this.#exposedAt = this.#consumer.place;
    return view as Readable<Value, Batch>;
  }

  /**
   * Receives the first `count` values of the last `readable()` without looking at them again: their
   * place is free for the sender. All of them unless `count` is given.
   *
   * @throws {RangeError} If `count` is more than `readable()` gave, or another receive came between.
   */
  release(count: number = this.#exposed): void {
    this.#checkOpen();
    checkInteger("release", "count", count, 0);
    const consumer = this.#consumer;
    const left = consumer.place === this.#exposedAt ? this.#exposed : 0;
    if (count > left) {
      throw new RangeError(`Cannot release: readable() has ${left} left, received ${count}`);
    }
    if (count === 0) return;
    consumer.skip(count);
    this.#exposed = left - count;
    this.#exposedAt = consumer.place;
    consumer.settle();
  }

  /**
   * Calls `handle` with every value that is there, without waiting.
   *
   * @returns How many there were. If `handle` throws, its value counts as received and no other is
   *   lost.
   */
  drain(handle: (value: Value) => void): number {
    checkFunction("drain", "the handler", handle);
    this.#checkFree();
    const consumer = this.#consumer;
    let count = 0;
    try {
      while (this.#poll(claimToDrain) > 0) {
        // handle() may close this receiver.
        handle(consumer.take());
        count++;
        if (this.#endpoint.handle === 0) return count;
        consumer.settleSoon();
      }
    } finally {
      if (this.#endpoint.handle !== 0) consumer.settle();
    }
    return count;
  }

  /**
   * Consumes on this event loop until the channel ends or the loop is stopped: `handle` is called
   * with one value after the other, or with batches when `batch` is given. Every turn lasts a
   * budget at most; then timers and I/O have their turn. A handler that throws ends the loop; its value
   * or batch counts as received. `finished` then rejects: where nobody has caught or awaited it by then,
   * that is an unhandled rejection, with which the process fails.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8 });
   * const sender = channel.sender();
   * let sum = 0;
   * const loop = channel.receiver().run((value) => {
   *   sum += value;
   * });
   * sender.sendBatch([1, 2, 3]);
   * await loop.stop(); // after what had been sent is handled
   * assert(sum === 6 && loop.messages === 3);
   * ```
   */
  run(
    handle: RunHandler<Value>,
    options?: RunOptions & { readonly batch?: undefined },
  ): Run<Value, Batch>;
  /** The same, with batches. */
  run(
    handle: RunHandler<Batch>,
    options: RunOptions & { readonly batch: number },
  ): Run<Value, Batch>;
  run(
    handle: RunHandler<Value> | RunHandler<Batch>,
    options: RunOptions = {},
  ): Run<Value, Batch> {
    this.#checkFree();
    if (this.#pending.length !== 0) {
      throw new TypeError("Cannot run: a receive is pending on this receiver");
    }
    // #checkFree() refuses while #run is set; the loop itself goes through the consumer.
    const run = new Run<Value, Batch>(
      {
        consumer: this.#consumer,
        claim: this.#claim,
        endpoint: this.#endpoint,
        ready: (claim, signal) => this.#waitUntilReady(claim, signal),
        failure: () => failureOf(this.#endpoint),
        finished: () => {
          this.#run = undefined;
        },
        ended: () => this.#end(),
      },
      handle as RunHandler<Value | Batch>,
      options,
    );
    this.#run = run;
    return run;
  }

  /**
   * A stream of the values. It ends when the channel is closed and drained; if that was closed with a
   * reason, the stream errors with {@linkcode ChannelClosedError}, whose `cause` is the reason. Cancelling
   * it closes this receiver.
   */
  toReadableStream(): ReadableStream<Value> {
    const values = this[Symbol.asyncIterator]();
    return new ReadableStream<Value>({
      async pull(controller) {
        const { done, value } = await values.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: () => this.close(),
    }, { highWaterMark: 0 });
  }

  /**
   * An eventfd that becomes readable when a value arrives or the channel ends, for loops that wait with
   * epoll, io_uring or libuv. Every call gives the same. See {@linkcode EventFd} for the loop.
   *
   * @throws {ChannelClosedError} If this receiver has been closed (`"ENDPOINT_CLOSED"`).
   * @throws {OutOfMemoryError} If the process may open no more descriptors.
   */
  eventFd(): EventFd {
    this.#checkOpen();
    if (this.#eventFd !== undefined) return this.#eventFd;
    const { symbols, handle } = this.#endpoint;
    const fd = check(symbols.millrace_receiver_event_fd(handle), "open an event descriptor");
    return this.#eventFd = makeEventFd(fd, () => this.#armEventFd());
  }

  #armEventFd(): boolean {
    this.#checkFree();
    if (this.#pending.length !== 0) {
      throw new TypeError("Cannot arm: a receive is pending on this receiver");
    }
    // What was taken and not yet given back would count as there to receive.
    this.#consumer.settle();
    const { symbols, handle } = this.#endpoint;
    return armBell(
      this.#endpoint,
      () => check(symbols.millrace_receiver_arm_event_fd(handle), "arm the event descriptor"),
    );
  }

  /** Lets a pending receive keep the process alive, as it does unless `unref()` was called. */
  ref(): this {
    this.#waiter.setRef(true);
    return this;
  }

  /** A pending receive no longer keeps the process alive. */
  unref(): this {
    this.#waiter.setRef(false);
    return this;
  }

  /**
   * Closes this receiver, and with the last one the channel: senders get `ChannelClosedError`,
   * receives that wait reject, what was sent and not received is gone. To drain first, close the
   * channel and receive until it ends. What this receiver has claimed and not handed out goes to the
   * others. Idempotent.
   *
   * @param reason Why nothing more is received, if this is a failure. With the last receiver, the error
   *   that senders get has it as its `cause`; it is carried as that of {@linkcode Channel.close}.
   */
  close(...reason: [reason: unknown] | []): void {
    const encoded = reason.length === 0 ? undefined : encodeReason(reason[0]);
    if (this.#endpoint.handle === 0) return;
    this.#consumer.settle();
    this.#waiter.cancel();
    this.#endpoint.close(encoded);
    const error = new ChannelClosedError(
      "ENDPOINT_CLOSED",
      "Cannot receive: this receiver has been closed",
    );
    for (const entry of this.#pending.splice(0)) {
      if (entry.isIteration) entry.end();
      else entry.reject(error);
    }
  }

  /** The same as {@linkcode Receiver.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Stops a managed loop after what had been sent is handled, then closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#run?.stop();
    } finally {
      this.close();
    }
  }
}

/** What {@linkcode Receiver.readable} gives. */
export type Readable<Value, Batch> = Batch extends Value[]
  ? (Value extends object ? Window<Value> & RoomSetter<Value> | Uint8Array[] : Uint8Array[])
  : Batch;

const resolvedTrue: Promise<boolean> = Promise.resolve(true);
const resolvedFalse: Promise<boolean> = Promise.resolve(false);

/** Opens the receiver on a channel this thread holds. */
export function openReceiverOn<Value, Batch>(
  channel: number,
  bells: Bells,
  layout: Layout<Value, Batch>,
  wait: WaitStrategy,
  pollBudget: PollBudget,
  claim: number,
  pool: PoolLink | undefined,
  options: PlaceOptions | undefined,
  place: { readonly numa?: NumaMode; readonly node?: "local" | number },
): Receiver<Value, Batch> {
  const wanted = encodePlace(checkReceiverPlace(options, place));
  const info = openInfo(
    "open the receiver",
    bells,
    (symbols, info) => symbols.millrace_endpoint_open_on_at(channel, Role.receiver, wanted, info),
  );
  return Receiver[makeReceiver](new Endpoint(info, bells), layout, wait, pollBudget, claim, pool);
}
