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
import { sign } from "./copies.ts";
import { buildOn, Endpoint, openInfo } from "./endpoint.ts";
import { closeWhenForgotten } from "./forgotten.ts";
import { ChannelClosedError, TicketError } from "./errors.ts";
import { type EventFd, makeEventFd } from "./event_fd.ts";
import { check } from "./native.ts";
import { connect, type ConnectOptions } from "./connect.ts";
import type { ConnectPlace } from "./dial.ts";
import { type ItemSource, Iteration, PendingReceive } from "./iteration.ts";
import { describe } from "./describe.ts";
import { type BatchOf, codecOf, type Layout } from "./layout.ts";
import { checkReceiverPlace, encodePlace, type NumaMode, type PlaceOptions } from "./numa.ts";
import type { PoolLink } from "./pool.ts";
import { type CheckedLimits, limitsOf, PendingQueue, type WaitLimits } from "./pending.ts";
import { type ReadableOptions, streamOf } from "./readable_stream.ts";
import { closedError, encodeReason, failureOf } from "./reason.ts";
import { armBell } from "./ringer.ts";
import { Run, type RunHandler, type RunOptions } from "./run.ts";
import { readCounters } from "./statistics.ts";
import type { RoomSetter } from "./sender.ts";
import { checkTicket, isConsistent, layoutOfTicket, type ReceiverTicket } from "./ticket.ts";
import { Answers, hold, type Holder, holdThisTurn, isTurnOver, letGo, turnEnd } from "./turn.ts";
import { isTypedArray } from "./typed_array.ts";
import { type PollBudget, Waiter, type WaitTarget } from "./waiter.ts";
import { waitBlocking, type WaitOptions, type WaitStrategy } from "./wait_strategy.ts";
import type { Window } from "./codec.ts";
import { checkFunction, checkInteger } from "./check.ts";

/** What {@linkcode Receiver.tryReceive} gives; the same as in `@std/async/channel`. */
export type ReceiveResult<Value> =
  | { readonly state: "ok"; readonly value: Value }
  | { readonly state: "empty" }
  | { readonly state: "closed" };

/**
 * Options of the async receives. A signal that aborts and a time that is up reject the promise; nothing
 * is lost. Where many waits follow each other, as in an iteration, the timeout is that of each of them.
 */
export interface ReceiveOptions extends WaitLimits {}

/** What a promise does that waits for something to receive. */
interface Receiving<Result> {
  /** Something is there. */
  serve(): Result;
  /** The channel has ended. */
  end(): Result;
}

/** A promise that waits for something to receive. */
class PendingPromised<Result> extends PendingReceive {
  readonly promise: Promise<Result>;
  readonly #receiving: Receiving<Result>;
  readonly #resolve: (result: Result) => void;
  readonly #reject: (reason: unknown) => void;

