/**
 * Iterating over what a receiver receives: written once for values and batches, for `for await` and for
 * streams.
 *
 * @module
 */

import { PendingWait } from "./pending.ts";

/** A receive that waits for its turn. */
export abstract class PendingReceive extends PendingWait {
  /** How many messages to claim for it, where receivers share the rings. Undefined: it only looks. */
  readonly claim: number | undefined;
  /**
   * Of an iteration, which has handled an item when it asks for the next one. It ends, too, when its
   * receiver is closed: nothing it was handed is missing.
   */
  readonly isIteration: boolean;

  constructor(claim: number | undefined, isIteration: boolean) {
    super();
    this.claim = claim;
    this.isIteration = isIteration;
  }

  /** Something is there: takes what it wants. If this throws, the receive is rejected with that. */
  abstract serve(): void;

  /** The channel has ended. */
  abstract end(): void;
}

/** What is iterated over. */
export interface ItemSource<Item> {
  /** How many messages to claim for an item, where receivers share the rings. */
  readonly claim: number;
  /** Whether the receiver was closed since the iteration began: then the iteration ends. */
  isClosed(): boolean;
  /** Whether an item can be taken at once. Throws if none may be taken at all, as from a closed receiver. */
  isThere(): boolean;
  /** Takes the item that is there. What was taken before counts as handled. */
  take(): Item;
  /** Has the receive served when something is there, after those that wait already. */
  wait(receive: PendingReceive): void;
  /** Takes a receive back that waits. False: it does not. */
  forget(receive: PendingReceive): boolean;
  /** What the channel ended with, if that was no clean end. */
  failure(): Error | undefined;
  /** The iteration is under way: more will be taken. */
  begin(): void;
  /** It has ended or was left: gives back what was taken. */
  finish(): void;
}

/** Where an item goes that was waited for. */
export interface ItemSink<Item> {
  /** Takes an item in. False: another one is wanted. */
  give(item: Item): boolean;
  /** There will be no item: the channel has ended, perhaps with a failure, or the receive was taken back. */
  end(failure?: Error): void;
  /** There is none because of this. */
  fail(error: unknown): void;
}

/** A receive whose item goes to a sink. */
export class PendingItem<Item> extends PendingReceive {
  readonly #source: ItemSource<Item>;
  readonly #sink: ItemSink<Item>;

  constructor(source: ItemSource<Item>, sink: ItemSink<Item>) {
    super(source.claim, true);
    this.#source = source;
    this.#sink = sink;
  }

  override serve(): void {
    if (!this.#sink.give(this.#source.take())) this.#source.wait(this);
  }

  override reject(error: unknown): void {
    this.#sink.fail(error);
  }

  /** It was taken back. */
  cancel(): void {
    this.#sink.end();
  }

  override end(): void {
    this.#sink.end(this.#source.failure());
  }
}

/** An iteration under way. It ends, as every iteration, with the first item that cannot be had. */
export class Iteration<Item> implements AsyncGenerator<Item, void, void> {
  readonly #open: () => ItemSource<Item>;
  #source: ItemSource<Item> | undefined;
  #isFinished = false;
  #isUnderWay = false;
  /** Calls of next() that have not been served: return() takes them back. */
  readonly #waiting = new Set<PendingItem<Item>>();

  /** @param open Checks what the iteration was asked with; what it throws, the first next() does. */
  constructor(open: () => ItemSource<Item>) {
    this.#open = open;
  }

  /** The next item, or the end. */
  next(): Promise<IteratorResult<Item, void>> {
    let isThere = false;
    try {
      if (this.#isFinished) return done();
      const source = this.#source ??= this.#open();
      isThere = source.isThere();
      if (!this.#isUnderWay) {
        this.#isUnderWay = true;
        source.begin();
      }
      if (isThere) return Promise.resolve({ done: false, value: source.take() });
      return this.#wait(source);
    } catch (error) {
      this.#end();
      return !isThere && this.#source?.isClosed() ? done() : Promise.reject(error);
    }
  }

  #end(): void {
    if (!this.#isUnderWay) return;
    this.#isUnderWay = false;
    this.#source?.finish();
  }

  #wait(source: ItemSource<Item>): Promise<IteratorResult<Item, void>> {
    const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<Item, void>>();
    const item: PendingItem<Item> = new PendingItem(source, {
      give: (value) => {
        this.#waiting.delete(item);
        resolve({ done: false, value });
        return true;
      },
      end: (failure) => {
        this.#waiting.delete(item);
        this.#end();
        if (failure === undefined) resolve({ done: true, value: undefined });
        else reject(failure);
      },
      fail: (error) => {
        this.#waiting.delete(item);
        this.#end();
        reject(error);
      },
    });
    this.#waiting.add(item);
    source.wait(item);
    return promise;
  }

  /** Ends the iteration at once: calls of `next()` that wait end, too, and take nothing. */
  return(): Promise<IteratorResult<Item, void>> {
    this.#isFinished = true;
    const source = this.#source;
    if (source !== undefined) {
      for (const item of [...this.#waiting]) {
        if (source.forget(item)) item.cancel();
      }
      this.#end();
    }
    return done();
  }

  /** Ends the iteration at once, and rejects with `error`. */
  async throw(error: unknown): Promise<IteratorResult<Item, void>> {
    await this.return();
    throw error;
  }

  /** This iteration. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The same as `return()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

function done(): Promise<IteratorReturnResult<void>> {
  return Promise.resolve({ done: true, value: undefined });
}
