/**
 * What a sender waits for: room in its ring, or, where its messages go through a pool, a free slab.
 *
 * @module
 */

import { Bells } from "./bells.ts";
import type { Endpoint } from "./endpoint.ts";
import { armBell } from "./ringer.ts";
import type { SlabPort } from "./slab.ts";
import { queueMicrotask } from "./timers.ts";
import { type PollBudget, Waiter } from "./waiter.ts";

/** What a sender tells its waiter. */
export interface SenderWaitTarget {
  /** Sends what waits, as far as it can. True: nothing waits any more. */
  attempt(): boolean;
  /** Slots that what waits first needs. */
  slotsNeeded(): number;
  /** Where the slab comes from that what waits first needs; undefined: it needs room. */
  slabsNeeded(): SlabPort | undefined;
  /** Whether anything waits. */
  isPending(): boolean;
}

/** A sender's waiting on its event loop, with the face of a {@linkcode Waiter}. */
export class SenderWaiter {
  readonly #target: SenderWaitTarget;
  readonly #endpoint: Endpoint;
  readonly #pollBudget: PollBudget;
  readonly #room: Waiter;
  #slabs: Waiter | undefined;
  #hasRef = true;

  constructor(endpoint: Endpoint, target: SenderWaitTarget, pollBudget: PollBudget) {
    this.#endpoint = endpoint;
    this.#target = target;
    this.#pollBudget = pollBudget;
    const { symbols } = endpoint;
    this.#room = new Waiter(endpoint.bells.words, Bells.ofSender(endpoint.info.index), {
      attempt: () => target.attempt() || this.#turnTo(target.slabsNeeded() !== undefined),
      arm: () =>
        armBell(
          endpoint,
          () => symbols.millrace_sender_arm(endpoint.handle, target.slotsNeeded()),
        ),
      disarm: () => void symbols.millrace_sender_disarm(endpoint.handle),
      orphans: () => endpoint.orphans(),
    }, pollBudget);
  }

  /** Begins to wait, unless it waits. An attempt has just been made, in vain. */
  start(): void {
    const slabs = this.#target.slabsNeeded();
    if (slabs === undefined) return this.#room.start();
    this.#slabs ??= this.#slabWaiter(slabs);
    this.#slabs.start();
  }

  #slabWaiter(port: SlabPort): Waiter {
    const { endpoint: pool } = port;
    const { symbols, handle } = this.#endpoint;
    const waiter = new Waiter(pool.bells.words, Bells.ofReceiver(0), {
      attempt: () =>
        this.#target.attempt() || this.#turnTo(this.#target.slabsNeeded() === undefined),
      // A channel that closes after this look rings the pool's bell, too.
      arm: () =>
        armBell(pool, () => symbols.millrace_pool_arm(pool.handle)) &&
        symbols.millrace_endpoint_close_state(handle) === 0,
      // The arm is shared by all who wait for a slab.
      disarm: () => {},
      // Native code that closes the channel rings no bell of the pool: the watch finds it, as it finds
      // a death.
      orphans: () =>
        pool.orphans() + this.#endpoint.orphans() +
        symbols.millrace_endpoint_close_state(handle),
    }, this.#pollBudget);
    waiter.setRef(this.#hasRef);
    return waiter;
  }

  /** If what waits first needs the other thing now, it is waited for next. */
  #turnTo(needsOther: boolean): boolean {
    if (!needsOther) return false;
    // Not from within the waiter that is about to end.
    queueMicrotask(() => {
      if (this.#target.isPending()) this.start();
    });
    return true;
  }

  /** Gives up waiting. */
  cancel(): void {
    this.#room.cancel();
    this.#slabs?.cancel();
  }

  /**
   * As {@linkcode Waiter.resume}: a blocking call has used the arm for room, or what waited first is
   * gone and the next may need the other thing.
   */
  resume(): void {
    this.#room.resume();
    this.#slabs?.resume();
  }

  /** Whether a wait keeps the process alive. */
  setRef(hasRef: boolean): void {
    this.#hasRef = hasRef;
    this.#room.setRef(hasRef);
    this.#slabs?.setRef(hasRef);
  }
}
