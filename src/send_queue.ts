/**
 * What waits in a sender: for room in its ring, or for a slab. Whatever the verb, what came first goes
 * first.
 *
 * @module
 */

import type { Endpoint } from "./endpoint.ts";
import { DeadlockError, type MillraceError, TimeoutError } from "./errors.ts";
import { type CheckedLimits, PendingPromise, PendingQueue } from "./pending.ts";
import type { FixedProducer, Need, RecordProducer } from "./producer.ts";
import { SenderWaiter } from "./sender_waiter.ts";
import { clearImmediate, setImmediate, type Timer } from "./timers.ts";
import { Answers } from "./turn.ts";
import { isTypedArray, lengthOf } from "./typed_array.ts";
import type { PollBudget } from "./waiter.ts";

/** The error of a closed sender or channel, with what was not sent. */
export type ClosedError = (...unsent: [value: unknown] | []) => MillraceError;

/** One pending wait of a sender. */
export abstract class PendingSend<Value> extends PendingPromise<void> {
  /** Whether it sends something, or only waits for room. */
  abstract readonly hasValues: boolean;

  /** Does what it waits for, as far as there is room. False: it has to wait on. */
  abstract attempt(queue: SendQueue<Value>): boolean;

  /** What it has not sent, for the error of a channel that is closed. */
  abstract unsent(): [value: unknown] | [];
}

/** A `send()` that waits. */
export class PendingValue<Value> extends PendingSend<Value> {
  readonly hasValues = true;
  readonly #value: Value;
  #need: Need;

  /** `need` says what it waits for: the producer has just found out. */
  constructor(value: Value, need: Need) {
    super();
    this.#value = value;
    this.#need = need;
  }

