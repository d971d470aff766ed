/** Long synchronous work that lets timers and signals have their turn. */

const pauseEveryMs = 25;

/** Pauses a loop from time to time. */
export class Pacer {
  readonly signal: AbortSignal;
  #pausedAt = performance.now();

  constructor(signal: AbortSignal) {
    this.signal = signal;
  }

  /** Lets the event loop turn if it has not for a while. Resolves to whether it has. */
  async pause(): Promise<boolean> {
    if (performance.now() - this.#pausedAt < pauseEveryMs) return false;
    await new Promise((resolve) => setTimeout(resolve));
    this.#pausedAt = performance.now();
    return true;
  }
}
