/**
 * What waiting for nothing costs.
 *
 * @module
 */

import { delay, type Sample } from "./harness.ts";

/** CPU of the whole process, all its threads, over an idle time. */
export async function cpuMs(idleMs: number): Promise<Sample> {
  // What happened before (compilation, collection of garbage, polling) settles first.
  await delay(500);
  const before = process.cpuUsage();
  await delay(idleMs);
  const { user, system } = process.cpuUsage(before);
  return { value: (user + system) / 1000 };
}
