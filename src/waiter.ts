/**
 * How an event loop waits: it polls once a turn for a bounded, adaptive time, and then sleeps.
 *
 * @module
 */

import { checkDuration } from "./check.ts";
import { yieldCore, yieldCoreIfShared } from "./core.ts";
import {
  callsUnrefdImmediates,
  clearImmediate,
  clearInterval,
  clearTimeout,
  nowMs,
  queueMicrotask,
  setImmediate,
  setInterval,
  setTimeout,
  type Timer,
} from "./timers.ts";

/** What a waiter asks of whoever waits. */
export interface WaitTarget {
  /** Looks, and does what can be done. True: nothing is left to wait for. */
  attempt(): boolean;
  /** Arms the bell. False: there is something to do, do not sleep. */
  arm(): boolean;
  /** Takes the arm away, to look. */
  disarm(): void;
  /** Takes the arm away without a look; `disarm()` unless given. */
  giveUp?(): void;
  /** How many threads died holding an endpoint of this channel; a dying thread rings no bell. */
  orphans(): number;
  /** Whether there is something that another was woken for, and has not taken: then the sleeper looks, too. */
  isLeft?(): boolean;
}

/**
 * How long, in microseconds, an async wait polls once a turn of the event loop before it sleeps:
 * a number, or `"adaptive"`, which follows how long the last waits took, up to 1000.
 */
export type PollBudget = number | "adaptive";

/** Checks a polling budget. */
export function checkPollBudget(budget: unknown): PollBudget {
  if (budget === "adaptive") return budget;
  return checkDuration("poll", 'pollBudget must be "adaptive", or it', budget, "microseconds");
}

const adaptiveMaxMs = 1;
/**
 * Turns after which a poller offers its core to others, every turn: whoever it waits for may be
 * waiting for just that. A conversation between two cores is answered sooner.
 */
const turnsBeforeYield = 16;
/** Weight of the newest wait in the running mean of wait times. */
const newestWeight = 0.25;
/**
 * How often a sleeper looks whether a thread died, or another that was woken is too busy to look. Every
 * living waker rings; this is only for what a dying one could not ring, and for what rang in vain. It keeps
 * the process alive while somebody waits.
 */
const watchMs = 500;

/** One endpoint's waiting on its event loop. At most one wait is under way. */
export class Waiter {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #index: number;
  readonly #target: WaitTarget;
  readonly #fixedBudgetMs: number | undefined;
  #expectedWaitMs = adaptiveMaxMs / 2;
  #isWaiting = false;
  #hasRef = true;
  #startedAt = 0;
  #turns = 0;
  #pollUntil = 0;
  #immediate: Timer | undefined;
  /** In place of that, where an unref'd immediate would not be called. */
  #timeout: Timer | undefined;
  /** Outlives a sleep by some microtasks: a wait that begins again at once finds it there. */
  #watch: Timer | undefined;
  #isRestingWatch = false;
  #isAsleep = false;
  /** It was armed and did not fall asleep: a waker may have been, and nobody has looked since. */
  #owesLook = false;
  #orphansSeen = 0;
  /** Counts sleeps, so that a wake-up meant for an earlier one is not taken for this one's. */
  #sleep = 0;

  constructor(
    words: Int32Array<SharedArrayBuffer>,
    index: number,
    target: WaitTarget,
    budget: PollBudget,
  ) {
    this.#words = words;
    this.#index = index;
    this.#target = target;
    this.#fixedBudgetMs = budget === "adaptive" ? undefined : budget / 1000;
  }