  constructor(claim: number | undefined, receiving: Receiving<Result>) {
    super(claim, false);
    this.#receiving = receiving;
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.promise = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  override serve(): void {
    this.#resolve(this.#receiving.serve());
  }

  override reject(reason: unknown): void {
    this.#reject(reason);
  }

  override end(): void {
    try {
      this.#resolve(this.#receiving.end());
    } catch (error) {
      this.#reject(error);
    }
  }
}

const emptyResult: { readonly state: "empty" } = Object.freeze({ state: "empty" });
const closedResult: { readonly state: "closed" } = Object.freeze({ state: "closed" });

/** The library's own way to wait for several receivers. */
export const selecting = Symbol("selecting");

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
export class Receiver<Value, Batch = BatchOf<Value>>
  implements AsyncIterable<Value>, Disposable, AsyncDisposable {
  /**
   * A symbol, which `postMessage` refuses to clone, with this as its message: an endpoint cannot be
   * posted; post a ticket.
   */
  readonly confined: symbol = Symbol("a Receiver belongs to its thread: post a ticket");
  readonly #endpoint: Endpoint;
  readonly #consumer: FixedConsumer<Value, Batch> | RecordConsumer<Value>;
  readonly #wait: WaitStrategy;
  readonly #isOfBytes: boolean;
  /** How many messages are claimed at once, where receivers share the rings. */
  readonly #claim: number;
  readonly #waiter: Waiter;
  readonly #pending: PendingQueue<PendingReceive>;
  /** Messages of the last `readable()` that can still be released, */
  #exposed = 0;
  /** if the consumer still stands there. */
  #exposedAt = 0;
  /** Some of them have been. */
  #isPartReleased = false;
  /** What was claimed and not handed out, in this turn. See turn.ts. */
  readonly #left: Holder = {
    isHeld: false,
    settleHandled: (isTurnOver) => this.#offer(isTurnOver),
  };
  #hasEnded = false;
  /** Of receives that were answered at once. */
  readonly #answers = new Answers();
  /** Calls of tryReceive() in a row that found nothing. */
  #emptyTries = 0;
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
    this.#isOfBytes = layout.spec.kind === "bytes";
    const target: WaitTarget = {
      attempt: () => this.#servePending(),
      arm: () => armBell(endpoint, () => endpoint.symbols.millrace_receiver_arm(endpoint.handle)),
      disarm: () => void endpoint.symbols.millrace_receiver_disarm(endpoint.handle),
      giveUp: () =>
        this.#consumer.wake(endpoint.symbols.millrace_receiver_give_up(endpoint.handle)),
      orphans: () => endpoint.orphans(),
      isLeft: () =>
        this.#consumer.isShared &&
        endpoint.symbols.millrace_receiver_wait(endpoint.handle, 0, 0) === 1,
    };
    this.#waiter = new Waiter(
      endpoint.bells.words,
      Bells.ofReceiver(endpoint.info.index),
      target,
      pollBudget,
    );
    this.#pending = new PendingQueue(() => {
      if (this.#pending.length === 0) this.#waiter.cancel();
    }, () => {
      if (this.#servePending()) this.#waiter.cancel();
    });
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
    return buildOn(endpoint, () => {
      const receiver = new Receiver(endpoint, layout, wait, pollBudget, claim, pool);
      closeWhenForgotten(receiver, endpoint, "A Receiver", closerOf(endpoint, receiver.#consumer));
      return receiver;
    });
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
  static open<Value, Batch = BatchOf<Value>>(
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
      checked.library,
    );
    const endpoint = new Endpoint(info, bells);
    const slotBytes = codec.kind === "fixed" ? codec.slotBytes : recordSlotBytes;
    if (!isConsistent(checked, info.slotBytes, info.maxSenders, slotBytes)) {
      endpoint.close();
      throw new TicketError(
        "TICKET_FORGED",
        "Cannot open a receiver: the ticket was altered; post it as it was issued",
      );
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
  static async connect<Value, Batch = BatchOf<Value>>(
    place: ConnectPlace,
    options: ConnectOptions<Value, Batch> = {},
  ): Promise<Receiver<Value, Batch>> {
    const { endpoint, layout, terms, pool } = await connect("receiver", place, options);
    const { wait, pollBudget, claim } = terms;
    return Receiver[makeReceiver](endpoint, layout, wait, pollBudget, claim, pool);
  }

  /** @ignore The library's own. */
  [selecting](): {
    readonly endpoint: Endpoint;
    readonly failure: () => ChannelClosedError | undefined;
    readonly resume: () => void;
  } {
    return {
      endpoint: this.#endpoint,
      failure: () => failureOf(this.#endpoint),
      resume: () => this.#waiter.resume(),
    };
  }

  /** The most values (bytes, for layouts of variable length) the ring of one sender holds. */
  get capacity(): number {
    const { capacity, slotBytes } = this.#endpoint.info;
    return this.#consumer.countsBytes ? capacity * slotBytes : capacity;
  }

  /** Values sent and not yet received, over all senders. */
  get size(): number {
    this.#checkOpen();
    // A sender counts what it has published just after it has: some of it may be received by then.
    return Math.max(0, readCounters(this.#endpoint).size - this.#consumer.unsettledMessages);
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
    const there = this.#pollSurely();
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
   * The value that `tryReceive()` would give, which stays there. It is a copy: layouts of variable length
   * decode it here, and again when it is received.
   *
   * Where receivers share the channel, the value is this receiver's until the present turn of the event loop
   * ends; then it is offered to the others, and another may have it first.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8 });
   * const receiver = channel.receiver();
   * channel.sender().sendBatch([1, 2]);
   * assert.deepEqual(receiver.peek(), { state: "ok", value: 1 });
   * assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 1 });
   * assert.deepEqual(receiver.peek(), { state: "ok", value: 2 });
   * ```
   *
   * @returns As of {@linkcode Receiver.tryReceive}. A value that cannot be decoded throws the error of its
   *   layout, and stays there as well.
   * @throws {TypeError} If the values are slabs: one that is looked at has a new owner.
   * @throws {ChannelClosedError} If this receiver has been closed (`"ENDPOINT_CLOSED"`).
   */
  peek(): ReceiveResult<Value> {
    const exposed = this.#exposed;
    this.#checkFree();
    const there = this.#pollSurely(1);
    // It takes nothing, so what readable() gave can still be released.
    this.#exposed = exposed;
    if (there === 0) return emptyResult;
    if (there === ended) {
      this.#end();
      return closedResult;
    }
    try {
      return { state: "ok", value: this.#consumer.peek() };
    } finally {
      this.#offerSoon();
    }
  }

  /**
   * Receives a value, waiting for one if need be. Calls are served in their order. The value is the
   * caller's: if its Worker dies, nobody else gets it.
   *
   * @throws {ChannelClosedError} If the channel is or becomes closed, and is drained. If it was closed
   *   with a reason, that is the `cause`.
   * @throws {TimeoutError} If the time is up; no value was taken.
   * @throws The signal's reason, if it aborts, or is aborted already, also when a value is there.
   */
  receive(options?: ReceiveOptions): Promise<Value> {
    try {
      const limits = options === undefined ? undefined : limitsOf("receive", options);
      this.#checkFree();
      const there = this.#poll();
      if (there > 0) {
        const value = this.#takeOne();
        const answers = this.#answers;
        return --answers.left >= 0 || !answers.areOver()
          ? Promise.resolve(value)
          : turnEnd().then(() => value);
      }
      if (there === ended) {
        this.#end();
        return Promise.reject(this.#endError());
      }
      return this.#enqueue(this.#claim, this.#receiving, limits);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** What a receive that waits does when its turn comes. */
  readonly #receiving: Receiving<Value> = {
    serve: () => this.#consumer.take(),
    end: () => {
      throw this.#endError();
    },
  };

  /**
   * Resolves when something can be received without waiting: to true when there is, to false when
   * the channel is closed and drained. It takes nothing: where receivers share the channel, another one may
   * have the value first.
   *
   * @throws {TimeoutError} If the time is up.
   * @throws The signal's reason, if it aborts.
   */
  ready(options?: ReceiveOptions): Promise<boolean> {
    try {
      const limits = options === undefined ? undefined : limitsOf("wait for a value", options);
      this.#checkFree();
      if (--this.#answers.left >= 0 || !this.#answers.areOver()) {
        const there = this.#hasWaiting() ? 0 : this.#consumer.look();
        if (there > 0) return resolvedTrue;
        if (there === ended) {
          this.#end();
          return resolvedFalse;
        }
      }
      return this.#enqueue(undefined, awaiting, limits);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #enqueue<Result>(
    claim: number | undefined,
    receiving: Receiving<Result>,
    limits: CheckedLimits | undefined,
  ): Promise<Result> {
    const receive = new PendingPromised(claim, receiving);
    this.#push(receive, limits);
    return receive.promise;
  }

  #push(receive: PendingReceive, limits: CheckedLimits | undefined): void {
    this.#pending.push(receive, limits);
    if (isTurnOver()) this.#waiter.startNextTurn();
    else this.#waiter.start();
  }

  /** Serves those who wait, as far as there is something. True: nobody waits any more. */
  #servePending(): boolean {
    const consumer = this.#consumer;
    for (let first = this.#pending.first; first !== undefined; first = this.#pending.first) {
      let there: number;
      try {
        there = first.claim === undefined ? consumer.look() : consumer.poll(first.claim);
      } catch (error) {
        for (const receive of this.#pending.takeAll()) receive.reject(error);
        break;
      }
      if (there === 0) return false;
      if (there === ended) {
        this.#end();
        for (const receive of this.#pending.takeAll()) receive.end();
        break;
      }
      // Before it is served: the layout's own decode can abort its signal.
      this.#pending.remove(first);
      let isInHand = first.isIteration && consumer.isShared;
      try {
        first.serve();
      } catch (error) {
        isInHand = false;
        first.reject(error);
      }
      if (!isInHand) consumer.settle();
      if (first.claim === undefined) this.#passOn();
      this.#offerSoon();
    }
    return true;
  }

  /** This receiver was woken, and may not take what it was woken for: another that sleeps has to look. */
  #passOn(): void {
    const { symbols, handle } = this.#endpoint;
    if (this.#consumer.isShared) this.#consumer.wake(symbols.millrace_receiver_pass_on(handle));
  }

  /**
   * What was claimed and not handed out when this turn ends, or this thread blocks, is offered to the other
   * receivers: the program may not come back for long. Not what it has in hand.
   */
  #offerSoon(): void {
    const consumer = this.#consumer;
    if (consumer.holds && consumer.isShared && !this.#left.isHeld) holdThisTurn(this.#left);
  }

  #offer(isTurnOver: boolean): void {
    const consumer = this.#consumer;
    // The program has a view of it. What it has released some of is its own until the turn ends.
    const isShown = this.#exposed !== 0 && !(isTurnOver && this.#isPartReleased) &&
      consumer.place === this.#exposedAt;
    if (this.#run !== undefined || isShown || consumer.unsettledMessages !== 0) return;
    consumer.offer();
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
      this.#offerSoon();
    }
  }

  /** Looks what is there, for a call that does not wait: those that do come first. */
  #poll(limit = this.#claim): number {
    return this.#hasWaiting() ? 0 : this.#consumer.poll(limit);
  }

  /** The same, and 0 is certain. */
  #pollSurely(limit = this.#claim): number {
    return this.#hasWaiting() ? 0 : this.#consumer.pollSurely(limit);
  }

  /** Serves the receives that wait, as far as there is something. Whether some still wait. */
  #hasWaiting(): boolean {
    if (this.#pending.length === 0) return false;
    if (!this.#servePending()) return true;
    // Nothing waits any more: the arm goes, or the next wake-up would be spent on it.
    this.#waiter.cancel();
    return false;
  }

  #checkOpen(): void {
    if (this.#endpoint.handle !== 0) return;
    throw new ChannelClosedError(
      "ENDPOINT_CLOSED",
      "Cannot receive: this receiver has been closed; open another one",
    );
  }

  /** Open, and not run by a managed loop. */
  #checkFree(): void {
    if (this.#endpoint.handle === 0) this.#checkOpen();
    if (this.#exposed !== 0) {
      // The view of it is good no longer.
      this.#exposed = 0;
      this.#offerSoon();
    }
    if (this.#consumer.isDecoding) throw this.#consumer.decodingError();
    if (this.#run !== undefined) {
      throw new TypeError("Cannot receive: run() is consuming this receiver; stop() it first");
    }
  }

  /**
   * Receives a value, blocking this thread until there is one. For Workers: it stops the event loop.
   *
   * @throws {TimeoutError} If the time is up.
   * @throws {DeadlockError} If there is nothing, and every sender is in this very thread, with or without
   *   a `timeout` of more than a millisecond.
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
    }, () => {
      if (!this.#endpoint.isAlone()) return undefined;
      return "there is nothing, and nobody but this very thread, which would block, can send; " +
        "use await receive(), or send from a Worker";
    });
    return value as Value;
  }

  /**
   * Receives what is there, without waiting.
   *
   * A value that cannot be decoded ends the batch before it; the next call throws the error of its layout,
   * and then it counts as received. A value that `target` does not take stays there: the call throws what
   * `target` threw, and what it took before counts as received, for numbers and structs only up to the end of
   * the run before.
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
    const consumer = this.#consumer;
    try {
      if (typeof target === "number") {
        const most = checkInteger("receive a batch", "target", target, 1);
        return consumer.takeBatch(this.#hasWaiting() ? 0 : most) as Batch;
      }
      if (Array.isArray(target) || isTypedArray(target)) {
        return this.#hasWaiting() ? 0 : consumer.takeInto(target as WritableBatch<Value>);
      }
    } finally {
      // Where it stopped at a value that cannot be decoded.
      this.#offerSoon();
    }
    throw new TypeError(
      `Cannot receive a batch: expected a number, an array or a typed array, received ${
        describe(target)
      }`,
    );
  }

  /**
   * Values until the channel is closed and drained, or this receiver is closed. If the channel was closed
   * with a reason, {@linkcode ChannelClosedError} is thrown in the end, with the reason as its `cause`.
   * Where receivers share the channel, a value counts as handled when the next one is asked for, or another
   * receive of this receiver comes between.
   *
   * A value that cannot be decoded ends a `for await` with the error of its layout, and counts as
   * received; what comes behind it can still be received.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8 });
   * channel.sender().sendBatch([1, 2, 3]);
   * const seen: number[] = [];
   * try {
   *   for await (const value of channel.receiver().values({ timeout: 10 })) seen.push(value);
   * } catch (error) {
   *   assert((error as Error).name === "TimeoutError"); // for 10 ms there was none
   * }
   * assert.deepEqual(seen, [1, 2, 3]);
   * ```
   *
   * @param options A signal that ends the iteration with its reason, and how long to wait for a value at
   *   most.
   */
  values(options?: ReceiveOptions): AsyncGenerator<Value, void, void> {
    return new Iteration(
      this.#sourceOf("receive", options, this.#claim, () => this.#takeInIteration()),
    );
  }

  /** The same as {@linkcode Receiver.values}, without options. */
  [Symbol.asyncIterator](): AsyncGenerator<Value, void, void> {
    return this.values();
  }

  #takeInIteration(): Value {
    const consumer = this.#consumer;
    let isInHand = false;
    try {
      const value = consumer.take();
      isInHand = consumer.isShared;
      return value;
    } finally {
      if (!isInHand) consumer.settleSoon();
      // The loop's body may wait, or block, for long.
      if (!consumer.isHeld) holdThisTurn(consumer);
    }
  }

  /**
   * Batches of values, each all that was there up to `max`, until the channel is closed and
   * drained, or this receiver is closed. Each batch is the caller's own. Where receivers share the
   * channel, a batch is what one claim found, and counts as handled when the next one is asked for. If
   * the channel was closed with a reason, {@linkcode ChannelClosedError} is thrown in the end, with the
   * reason as its `cause`.
   *
   * A value that cannot be decoded ends its batch before it. The next batch is then asked for in vain: that
   * throws the error of the layout, and the value counts as received.
   *
   * @param options A signal that ends the iteration with its reason, and how long to wait for a batch at
   *   most.
   */
  batches(
    options?: ReceiveOptions & { readonly max?: number },
  ): AsyncGenerator<Batch, void, void> {
    const max = options?.max ?? batchMax;
    const open = this.#sourceOf(
      "receive batches",
      options,
      max,
      () => this.#consumer.takeToHandle(max) as Batch,
    );
    return new Iteration(() => {
      checkInteger("receive batches", "max", max, 1);
      return open();
    });
  }

  /** What an iteration takes its items from; its options are checked when it begins. */
  #sourceOf<Item>(
    action: string,
    options: ReceiveOptions | undefined,
    claim: number,
    take: () => Item,
  ): () => ItemSource<Item> {
    const consumer = this.#consumer;
    const endpoint = this.#endpoint;
    const wasOpen = endpoint.handle !== 0;
    return () => {
      const limits = limitsOf(action, options);
      return {
        claim,
        // Closed on the way: the iteration ends. One begun on a closed receiver is a mistake.
        isClosed: () => wasOpen && endpoint.handle === 0,
        isThere: () => {
          if (limits?.signal?.aborted) throw limits.signal.reason;
          this.#checkFree();
          if (consumer.isShared) {
            consumer.settleSoon();
            consumer.markHandled();
          }
          if (--this.#answers.left < 0 && this.#answers.areOver()) return false;
          return this.#poll(claim) > 0;
        },
        take,
        wait: (receive) => this.#push(receive, limits),
        forget: (receive) => {
          if (!this.#pending.remove(receive)) return false;
          if (this.#pending.length === 0) this.#waiter.cancel();
          return true;
        },
        failure: () => failureOf(endpoint),
        begin: () => {
          this.#iterations++;
        },
        finish: () => {
          this.#iterations--;
          // What was claimed and not handed out, another receiver can have.
          if (endpoint.handle !== 0) consumer.offer();
        },
      };
    };
  }

  /**
   * What can be read in one run, in the ring itself: for numbers a typed array, for structs a
   * `StructWindow`, for layouts of variable length an array of the payloads' bytes. Good until
   * `release()`; nothing is received before that. Asynchronous I/O from it (`fs.write`, say) must be finished
   * before `release()`, the next receive and `close()`, or it writes what a sender has put there since.
   *
   * @returns The values in place, or undefined when there is nothing now.
   */
  readable(): Readable<Value, Batch> | undefined {
    this.#checkFree();
    const there = this.#pollSurely(claimInPlace);
    if (there === ended) this.#end();
    if (there <= 0) return undefined;
    const { view, messages } = this.#consumer.window();
    this.#exposed = messages;
    this.#isPartReleased = false;
    this.#exposedAt = this.#consumer.place;
    return view as Readable<Value, Batch>;
  }

  /**
   * Receives the first `count` values of the last `readable()` without looking at them again: their
   * place is free for the sender. All of them unless `count` is given. Where receivers share the channel,
   * what is left when the turn ends in which some were released is offered to the others: call
   * `readable()` again.
   *
   * @throws {RangeError} If `count` is more than `readable()` gave, or another receive came between.
   */
  release(count: number = this.#exposed): void {
    this.#checkOpen();
    checkInteger("release", "count", count, 0);
    const consumer = this.#consumer;
    const left = consumer.place === this.#exposedAt ? this.#exposed : 0;
    if (count > left) {
      throw new RangeError(
        `Cannot release: expected at most the ${left} left of readable(), received ${count}`,
      );
    }
    if (count === 0) return;
    consumer.skip(count);
    this.#exposed = left - count;
    this.#exposedAt = consumer.place;
    this.#isPartReleased = true;
    consumer.settle();
    this.#offerSoon();
  }

  /**
   * Calls `handle` with every value that is there, without waiting.
   *
   * @returns How many there were. If `handle` throws, its value counts as received and no other is
   *   lost; so does a value that cannot be decoded, whose error is thrown.
   */
  drain(handle: (value: Value) => void): number {
    checkFunction("drain", "the handler", handle);
    this.#checkFree();
    const consumer = this.#consumer;
    let count = 0;
    try {
      while (this.#pollSurely(claimToDrain) > 0) {
        // handle() may block, drain this receiver itself, or close it.
        if (!consumer.isHeld) hold(consumer);
        handle(consumer.take());
        count++;
        if (this.#endpoint.handle === 0) return count;
        consumer.settleSoon();
        if (consumer.isShared) consumer.markHandled();
      }
    } finally {
      // What a handler that threw has left, another receiver can have.
      if (this.#endpoint.handle !== 0) consumer.offer();
      letGo(consumer);
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
      throw new TypeError("Cannot run: a receive is pending on this receiver; await it first");
    }
    // #checkFree() refuses while #run is set; the loop itself goes through the consumer.
    const run = new Run<Value, Batch>(
      {
        consumer: this.#consumer,
        claim: this.#claim,
        endpoint: this.#endpoint,
        ready: (claim, signal) => this.#enqueue(claim, awaiting, { action: "run", signal }),
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
   * it closes this receiver with the reason of the cancel, if there is one; a value that cannot be decoded
   * errors the stream, and closes this receiver with that error.
   *
   * The stream takes a value when it is asked for one, so a cancel loses none. With `highWaterMark` it
   * takes so many ahead, and those go with a cancel. Without, the end of the channel is noticed by the next
   * read as well, not before.
   *
   * @throws {TypeError} If an option has the wrong type.
   * @throws {RangeError} If `highWaterMark` is negative or NaN.
   */
  toReadableStream(
    options?: ReadableOptions & { readonly type?: undefined },
  ): ReadableStream<Value>;
  /** The same as a stream of bytes, for readers that bring their own buffer; for the layout `bytes`. */
  toReadableStream(
    options: ReadableOptions & { readonly type: "bytes" },
  ): ReadableStream<Uint8Array<ArrayBuffer>>;
  toReadableStream(
    options?: ReadableOptions & { readonly type?: "bytes" },
  ): ReadableStream<Value> | ReadableStream<Uint8Array<ArrayBuffer>> {
    const open = this.#sourceOf("receive", undefined, this.#claim, () => this.#takeInIteration());
    return streamOf(open, this.#isOfBytes, (...reason) => this.close(...reason), options);
  }

  /**
   * An eventfd that becomes readable when a value arrives or the channel ends, for loops that wait with
   * epoll, io_uring or libuv. Every call gives the same. See {@linkcode EventFd} for the loop.
   *
   * @throws {ChannelClosedError} If this receiver has been closed (`"ENDPOINT_CLOSED"`).
   * @throws {ConnectError} If the process may open no more descriptors (`"TOO_MANY_DESCRIPTORS"`).
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
      throw new TypeError("Cannot arm: a receive is pending on this receiver; await it first");
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
    this.#consumer.settle(true);
    letGo(this.#consumer);
    letGo(this.#left);
    this.#waiter.cancel();
    this.#endpoint.close(encoded);
    const error = new ChannelClosedError(
      "ENDPOINT_CLOSED",
      "Cannot receive: this receiver has been closed; open another one",
    );
    for (const receive of this.#pending.takeAll()) {
      if (receive.isIteration) receive.end();
      else receive.reject(error);
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

sign(Receiver.prototype);

/** What {@linkcode Receiver.readable} gives. */
export type Readable<Value, Batch> = Batch extends Value[]
  ? (Value extends object ? Window<Value> & RoomSetter<Value> | Uint8Array[] : Uint8Array[])
  : Batch;

/** A wait that takes nothing. */
const awaiting: Receiving<boolean> = { serve: () => true, end: () => false };
const resolvedTrue: Promise<boolean> = Promise.resolve(true);
const resolvedFalse: Promise<boolean> = Promise.resolve(false);

/**
 * Closes a receiver that is no more. What the program had in hand it can no longer handle: where receivers
 * share the channel another gets it, as if the thread had died.
 */
function closerOf(endpoint: Endpoint, consumer: Holder): () => boolean {
  return () => {
    consumer.settleHandled(false);
    letGo(consumer);
    // A view of what it holds may have been shown, too.
    endpoint.symbols.millrace_receiver_mark_seen(endpoint.handle);
    endpoint.close();
    return true;
  };
}

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
