/**
 * The turns of this thread's event loop: what endpoints have to do before it turns, or before the thread
 * blocks, and that it turns at all. A loop whose every `await` is answered at once never ends its task,
 * so no timer, no I/O and no other task of the thread would have a turn.
 *
 * @module
 */

import { Pace } from "./pace.ts";
import { nowMs, setImmediate } from "./timers.ts";

/** How long, in milliseconds, a turn of the event loop may last. */
export const turnMsDefault = 2;

/** The most answers between two looks at the clock: with 32 they cost a `for await` in Deno 8 %, with 128 2 %. */
const answersMax = 128;

/** What holds values that were taken and not given back. */
export interface Holder {
  /** Whether it is among those that are asked to give back. Set here. */
  isHeld: boolean;
  /**
   * Gives back what the program has handled.
   *
   * @param isTurnOver Whether this turn has ended. Else the thread is about to block in the middle of it.
   */
  settleHandled(isTurnOver: boolean): void;
}

const held = new Set<Holder>();

/** The end of this turn is waited for. */
let isMarked = false;
/** Something was answered at once in this turn; the turn may last until then. */
let isTimed = false;
let untilMs = 0;
let isOver = false;
let turns = 0;
/** Resolved when this turn ends, if anything waits for that. */
let end: PromiseWithResolvers<void> | undefined;

/**
 * Whether this turn of the event loop has lasted so long that nothing more is to be answered at once. To
 * be told when it began, it has to be asked early.
 */
function isOverAt(now: number): boolean {
  if (!isTimed) {
    isTimed = true;
    untilMs = now + turnMsDefault;
    markTurn();
  } else if (now >= untilMs) {
    isOver = true;
  }
  return isOver;
}

/** Whether this turn was found to have lasted too long. */
export function isTurnOver(): boolean {
  return isOver;
}

const resolved: Promise<void> = Promise.resolve();

/** Resolves in the next turn of the event loop. */
export function turnEnd(): Promise<void> {
  markTurn();
  end ??= Promise.withResolvers();
  return end.promise;
}

/** What one endpoint may answer at once. */
export class Answers {
  /**
   * How many promises may be answered at once before the next look at the clock. Count it down, and ask
   * `areOver()` below 0.
   */
  left = 0;
  readonly #pace = new Pace(turnMsDefault, answersMax);
  #turn = -1;

  /** Resolves at once, or, when the event loop has to turn first, in its next turn. */
  answer(): Promise<void> {
    return --this.left >= 0 || !this.areOver() ? resolved : turnEnd();
  }

  /** Whether the event loop has to turn before the next answer. */
  areOver(): boolean {
    const now = nowMs();
    if (isOver || isOverAt(now)) {
      this.left = 0;
      return true;
    }
    const steps = this.#turn === turns ? this.#pace.next(now) : this.#pace.begin(now);
    this.#turn = turns;
    this.left = steps - 1;
    return false;
  }
}

function markTurn(): void {
  if (isMarked) return;
  isMarked = true;
  setImmediate(endTurn);
}

function endTurn(): void {
  isMarked = isTimed = isOver = false;
  turns++;
  end?.resolve();
  end = undefined;
  settleHeld(true);
  for (const holder of held) holder.isHeld = false;
  held.clear();
}

/** Has the holder give back when this thread blocks, until it is let go. */
export function hold(holder: Holder): void {
  if (holder.isHeld) return;
  holder.isHeld = true;
  held.add(holder);
}

/** Has the holder give back when this turn ends, or this thread blocks. */
export function holdThisTurn(holder: Holder): void {
  hold(holder);
  markTurn();
}

/** The holder has given everything back. */
export function letGo(holder: Holder): void {
  if (!holder.isHeld) return;
  holder.isHeld = false;
  held.delete(holder);
}

/**
 * Has everything given back that this thread's receivers have handled. To be called before the thread
 * blocks: what it waits for may need the room.
 */
export function settleHeld(isTurnOver = false): void {
  for (const holder of held) {
    try {
      holder.settleHandled(isTurnOver);
    } catch {
      // Its channel is corrupt or gone: its own next call says so.
    }
  }
}
