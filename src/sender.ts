/**
 * The sending endpoint of a channel.
 *
 * @module
 */

import { CloseState, Kind, Role } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { recordSlotBytes, type Window } from "./codec.ts";
import { checkFunction, checkInteger } from "./check.ts";
import { buildOn, Endpoint, openInfo } from "./endpoint.ts";
import { closeWhenForgotten } from "./forgotten.ts";
import { ChannelClosedError, type MillraceError, TicketError } from "./errors.ts";
import { watchForClose } from "./closed_watch.ts";
import { whileReceivable } from "./consumed.ts";
import { connect, type ConnectOptions } from "./connect.ts";
import type { ConnectPlace } from "./dial.ts";
import { describe } from "./describe.ts";
import { type BatchOf, codecOf, type Layout } from "./layout.ts";
import { closedError, type ClosingReason, encodeReason, withCause } from "./reason.ts";
import { type Checkpoint, FixedProducer, producerOf, RecordProducer } from "./producer.ts";
import { checkPlace, encodePlace, type NumaMode, type PlaceOptions } from "./numa.ts";
import { limitsOf, type WaitLimits } from "./pending.ts";
import type { PoolLink } from "./pool.ts";
import { PendingBatch, PendingRoom, PendingValue, SendQueue } from "./send_queue.ts";
import { checkTicket, isConsistent, layoutOfTicket, type SenderTicket } from "./ticket.ts";
import { checkMemory, isTypedArray } from "./typed_array.ts";
import type { PollBudget } from "./waiter.ts";
import { waitBlocking, type WaitOptions, type WaitStrategy } from "./wait_strategy.ts";
import { streamTo, type WritableOptions } from "./writable_stream.ts";
import { type OpenSender, WeakSender } from "./weak_sender.ts";
import { Writer, type WriterOptions } from "./writer.ts";

/** Options of {@linkcode Sender.send}. */
export interface SendOptions extends WaitLimits {
  /**
   * Aborts the wait for room: the promise rejects with the signal's reason, nothing is sent. A signal
   * that is already aborted rejects even if there is room.
   */
  readonly signal?: AbortSignal;
}

/** What {@linkcode Sender.sendAll} and {@linkcode Sender.sendAllSync} take as well. */
export interface SendAllOptions {
  /**
   * Called whenever more has been sent, with how many of the values have been by now. Those are the first
   * ones, also when the call ends early: aborted, out of time, or for a value that is refused.
   */
  readonly onSent?: (sent: number) => void;
}

/** Opens a sender over an endpoint; the library's own way in. */
export const makeSender = Symbol("makeSender");

/**
 * Sends values into a channel. It belongs to the thread that opened it: to send from a Worker, post
 * it a ticket ({@linkcode Channel.senderTicket}) and open that there.
 *
 * Values of one sender arrive in the order they were sent. The order between different senders is not
 * kept.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, Sender, utf8 } from "millrace";
 *
 * using channel = mpsc(utf8, { capacity: 4096 });
 * const receiver = channel.receiver();
 * // In a Worker the ticket would come by postMessage.
 * using sender = Sender.open(channel.senderTicket());
 * await sender.send("hello");
 * assert((await receiver.receive()) === "hello");
 * ```
 *
 * @typeParam Value What is sent.
 * @typeParam Batch What a batch of values is received as.
 */
export class Sender<Value, Batch = BatchOf<Value>> implements Disposable, AsyncDisposable {
  /**
   * A symbol, which `postMessage` refuses to clone, with this as its message: an endpoint cannot be
   * posted; post a ticket.
   */
  readonly confined: symbol = Symbol("a Sender belongs to its thread: post a ticket");
  readonly #endpoint: Endpoint;
  readonly #producer: FixedProducer<Value, Batch> | RecordProducer<Value>;
  readonly #isBytes: boolean;
  /** Opens another sender on the same channel. */
  readonly #openAnother: OpenSender<Value, Batch>;
  readonly #wait: WaitStrategy;
  readonly #queue: SendQueue<Value>;
  /** What the last reserve() gave, and where the producer stood then. */
  #reserved: { readonly length: number; readonly at: Checkpoint } | undefined;
  /** What this sender was closed with. */
  #closing: ClosingReason | undefined;

