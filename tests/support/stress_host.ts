/**
 * The main thread's side of the stress and termination tests: Workers that are used again, and waits
 * that are bounded.
 *
 * @module
 */

import type { Job, JobResult } from "./stress_jobs.ts";

/** Rejects when `promise` takes longer than `limitMs`; `describe` is asked what there is to see. */
export async function within<Value>(
  promise: Promise<Value>,
  limitMs: number,
  describe: () => string,
): Promise<Value> {
  const { promise: expired, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`not done after ${limitMs} ms: ${describe()}`)),
    limitMs,
  );
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `condition` holds, a turn of the event loop after the other. */
export async function until(
  condition: () => boolean,
  limitMs: number,
  describe: () => string,
): Promise<void> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > limitMs) {
      throw new Error(`not so after ${limitMs} ms: ${describe()}`);
    }
    await turn();
  }
}

/** The next turn of the event loop. */
export function turn(): Promise<void> {
  // A timer, not setImmediate: other threads may need this core.
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Random numbers that can be had again: mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Workers that do jobs; they are started once and used again. */
export class Crew {
  readonly #idle: Worker[] = [];
  readonly #all: Worker[] = [];

  /** Has a job done by a Worker that has none. */
  async perform(job: Job): Promise<JobResult> {
    const worker = this.#idle.pop() ?? this.#start();
    const { promise, resolve, reject } = Promise.withResolvers<JobResult>();
    worker.onmessage = ({ data }: MessageEvent<{ result?: JobResult; error?: string }>) => {
      this.#idle.push(worker);
      if (data.result !== undefined) resolve(data.result);
      else reject(new Error(data.error));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(`the Worker failed: ${event.message}`));
    };
    worker.postMessage(job);
    return await promise;
  }

  /** Starts so many Workers, and waits until all of them run. */
  async start(workers: number): Promise<void> {
    const nothing: Job = {
      kind: "send",
      mode: "send",
      tickets: [],
      ids: [],
      counts: [],
      wait: "block",
    };
    await Promise.all(Array.from({ length: workers }, () => this.perform(nothing)));
  }

  #start(): Worker {
    const worker = new Worker(new URL("./stress_worker.js", import.meta.url), { type: "module" });
    this.#all.push(worker);
    return worker;
  }

  [Symbol.dispose](): void {
    for (const worker of this.#all) worker.terminate();
  }
}
