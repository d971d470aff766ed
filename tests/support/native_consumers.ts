/**
 * Workers that consume what a native thread produces, and moments at which they die.
 *
 * @module
 */

import { range } from "./channels.ts";
import type { NativeSentence } from "./native_worker.ts";
import { turn } from "./stress_host.ts";

const trialsAtOnce = 8;

/** The ways to receive. */
export const modes = ["receive", "run", "batches"] as const;

/** Starts a Worker; what it has to complain of is among the reports. */
export function startConsumer(sentence: NativeSentence): { worker: Worker; reports: unknown[] } {
  const worker = new Worker(new URL("./native_worker.ts", import.meta.url).href, {
    type: "module",
  });
  const reports: unknown[] = [];
  worker.onmessage = ({ data }) => reports.push(data);
  worker.postMessage(sentence);
  return { worker, reports };
}

/** Until any moment: as it starts, when it opens, while it receives, when it is asleep. */
export async function passTime(random: () => number, state: Int32Array): Promise<void> {
  if (random() < 0.3) {
    for (let turns = Math.floor(random() * 40); turns > 0; turns--) await turn();
    return;
  }
  const enough = Math.floor(random() * 1500);
  const deadline = performance.now() + 1500;
  while (Atomics.load(state, 0) < enough && performance.now() < deadline) await turn();
}

/** Does so many trials, some at once. */
export async function inLots(
  count: number,
  trial: (index: number) => Promise<void>,
): Promise<void> {
  for (let first = 0; first < count; first += trialsAtOnce) {
    const lot = Math.min(trialsAtOnce, count - first);
    await Promise.all(range(lot).map((offset) => trial(first + offset)));
  }
}