  /** Made by the library: see {@linkcode Channel.sender} and {@linkcode Sender.open}. */
  private constructor(
    endpoint: Endpoint,
    layout: Layout<Value, Batch>,
    wait: WaitStrategy,
    pollBudget: PollBudget,
    pool: PoolLink | undefined,
  ) {
    this.#endpoint = endpoint;
    this.#producer = producerOf(endpoint, codecOf(layout), pool);
    this.#isBytes = layout.spec.kind === "bytes";
    this.#openAnother = openerOf(endpoint.bells, layout, wait, pollBudget, pool, undefined);
    this.#wait = wait;
    this.#queue = new SendQueue<Value>(
      endpoint,
      this.#producer,
      pollBudget,
      (...unsent) => this.#closedError(...unsent),
    );
  }

  /** @ignore Made by the library. */
  static [makeSender]<Value, Batch>(
    endpoint: Endpoint,
    layout: Layout<Value, Batch>,
    wait: WaitStrategy,
    pollBudget: PollBudget,
    pool: PoolLink | undefined,
  ): Sender<Value, Batch> {
    return buildOn(endpoint, () => {
      const sender = new Sender(endpoint, layout, wait, pollBudget, pool);
      closeWhenForgotten(sender, endpoint, "A Sender", closerOf(endpoint, sender.#producer));
      return sender;
    });
  }

  /**
   * Opens the sender a ticket is for, in this thread. A ticket is good once.
   *
   * @throws {TypeError} If `ticket` is not a ticket.
   * @throws {TicketError} If it was used, revoked or forged, is of another process or a receiver's,
   *   or its channel is gone.
   * @throws {LayoutError} If its custom layout is not registered in this thread.
   * @throws {TooManyError} If `maxSenders` are open.
   * @throws {ChannelClosedError} If the channel is closed.
   * @throws {NumaError} If `numa` is `"require"` and the ring cannot lie on the node. The ticket stays
   *   good.
   * @throws {HugePagesError} If the channel requires huge pages and there are none. The ticket stays
   *   good.
   * @param options The NUMA node the sender's ring is to lie on.
   */
  static open<Value, Batch = BatchOf<Value>>(
    ticket: SenderTicket<Value, Batch>,
    options?: PlaceOptions,
  ): Sender<Value, Batch> {
    const checked = checkTicket(ticket, "sender");
    const place = encodePlace(checkPlace("open a sender", options, checked.numa));
    // Before the right is used up: the layout may still have to be registered.
    const layout = layoutOfTicket<Value, Batch>(checked);
    const codec = codecOf(layout);
    const bells = new Bells(checked.bells);
    const info = openInfo(
      "open a sender",
      bells,
      (symbols, info) => symbols.millrace_endpoint_open_at(checked.right, Role.sender, place, info),
      checked.library,
    );
    const endpoint = new Endpoint(info, bells);
    const slotBytes = codec.kind === "fixed" ? codec.slotBytes : recordSlotBytes;
    if (!isConsistent(checked, info.slotBytes, info.maxSenders, slotBytes)) {
      endpoint.close();
      throw new TicketError(
        "TICKET_FORGED",
        "Cannot open a sender: the ticket was altered; post it as it was issued",
      );
    }
    return Sender[makeSender](
      endpoint,
      layout,
      checked.wait,
      checked.pollBudget,
      checked.pool,
    );
  }

  /**
   * Opens a sender of a channel in another process, which shares it there: see
   * {@linkcode Channel.share}. Close it before the process ends; a process that ends without is told
   * from one that died by nobody. What was sent before is received either way.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, Sender, u32 } from "millrace";
   *
   * // The other end would be another process; this one will do.
   * using channel = mpsc(u32, { shared: true });
   * using share = channel.share("@an-example-of-connect", { senders: true });
   * using sender = await Sender.connect("@an-example-of-connect", { layout: u32 });
   * await sender.send(7);
   * assert((await channel.receiver().receive()) === 7);
   * assert(share.connections === 1);
   * ```
   *
   * @param place The address it is shared at, or one end of a pair of sockets.
   * @throws {ConnectError} If there is nobody, this user is not let in, the time is up, or what the other
   *   side sends is not what it should be; its `code` says which.
   * @throws {TooManyError} If `maxSenders` are open.
   * @throws {ChannelClosedError} If the channel is closed.
   * @throws {LayoutError} If its custom layout is not registered in this thread.
   * @throws {NumaError} If `numa` is `"require"` and the ring cannot lie on the node.
   * @throws {HugePagesError} If the channel requires huge pages and there are none.
   */
  static async connect<Value, Batch = BatchOf<Value>>(
    place: ConnectPlace,
    options: ConnectOptions<Value, Batch> = {},
  ): Promise<Sender<Value, Batch>> {
    const { endpoint, layout, terms, pool } = await connect("sender", place, options);
    return Sender[makeSender](endpoint, layout, terms.wait, terms.pollBudget, pool);
  }

  /** The most values (bytes, for layouts of variable length) this sender's ring holds. */
  get capacity(): number {
    const { capacity, slotBytes } = this.#endpoint.info;
    return this.#producer instanceof FixedProducer ? capacity : capacity * slotBytes;
  }

  /** Whether the channel, or this sender, is closed. */
  get closed(): boolean {
    const { handle, symbols } = this.#endpoint;
    return handle === 0 || symbols.millrace_endpoint_close_state(handle) !== 0;
  }

  /**
   * Sends a value if there is room now. What waits in `send()` and `sendAll()` goes first; a `ready()` that
   * waits holds nothing back. What `reserve()` gave stays as it is when nothing was sent.
   *
   * @returns Whether it was sent; false when the ring is full or the channel is closed.
   * @throws {TypeError} If the value has the wrong type for the layout, also when there is no room.
   * @throws {RangeError} If it is outside the layout's range, or longer than half the ring.
   * @throws {ChannelClosedError} If this sender has been closed (`"ENDPOINT_CLOSED"`).
   */
  trySend(value: Value): boolean {
    if (this.#queue.isIdle && this.#endpoint.handle !== 0) {
      return this.#producer.put(value) && this.#publishOne();
    }
    return this.#trySend(value, this.#queue.admits());
  }

  #trySend(value: Value, isAdmitted: boolean): boolean {
    if (this.#endpoint.handle === 0) throw this.#closedError(value);
    const producer = this.#producer;
    if (isAdmitted) return producer.put(value) && this.#publishOne();
    producer.check(value);
    return false;
  }

  /**
   * Sends a value now: if the ring is full, the oldest messages of this sender are dropped to make room for
   * it, as many as need be, and counted in `stats().dropped`. For what matters only while it is new: the
   * position of a thing, a price, a frame.
   *
   * Only receivers take from the ring of an mpsc or spsc channel, so there it is a `TypeError`. Where
   * receivers share a channel (spmc, mpmc), a message that one has claimed is not dropped, nor are those
   * behind it: `for await`, `run()` and `claim` hold what they are at work on, `receive()` does not.
   *
   * What waits in `send()` and `sendAll()` of this sender goes first, and drops older messages, too.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { spmc, u32 } from "millrace";
   *
   * using channel = spmc(u32, { capacity: 2 });
   * const sender = channel.sender();
   * const receiver = channel.receiver();
   * for (const value of [1, 2, 3, 4]) assert(sender.forceSend(value));
   * assert.deepEqual([...receiver.receiveBatch(9)], [3, 4]);
   * assert(channel.stats().dropped === 2);
   * ```
   *
   * @returns Whether it was sent; false when a receiver is at work on what is in the way, or the channel is
   *   closed.
   * @throws {TypeError} If the kind of the channel does not allow it, its messages are slabs or go through a
   *   pool, or the value has the wrong type for the layout.
   * @throws {RangeError} If it is outside the layout's range, or longer than half the ring.
   * @throws {ChannelClosedError} If this sender has been closed (`"ENDPOINT_CLOSED"`).
   */
  forceSend(value: Value): boolean {
    const { kind } = this.#endpoint.info;
    const producer = this.#producer;
    if (kind !== Kind.spmc && kind !== Kind.mpmc) {
      throw new TypeError(
        "Cannot force a send: from the ring of an mpsc or spsc channel only its receiver takes messages; " +
          "use spmc or mpmc",
      );
    }
    if (!producer.canDrop) {
      throw new TypeError(
        "Cannot force a send: the messages are slabs, or go through a pool; use trySend()",
      );
    }
    while (!this.trySend(value)) {
      if (this.closed || !producer.force()) return false;
    }
    return true;
  }

  /** Publishes the value just put, and what the writer had put before it. */
  #publishOne(): boolean {
    const producer = this.#producer;
    if (producer.publish()) return true;
    // What a writer had pushed stays pending: its flush() tells what was not sent.
    producer.takeBack();
    return false;
  }

  /**
   * Sends a value, waiting for room if need be. Whatever else waits in this sender, in any verb, what came
   * first goes first; so values sent in this way arrive in the order of the calls. An object is encoded
   * when there is room for it: do not change it before the promise resolves.
   *
   * @returns A promise that resolves when the value is in the ring.
   * @throws {ChannelClosedError} If the channel is or becomes closed; `value` is the unsent value.
   * @throws {TimeoutError} If a `timeout` was given and the time is up; the value was not sent.
   * @throws {TypeError} If the value has the wrong type for the layout; at once, also when there is no
   *   room.
   * @throws {RangeError} If it is outside the layout's range, or longer than half the ring.
   */
  send(value: Value, options?: SendOptions): Promise<void> {
    try {
      const limits = limitsOf("send", options);
      const producer = this.#producer;
      producer.checkNotWriting();
      if (this.#queue.isIdle) {
        if (this.trySend(value)) return this.#queue.answers.answer();
        if (this.closed) return Promise.reject(this.#closedError(value));
      } else {
        // A value that can never be sent must not wait in the queue.
        producer.check(value);
      }
      return this.#queue.push(new PendingValue(value, producer.need), limits);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Resolves when there is room for a value; for layouts of variable length, for a message of so
   * many `bytes`, which may be room for the handle of a slab and a free slab.
   *
   * It comes after what waits already, and those behind it, of any verb, let it have the room first: they
   * wait until the program has made its next call on this sender, or until the next turn of the event loop.
   *
   * @throws {ChannelClosedError} If the channel is or becomes closed.
   * @throws {TimeoutError} If a `timeout` was given and the time is up.
   * @throws {RangeError} If a message cannot have so many bytes.
   */
  ready(options?: SendOptions & { readonly bytes?: number }): Promise<void> {
    try {
      const limits = limitsOf("wait for room", options);
      const producer = this.#producer;
      producer.checkNotWriting();
      if (this.#endpoint.handle === 0) throw this.#closedError();
      const bytes = checkInteger("wait for room", "bytes", options?.bytes ?? 0, 0);
      return this.#queue.run(new PendingRoom<Value>(producer.needOf(bytes)), limits);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #closedError(...unsent: [value: unknown] | []): MillraceError {
    const { handle, symbols } = this.#endpoint;
    if (handle === 0) {
      const message = "Cannot send: this sender has been closed; open another one";
      return withCause(
        new ChannelClosedError("ENDPOINT_CLOSED", message, ...unsent),
        this.#closing,
      );
    }
    const state = symbols.millrace_endpoint_close_state(handle);
    if (state === CloseState.corrupt) return this.#endpoint.corrupt("send");
    return closedError(this.#endpoint, "send", "closed", ...unsent);
  }

  /**
   * Sends a value, blocking this thread until there is room. For Workers: it stops the event loop.
   *
   * @throws {TimeoutError} If the time is up; the value was not sent.
   * @throws {DeadlockError} If there is no room, and every receiver is in this very thread, with or without
   *   a `timeout` of more than a millisecond; the value was not sent.
   * @throws {ChannelClosedError} If the channel is or becomes closed; `value` is the unsent value.
   * @throws {TypeError} If the value has the wrong type for the layout.
   * @throws {RangeError} If it is outside the layout's range, or longer than half the ring.
   */
  sendSync(value: Value, options?: WaitOptions): void {
    this.#block(options, "send", () => {
      if (this.#trySend(value, this.#queue.admitsBlocking())) return true;
      if (this.closed) throw this.#closedError(value);
      return false;
    }, "await send()");
  }

  #block(
    options: WaitOptions | undefined,
    action: string,
    attempt: () => boolean,
    instead: string,
  ): void {
    waitBlocking(
      options,
      this.#wait,
      action,
      attempt,
      (strategy, timeoutUs) => {
        this.#producer.waitNative(strategy, timeoutUs);
        this.#queue.resume();
      },
      () => this.#producer.blocked(instead),
    );
  }

  /**
   * Sends as many of `values`, from index `from` on, as there is room for now. A typed array of the
   * layout's own element type is copied as a whole.
   *
   * @returns How many were sent; 0 when the ring is full.
   * @throws {ChannelClosedError} If the channel is closed; `value` is what was not sent.
   * @throws {TypeError} If `values` is not an array or typed array, or a value has the wrong type.
   * @throws {RangeError} If a value is outside the layout's range. When a call throws one of these
   *   nothing of it was sent; a bad value further behind ends the call before it, and the next call,
   *   from there on, throws.
   */
  sendBatch(values: ArrayLike<Value>, from = 0): number {
    checkBatch(values);
    checkInteger("send a batch", "from", from, 0);
    if (this.#endpoint.handle === 0) {
      throw this.#closedError(Array.prototype.slice.call(values, from));
    }
    return this.#trySendSome(values, from, this.#queue.admits());
  }

  #trySendSome(values: ArrayLike<Value>, from: number, isAdmitted: boolean): number {
    if (isAdmitted) return this.#queue.sendSome(values, from);
    if (from < values.length) this.#producer.check(values[from] as Value);
    return 0;
  }

  /**
   * Sends all of `values`, waiting for room if need be. What has been sent stays sent when the call ends
   * early; with `onSent` the program knows how much that is, and can go on from there.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 2 });
   * using sender = channel.sender();
   * const values = [1, 2, 3, 4];
   * let sent = 0;
   * const signal = AbortSignal.timeout(1);
   * await sender.sendAll(values, { signal, onSent: (count) => sent = count }).catch(() => {});
   * assert.deepEqual(values.slice(sent), [3, 4]);
   * ```
   *
   * @returns A promise that resolves when all of them are in the ring. An abort rejects it with the
   *   signal's reason.
   * @throws {ChannelClosedError} If the channel is or becomes closed; `value` is what was not sent.
   * @throws {TypeError} If `values` is not an array or typed array, or a value has the wrong type.
   * @throws {RangeError} If a value is outside the layout's range, or longer than half the ring. Of what
   *   stands before such a value some may have been sent and some not: `onSent` tells.
   */
  sendAll(
    values: ArrayLike<Value>,
    options?: SendOptions & SendAllOptions,
  ): Promise<void> {
    try {
      const limits = limitsOf("send all", options);
      const batch = this.#batchOf(values, options);
      this.#producer.checkNotWriting();
      // A value that can never be sent must not wait in the queue.
      if (!this.#queue.isIdle && values.length > 0) this.#producer.check(values[0] as Value);
      return this.#queue.run(batch, limits);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #batchOf(values: ArrayLike<Value>, options: SendAllOptions | undefined): PendingBatch<Value> {
    checkBatch(values);
    const onSent = options?.onSent;
    if (onSent !== undefined) checkFunction("send all", "onSent", onSent);
    return new PendingBatch(values, onSent);
  }

  /**
   * Sends all of `values`, blocking this thread while there is no room.
   *
   * @throws {TimeoutError} If the time is up; `sent` says how many were sent.
   * @throws {DeadlockError} If there is no room, and every receiver is in this very thread; `sent` says how
   *   many were sent.
   * @throws {ChannelClosedError} If the channel is or becomes closed; `value` is what was not sent.
   * @throws {TypeError} If `values` is not an array or typed array, or a value has the wrong type.
   * @throws {RangeError} If a value is outside the layout's range, or longer than half the ring. Of what
   *   stands before such a value some may have been sent and some not: `onSent` tells.
   */
  sendAllSync(values: ArrayLike<Value>, options?: WaitOptions & SendAllOptions): void {
    const queue = this.#queue;
    const batch = this.#batchOf(values, options);
    this.#producer.checkNotWriting();
    try {
      this.#block(options, "send all", () => {
        if (!queue.admitsBlocking()) {
          if (batch.sent === 0 && values.length > 0) this.#producer.check(values[0] as Value);
          return false;
        }
        if (batch.attempt(queue)) return true;
        if (this.closed) throw this.#closedError(...batch.unsent());
        return false;
      }, "await sendAll()");
    } catch (error) {
      throw batch.endedBy(error);
    }
  }

  /**
   * A writer that sends in chunks: pushing a value is a plain store into the ring, and one call
   * publishes a chunk.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 1 << 16 });
   * const writer = channel.sender().writer();
   * const receiver = channel.receiver();
   * for (let i = 0; i < 1000; i++) writer.push(i);
   * writer.flush();
   * assert(receiver.receiveBatch(1000).length === 1000);
   * ```
   */
  writer(options?: WriterOptions): Writer<Value> {
    if (this.#endpoint.handle === 0) throw this.#closedError();
    return new Writer<Value>(
      this.#endpoint,
      this.#queue,
      options,
      this.#wait,
      (...unsent) => this.#closedError(...unsent),
    );
  }

  /**
   * Room for values in the ring itself, to be filled in place and then sent by
   * {@linkcode Sender.commit}. For numbers a typed array and for structs a `StructWindow` of up to
   * `count` values, fewer where the ring's end is near; for layouts of variable length exactly
   * `count` bytes for one message, as a Uint8Array. What a writer of this sender has pushed is published
   * first, so the room stays as it is until something else is sent, beyond the turn of the event loop,
   * too.
   *
   * Asynchronous I/O into it (`fs.read`, say) must be finished before {@linkcode Sender.commit}, before
   * anything else is sent and before the sender is closed, or it writes into a stranger's message. When a
   * Worker is terminated with a room that it has not committed, nobody else gets its ring: one of
   * `maxSenders` is used up.
   *
   * @returns The room, or undefined when there is none now.
   * @throws {ChannelClosedError} If the channel is closed; `value` is an array of what a writer had pushed
   *   and was not sent, if there was any.
   * @throws {RangeError} If `count` is not a positive integer, or more bytes than a message has.
   */
  reserve(count: number): Room<Value, Batch> | undefined {
    const producer = this.#producer;
    checkInteger("reserve", "count", count, producer instanceof FixedProducer ? 1 : 0);
    producer.checkNotWriting();
    if (this.#endpoint.handle === 0) throw this.#closedError();
    if (!this.#queue.admits()) return undefined;
    // Or the writer would publish it at the end of the turn, and the reservation would be void.
    if (!producer.publish()) {
      const unsent = producer.pendingValues();
      producer.discard();
      throw this.#closedError(unsent);
    }
    // There may be room all the same, in which nothing can be sent any more.
    if (this.closed) throw this.#closedError();
    const room = producer instanceof FixedProducer
      ? producer.reserveWindow(count)
      : producer.reserveBytes(count);
    if (room !== undefined) this.#reserved = { length: room.length, at: producer.checkpoint() };
    return room as Room<Value, Batch> | undefined;
  }

  /**
   * Sends the first `count` values, or bytes, of what `reserve()` gave.
   *
   * @throws {RangeError} If `count` is more than was reserved, nothing was, or something else was
   *   sent since.
   * @throws {ChannelClosedError} If the channel was closed meanwhile. What was written in place is still
   *   there.
   */
  commit(count: number = this.#reserved?.length ?? 0): void {
    checkInteger("commit", "count", count, 0);
    const producer = this.#producer;
    producer.checkNotWriting();
    if (this.#endpoint.handle === 0) throw this.#closedError();
    const reserved = this.#reserved;
    if (reserved === undefined || !producer.isAt(reserved.at)) {
      throw new RangeError(
        "Cannot commit: nothing is reserved, or something was sent since; reserve again",
      );
    }
    if (count > reserved.length) {
      throw new RangeError(
        `Cannot commit: at most the ${reserved.length} that were reserved, received ${count}`,
      );
    }
    this.#reserved = undefined;
    if (producer instanceof FixedProducer) producer.commitWindow(count);
    else producer.commitBytes(count);
    if (producer.publish()) return;
    // What was written in place stays with the caller; what a writer had pushed is told.
    producer.rollBack(reserved.at);
    const unsent = producer.pendingValues();
    producer.discard();
    throw this.#closedError(unsent);
  }

  /**
   * A stream that sends what is written to it. However it ends, this sender is closed, and the stream at
   * the other side of the channel ends in the same way:
   *
   * - Closing the stream closes this sender, when everything that was written is in the ring.
   * - Aborting it, as a pipe does whose source fails, closes this sender with the reason of the abort, so
   *   that no receiver takes what was sent for the whole: see {@linkcode Sender.close}. So does a chunk
   *   that cannot be sent: the write rejects, and the reason is its error.
   * - A close of the channel errors the stream, also while nothing is written, so that a pipe into it
   *   cancels its source.
   *
   * With the layout `bytes` a chunk that is longer than a message can be is sent as several. An idle stream
   * does not keep the process alive.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { bytes, mpsc } from "millrace";
   *
   * using channel = mpsc(bytes, { capacity: 4096 });
   * const stream = channel.receiver().toReadableStream();
   * const body = new Blob(["water ".repeat(10_000)]).stream();
   * const sending = body.pipeTo(channel.sender().toWritableStream());
   * let length = 0;
   * for await (const chunk of stream) length += chunk.length;
   * await sending;
   * assert(length === 60_000);
   * ```
   *
   * @param options How much the stream takes ahead, as a queuing strategy has it.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {RangeError} If `highWaterMark` is negative or NaN.
   */
  toWritableStream(options?: WritableOptions<Value>): WritableStream<Value> {
    const endpoint = this.#endpoint;
    const producer = this.#producer;
    return streamTo(
      {
        isClosed: () => this.closed,
        send: (value, options) => this.send(value, options),
        close: (...reason) => this.close(...reason),
        closedError: () => this.#closedError(),
        watchForClose: (onClosed) => watchForClose(endpoint, onClosed),
      },
      this.#isBytes && producer instanceof RecordProducer ? producer.messageBytesMax : undefined,
      options,
    );
  }

  /** Lets a pending `send()` keep the process alive, as it does unless `unref()` was called. */
  ref(): this {
    this.#queue.setRef(true);
    return this;
  }

  /** A pending `send()` no longer keeps the process alive. */
  unref(): this {
    this.#queue.setRef(false);
    return this;
  }

  /**
   * A weak sender of the same channel: it opens senders as long as the channel is open, and does not keep it
   * open. This sender stays as it is; close it when you are done.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8 });
   * const receiver = channel.receiver();
   * const sender = channel.sender();
   * using weak = sender.downgrade();
   * {
   *   using another = weak.upgrade();
   *   another?.trySend(1);
   * }
   * sender.close(); // the last one: the channel ends
   * assert(weak.upgrade() === undefined);
   * assert.deepEqual(await Array.fromAsync(receiver), [1]);
   * ```
   *
   * @throws {TypeError} If this sender is connected to another process.
   * @throws {ChannelClosedError} If this sender has been closed (`"ENDPOINT_CLOSED"`).
   */
  downgrade(): WeakSender<Value, Batch> {
    const { handle, bells } = this.#endpoint;
    if (handle === 0) throw this.#closedError();
    return new WeakSender(handle, bells, this.#openAnother);
  }

  /**
   * Closes this sender: what was sent, a writer's last chunk included, is delivered. (If the channel
   * is closed already that chunk is dropped; `flush()` before tells what it held.) Sends that still
   * wait for room reject. When it was the last sender the channel ends. Idempotent.
   *
   * With a reason this sender has failed, and closes the channel: other senders can send no more, and
   * every receiver gets, after all that was sent, {@linkcode ChannelClosedError} with the reason as its
   * `cause`, instead of an end that looks as if all was well.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { ChannelClosedError, mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8 });
   * const receiver = channel.receiver();
   * const sender = channel.sender();
   * try {
   *   await sender.send(1);
   *   throw new Error("the source failed");
   * } catch (error) {
   *   sender.close(error);
   * }
   * const end = await Array.fromAsync(receiver).catch((error) => error);
   * assert(end instanceof ChannelClosedError && end.cause instanceof Error);
   * assert(end.cause.message === "the source failed");
   * ```
   *
   * @param reason Why, if this is a failure. It is carried as that of {@linkcode Channel.close}.
   */
  close(...reason: [reason: unknown] | []): void {
    const encoded = reason.length === 0 ? undefined : encodeReason(reason[0]);
    if (this.#endpoint.handle === 0) return;
    if (reason.length !== 0) this.#closing = { reason: reason[0] };
    publishLast(this.#producer);
    this.#queue.cancel();
    this.#endpoint.close(encoded);
    this.#queue.end();
  }

  /** The same as {@linkcode Sender.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Waits for pending sends, as long as somebody may receive and make room for them, then closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await whileReceivable(this.#endpoint, async (signal) => {
      while (this.#queue.isPending && !this.closed) {
        await this.ready({ signal }).catch(() => signal.throwIfAborted());
      }
    });
    this.close();
  }
}

/** What {@linkcode Sender.reserve} gives: a typed array for numbers, a window of structs, or bytes. */
export type Room<Value, Batch> = Batch extends Value[]
  ? (Value extends Uint8Array | string ? Uint8Array : Window<Value> & RoomSetter<Value>)
  : Batch;

/** Structs and bytes in a ring, as room to be filled. */
export interface RoomSetter<Value> {
  /** The bytes themselves. */
  readonly bytes: Uint8Array;
  /** Puts a value at `index`. */
  set(index: number, value: Value): void;
}

function checkBatch(values: unknown): void {
  if (Array.isArray(values)) return;
  if (isTypedArray(values)) return checkMemory("send a batch", values);
  throw new TypeError(
    `Cannot send a batch: expected an array or typed array, received ${describe(values)}`,
  );
}

/** Publishes a writer's last chunk, unless the channel is closed or its memory is gone. */
function publishLast(producer: LastChunk): void {
  try {
    if (producer.publish()) return;
  } catch {
    // close() never throws: whoever transferred the memory away has lost the chunk with it.
  }
  producer.discard();
}

/** What a sender that closes needs of its producer. */
type LastChunk = Pick<FixedProducer<unknown, unknown>, "publish" | "discard">;

/** Closes a sender that is no more. */
function closerOf(endpoint: Endpoint, producer: LastChunk): () => boolean {
  return () => {
    publishLast(producer);
    endpoint.close();
    return true;
  };
}

/** What opens senders for a weak one. It keeps no sender and no channel. */
export function openerOf<Value, Batch>(
  bells: Bells,
  layout: Layout<Value, Batch>,
  wait: WaitStrategy,
  pollBudget: PollBudget,
  pool: PoolLink | undefined,
  numa: NumaMode | undefined,
): OpenSender<Value, Batch> {
  return (handle, options) =>
    openSenderOn(handle, bells, layout, wait, pollBudget, pool, options, numa);
}

/** Opens a sender on a channel this thread holds. */
export function openSenderOn<Value, Batch>(
  channel: number,
  bells: Bells,
  layout: Layout<Value, Batch>,
  wait: WaitStrategy,
  pollBudget: PollBudget,
  pool: PoolLink | undefined,
  options: PlaceOptions | undefined,
  numa: NumaMode | undefined,
): Sender<Value, Batch> {
  const place = encodePlace(checkPlace("open a sender", options, numa));
  const info = openInfo(
    "open a sender",
    bells,
    (symbols, info) => symbols.millrace_endpoint_open_on_at(channel, Role.sender, place, info),
  );
  return Sender[makeSender](new Endpoint(info, bells), layout, wait, pollBudget, pool);
}