  /** Begins to wait, unless a wait is under way. `attempt` has just been made, in vain. */
  start(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#startedAt = nowMs();
    this.#turns = 0;
    if (yieldCoreIfShared()) {
      if (this.#target.attempt()) return this.#finish();
      if (this.#isOver()) return;
    }
    const budgetMs = this.#budgetMs();
    this.#pollUntil = this.#startedAt + budgetMs;
    if (budgetMs === 0) this.#fallAsleep();
    else this.#pollNextTurn();
  }

  /**
   * Begins to wait, unless a wait is under way, with a look in the next turn: there is something, but the
   * event loop has to turn first. That it has to keeps the process alive even without `ref()`.
   */
  startNextTurn(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#turns = 0;
    this.#startedAt = this.#pollUntil = nowMs();
    this.#immediate = setImmediate(this.#poll);
  }

  /** Gives up waiting: nobody waits any more. */
  cancel(): void {
    if (this.#isWaiting) this.#giveUp();
    this.#stopWatch();
  }

  #giveUp(): void {
    this.#isWaiting = false;
    this.#dropTurn();
    if (this.#isAsleep || this.#owesLook) {
      this.#owesLook = false;
      if (this.#target.giveUp === undefined) this.#target.disarm();
      else this.#target.giveUp();
    }
    if (this.#isAsleep) {
      this.#endSleep();
      // The pending waitAsync would stay in the waiter list: wake it, its wake-up goes nowhere.
      Atomics.notify(this.#words, this.#index);
    }
  }

  /**
   * A blocking call on the same endpoint has used, and cleared, the word this waiter had armed: it
   * has to look and arm again.
   */
  resume(): void {
    if (!this.#isAsleep) return;
    this.#endSleep();
    Atomics.notify(this.#words, this.#index);
    this.#pollNextTurn();
  }

  /** Whether a wait keeps the process alive. */
  setRef(hasRef: boolean): void {
    this.#hasRef = hasRef;
    if (this.#immediate !== undefined && !this.#canPoll()) {
      this.#dropTurn();
      this.#pollUntil = 0;
      this.#pollNextTurn();
    }
    for (const timer of [this.#immediate, this.#timeout, this.#isAsleep && this.#watch]) {
      if (!timer) continue;
      if (hasRef) timer.ref();
      else timer.unref();
    }
  }

  /** Whether the next turn of the event loop comes by itself. */
  #canPoll(): boolean {
    return this.#hasRef || callsUnrefdImmediates;
  }

  #budgetMs(): number {
    if (!this.#canPoll()) return 0;
    if (this.#fixedBudgetMs !== undefined) return this.#fixedBudgetMs;
    // Waits that took longer than polling may last are better slept through from the start.
    if (this.#expectedWaitMs > adaptiveMaxMs) return 0;
    return Math.min(adaptiveMaxMs, 4 * this.#expectedWaitMs + 0.02);
  }

  /** An attempt can run a program's code, which may have cancelled this wait, or begun another. */
  #isOver(): boolean {
    return !this.#isWaiting || this.#immediate !== undefined || this.#timeout !== undefined ||
      this.#isAsleep;
  }

  #finish(): void {
    this.#isWaiting = false;
    // The attempt may have begun, and served, another wait.
    this.#dropTurn();
    const waitedMs = Math.min(nowMs() - this.#startedAt, 4 * adaptiveMaxMs);
    this.#expectedWaitMs += newestWeight * (waitedMs - this.#expectedWaitMs);
    this.#restWatchSoon();
  }

  #pollNextTurn(): void {
    if (!this.#canPoll()) {
      this.#timeout = setTimeout(this.#poll, 0);
      this.#timeout.unref();
      return;
    }
    this.#immediate = setImmediate(this.#poll);
    if (!this.#hasRef) this.#immediate.unref();
  }

  #dropTurn(): void {
    if (this.#immediate !== undefined) clearImmediate(this.#immediate);
    if (this.#timeout !== undefined) clearTimeout(this.#timeout);
    this.#immediate = undefined;
    this.#timeout = undefined;
  }

  readonly #poll = (): void => {
    this.#immediate = undefined;
    this.#timeout = undefined;
    if (!this.#isWaiting) return;
    this.#owesLook = false;
    if (this.#target.attempt()) {
      this.#finish();
      return;
    }
    if (this.#isOver()) return;
    if (nowMs() < this.#pollUntil) {
      if (++this.#turns > turnsBeforeYield) yieldCore();
      this.#pollNextTurn();
    } else {
      this.#fallAsleep();
    }
  };

  #fallAsleep(): void {
    const sleep = ++this.#sleep;
    // Both before the arm: what happens after it changes one of them, or is seen by arm().
    this.#orphansSeen = this.#target.orphans();
    const rung = Atomics.load(this.#words, this.#index);
    if (!this.#target.arm()) {
      this.#owesLook = true;
      return this.#pollNextTurn();
    }
    const slept = Atomics.waitAsync(this.#words, this.#index, rung);
    if (!slept.async) {
      this.#target.disarm();
      this.#owesLook = true;
      return this.#pollNextTurn();
    }
    this.#isAsleep = true;
    if (this.#watch === undefined) {
      this.#watch = setInterval(this.#lookForOrphans, watchMs);
      if (!this.#hasRef) this.#watch.unref();
    } else if (this.#hasRef) this.#watch.ref();
    slept.value.then(() => {
      if (sleep !== this.#sleep) return;
      this.#isAsleep = false;
      this.#sleep++;
      // A ring without a taken arm (the ring of a close) leaves the arm in place.
      this.#target.disarm();
      this.#poll();
      this.#restWatchSoon();
    });
  }

  /** Behind what an attempt resolved: what waited goes on first, and may wait again. */
  #restWatchSoon(): void {
    if (this.#watch === undefined || this.#isRestingWatch) return;
    this.#isRestingWatch = true;
    queueMicrotask(this.#restWatch);
  }

  readonly #restWatch = (): void => {
    this.#isRestingWatch = false;
    if (this.#isAsleep) return;
    if (this.#isWaiting) this.#watch?.unref();
    else this.#stopWatch();
  };

  /** A timer that is left is a leak to the sanitizers of `deno test`. */
  #stopWatch(): void {
    if (this.#watch !== undefined) clearInterval(this.#watch);
    this.#watch = undefined;
  }

  readonly #lookForOrphans = (): void => {
    if (!this.#isAsleep) return;
    const isSame = this.#target.orphans() === this.#orphansSeen;
    if (isSame && this.#target.isLeft?.() !== true) return;
    this.#target.disarm();
    this.#endSleep();
    Atomics.notify(this.#words, this.#index);
    this.#poll();
  };

  #endSleep(): void {
    this.#isAsleep = false;
    this.#watch?.unref();
    this.#sleep++;
  }
}
