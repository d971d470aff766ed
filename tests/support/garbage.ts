/**
 * The collection of garbage, asked for without a flag of the runtime.
 *
 * @module
 */

import v8 from "node:v8";
import vm from "node:vm";

const { Bun } = globalThis as unknown as { Bun?: { gc(isSync: boolean): void } };
let collect: (() => void) | undefined;

/** Collects what nothing refers to. What follows from it comes in a later turn of the event loop. */
export function collectGarbage(): void {
  if (Bun !== undefined) return Bun.gc(true);
  if (collect === undefined) {
    v8.setFlagsFromString("--expose-gc");
    collect = vm.runInNewContext("gc") as () => void;
  }
  collect();
}
