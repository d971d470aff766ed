/**
 * How often to look at the clock: looking costs as much as a small message, and not looking lets a slow
 * one overrun.
 *
 * @module
 */

/** Between two looks passes no more than this part of the budget, unless the steps become slower. */
const windowPart = 1 / 16;

/** Counts the steps between two looks at the clock, by how long the last ones took. */
export class Pace {
  readonly #windowMs: number;
  readonly #stepsMax: number;
  #steps = 1;
  #lookedAtMs = 0;

  /**
   * @param budgetMs What must not be overrun, by more than one slow step.
   * @param stepsMax The most steps between two looks: so many can become slow without being noticed.
   */
  constructor(budgetMs: number, stepsMax: number) {
    this.#windowMs = budgetMs * windowPart;
    this.#stepsMax = stepsMax;
  }

  /** Begins a stretch of work. Returns after how many steps to look first: nothing is known yet. */
  begin(nowMs: number): number {
    this.#lookedAtMs = nowMs;
    return this.#steps = 1;
  }

  /** To be called with what the clock showed. Returns after how many steps to look again. */
  next(nowMs: number): number {
    const steps = this.#steps;
    const tookMs = nowMs - this.#lookedAtMs;
    this.#lookedAtMs = nowMs;
    const fitting = Math.floor(steps * this.#windowMs / tookMs);
    return this.#steps = Math.max(1, Math.min(fitting, 2 * steps, this.#stepsMax)) | 0;
  }
}