  attempt({ producer }: SendQueue<Value>): boolean {
    if (producer.encodesInVain && !producer.hasRoomFor(this.#need)) return false;
    if (!producer.put(this.#value)) {
      this.#need = producer.need;
      return false;
    }
    // The value's own code can have aborted the wait: then it is not sent.
    if (this.isPending && producer.publish()) return true;
    producer.takeBack();
    return false;
  }

  unsent(): [value: unknown] {
    return [this.#value];
  }
}

/** A `sendAll()`: it sends what there is room for, and stays first until it has sent everything. */
export class PendingBatch<Value> extends PendingSend<Value> {
  readonly hasValues = true;
  readonly #values: ArrayLike<Value>;
  readonly #onSent: ((sent: number) => void) | undefined;
  /** How many of the values have been sent: the first ones. */
  sent = 0;
  /** What the next one waits for. */
  #need: Need | undefined;
  /** How many there were, of a typed array: fewer later means that its memory is gone. */
  readonly #elements: number;

  constructor(values: ArrayLike<Value>, onSent: ((sent: number) => void) | undefined) {
    super();
    this.#values = values;
    this.#onSent = onSent;
    this.#elements = isTypedArray(values) ? lengthOf(values) : 0;
  }

  attempt(queue: SendQueue<Value>): boolean {
    const { producer } = queue;
    if (this.#elements > this.#values.length) throw this.#shrunk();
    if (producer.encodesInVain && this.#need !== undefined && !producer.hasRoomFor(this.#need)) {
      return false;
    }
    // What a writer has put before these values is published before them.
    const before = producer.published + producer.pendingMessages;
    try {
      queue.sendSome(this.#values, this.sent);
    } finally {
      const sent = Math.max(0, producer.published - before);
      this.sent += sent;
      if (sent > 0) this.#onSent?.(this.sent);
    }
    if (this.sent >= this.#values.length) return true;
    this.#need = producer.need;
    return false;
  }

  #shrunk(): TypeError {
    return new TypeError(
      `Cannot send all: expected ${this.#elements} values until all are sent, received ` +
        `${this.#values.length} after ${this.sent} were: the buffer of the typed array was transferred ` +
        "away or has become shorter",
    );
  }

  unsent(): [value: unknown] {
    return [Array.prototype.slice.call(this.#values, this.sent)];
  }

  override reject(reason: unknown): void {
    super.reject(this.endedBy(reason));
  }

  /** The error that ends the call: it says how many were sent, where the time was up or will never come. */
  endedBy(error: unknown): unknown {
    const Class = [TimeoutError, DeadlockError].find((Class) => error instanceof Class);
    if (Class === undefined) return error;
    const { code, message } = error as TimeoutError;
    return new Class(
      code,
      `${message}; sent ${this.sent} of ${this.#values.length}`,
      this.sent,
    );
  }
}

/** A `ready()`: it takes nothing, and gets the first chance to use the room that it waited for. */
export class PendingRoom<Value> extends PendingSend<Value> {
  readonly hasValues = false;
  readonly #need: Need;

  constructor(need: Need) {
    super();
    this.#need = need;
  }

  attempt({ producer }: SendQueue<Value>): boolean {
    return producer.hasRoomFor(this.#need);
  }

  unsent(): [] {
    return [];
  }
}

/**
 * The queue of one sender.
 *
 * - It is served from its start, by the event loop and by every call that comes meanwhile. What does not
 *   find room holds back those behind it, also if they need less.
 * - A `send()` or `sendAll()` sends by itself as room comes, so it cannot miss its turn.
 * - A `ready()` that finds room is told by its promise; what the program then does comes later, in a
 *   microtask. So it is given a **turn**: those behind it wait until the program has used the room, by
 *   a call that does not wait, or until the next turn of the event loop.
 * - Calls that do not wait (`trySend()` and the like) come after every value that waits. They do not
 *   come after a `ready()`, which may want more room than there is, or none any more.
 */
export class SendQueue<Value> {
  readonly producer: FixedProducer<Value, unknown> | RecordProducer<Value>;
  readonly #endpoint: Endpoint;
  readonly #closedError: ClosedError;
  readonly #waiter: SenderWaiter;
  readonly #pending = new PendingQueue<PendingSend<Value>>((wasFirst, wait) => {
    this.#hasLeft(wait);
    if (this.#pending.length === 0) this.#waiter.cancel();
    // The one behind may need less room than the first did.
    else if (wasFirst) this.#waiter.resume();
  }, () => void this.#serve(false));
  /** Of what was done at once. */
  readonly answers: Answers = new Answers();
  /** How many of those that wait have something to send. */
  #withValues = 0;
  /** A `ready()` has found room, and the program has not used it yet. */
  #hasTurn = false;
  /** Ends that at the next turn of the event loop. */
  #turnEnd: Timer | undefined;
  /** What waits is being served, and has called the program. */
  #isServing = false;
  /** Nothing waits, and no turn is under way: every call can go on. */
  isIdle = true;

  constructor(
    endpoint: Endpoint,
    producer: FixedProducer<Value, unknown> | RecordProducer<Value>,
    pollBudget: PollBudget,
    closedError: ClosedError,
  ) {
    this.#endpoint = endpoint;
    this.producer = producer;
    this.#closedError = closedError;
    this.#waiter = new SenderWaiter(endpoint, {
      attempt: () => this.#serve(false),
      slotsNeeded: () => producer.slotsNeeded,
      slabsNeeded: () => producer.slabsNeeded,
      isPending: () => this.#pending.length !== 0,
    }, pollBudget);
  }

  /** Whether something waits. */
  get isPending(): boolean {
    return this.#pending.length !== 0;
  }

  /** Whether values wait, which no other may pass by. */
  get hasValues(): boolean {
    return this.#withValues !== 0;
  }

  /** Whether a call that does not wait can go on: not before values that do. */
  admits(): boolean {
    return this.isIdle || this.#admits(false);
  }

  /** The same of a call that blocks the thread, so that no promise goes on meanwhile. */
  admitsBlocking(): boolean {
    return this.isIdle || this.#admits(true);
  }

  #admits(isBlocking: boolean): boolean {
    // What is being served has called the program: it goes on when that returns.
    if (this.#isServing || this.#takeTurn() || this.#withValues === 0) return true;
    this.#serve(isBlocking);
    return this.#withValues === 0;
  }

  /**
   * Has something wait at the end of the queue.
   *
   * @throws What the limits throw; then nothing waits.
   */
  push(wait: PendingSend<Value>, limits: CheckedLimits | undefined): Promise<void> {
    this.#pending.push(wait, limits);
    this.isIdle = false;
    if (wait.hasValues) {
      this.#withValues++;
      // What a writer pushes must not pass them by.
      this.producer.closeChunk();
    }
    this.#waiter.start();
    return wait.promise;
  }

  /** Has something done now, if it is its turn and there is room; else it waits. */
  run(wait: PendingSend<Value>, limits: CheckedLimits | undefined): Promise<void> {
    if (!this.isIdle) return this.push(wait, limits);
    this.#isServing = true;
    try {
      if (this.#outcomeOf(wait)) {
        return this.answers.answer();
      }
    } finally {
      this.#isServing = false;
    }
    return this.push(wait, limits);
  }

  /** Ends a wait for room as if there was some, if it still waits. */
  release(wait: PendingSend<Value>): void {
    const wasFirst = this.#pending.first === wait;
    if (!this.#pending.remove(wait)) return;
    this.#hasLeft(wait);
    if (this.#pending.length === 0) this.#waiter.cancel();
    else if (wasFirst) this.#waiter.resume();
    wait.resolve();
  }

  /** Serves what waits, as far as there is room. True: nothing waits any more. */
  #serve(isBlocking: boolean): boolean {
    if (this.#isServing || this.#hasTurn) return this.#pending.length === 0;
    this.#isServing = true;
    try {
      for (let wait = this.#pending.first; wait !== undefined; wait = this.#pending.first) {
        let failure: { readonly error: unknown } | undefined;
        try {
          // Otherwise what it called has ended it.
          if (!this.#outcomeOf(wait) && wait.isPending) return false;
        } catch (error) {
          failure = { error };
        }
        if (!this.#pending.remove(wait)) continue;
        this.#hasLeft(wait);
        if (failure !== undefined) wait.reject(failure.error);
        else {
          wait.resolve();
          if (!wait.hasValues && !isBlocking) {
            this.#giveTurn();
            if (this.#pending.length !== 0) return false;
          }
        }
      }
    } finally {
      this.#isServing = false;
    }
    this.#waiter.cancel();
    return true;
  }

  /** Attempts it; throws if the channel or the sender is closed. */
  #outcomeOf(wait: PendingSend<Value>): boolean {
    if (this.#endpoint.handle !== 0 && wait.attempt(this)) {
      // Where there is nothing to send, room in a closed ring is no room.
      if (wait.hasValues || !this.#isClosed()) return true;
    } else if (!this.#isClosed()) return false;
    throw this.#closedError(...wait.unsent());
  }

  #isClosed(): boolean {
    const { handle, symbols } = this.#endpoint;
    return handle === 0 || symbols.millrace_endpoint_close_state(handle) !== 0;
  }

  /**
   * Puts and publishes values from `from` on, as far as there is room, and says how many.
   *
   * @throws {ChannelClosedError} If the channel is closed; `value` is what was not sent.
   */
  sendSome(values: ArrayLike<Value>, from: number): number {
    const { producer } = this;
    const before = producer.checkpoint();
    const ahead = producer.published + producer.pendingMessages;
    let put: number;
    try {
      put = producer.putMany(values, from);
    } catch (error) {
      // A value in the first run was bad: of this batch nothing is sent.
      producer.rollBack(before);
      throw error;
    }
    const isPublished = producer.pendingMessages === 0
      ? put > 0 || !this.#isClosed()
      : producer.publish();
    if (isPublished) return put;
    const sent = Math.max(0, producer.published - ahead);
    // What a writer had put before these values is not sent either. If a value's own code has closed the
    // sender it was published, or is gone with the memory.
    const others = this.#endpoint.handle === 0 ? 0 : producer.pendingMessages - (put - sent);
    const unsent = others > 0 ? Array.from(producer.pendingValues()).slice(0, others) : [];
    producer.discard();
    throw this.#closedError(unsent.concat(Array.prototype.slice.call(values, from + sent)));
  }

  #hasLeft(wait: PendingSend<Value>): void {
    if (wait.hasValues) this.#withValues--;
    this.#tellIdle();
  }

  #tellIdle(): void {
    this.isIdle = this.#pending.length === 0 && !this.#hasTurn;
  }

  #giveTurn(): void {
    this.#hasTurn = true;
    this.#tellIdle();
    this.#turnEnd = setImmediate(() => this.#takeTurn());
  }

  /** Ends the turn under way; false if there is none. */
  #takeTurn(): boolean {
    if (!this.#hasTurn) return false;
    this.#hasTurn = false;
    // A timer that is left is a leak to the sanitizers of `deno test`.
    clearImmediate(this.#turnEnd);
    this.#turnEnd = undefined;
    this.#tellIdle();
    // If it fell asleep meanwhile that was for what another wait needs.
    this.#waiter.resume();
    return true;
  }

  /** A blocking call has used the arm of the sender: whoever sleeps has to look again. */
  resume(): void {
    this.#waiter.resume();
  }

  /** Whether a wait keeps the process alive. */
  setRef(hasRef: boolean): void {
    this.#waiter.setRef(hasRef);
  }

  /** Gives up waiting: the sender closes, and rejects what still waits by `end()`. */
  cancel(): void {
    this.#takeTurn();
    this.#waiter.cancel();
  }

  /** Rejects what waits. */
  end(): void {
    for (const wait of this.#pending.takeAll()) {
      this.#hasLeft(wait);
      wait.reject(this.#closedError(...wait.unsent()));
    }
  }
}
