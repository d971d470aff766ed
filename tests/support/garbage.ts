/**
 * The collection of garbage, asked for without a flag of the runtime.
 *
 * @module
 */

import v8 from "node:v8";
import vm from "node:vm";

const globals = globalThis as unknown as {
  Bun?: { gc(isSync: boolean): void };
  gc?: () => void;
};
let collect = globals.gc;

/** Collects what nothing refers to. What follows from it comes in a later turn of the event loop. */
export function collectGarbage(): void {
  if (globals.Bun !== undefined) return globals.Bun.gc(true);
  if (collect === undefined) {
    // Deno 2.8 needs --v8-flags=--expose-gc, which tools/oldest.mjs gives it.
    v8.setFlagsFromString("--expose-gc");
    collect = vm.runInNewContext("gc") as () => void;
  }
  collect();
}
