/**
 * A program that is run anew in its thread, by `deno run --watch` or `bun --hot`: what it had open is given
 * up before, as if its process had died. The thread, whose end would do that, does not end.
 *
 * @module
 */

import { native } from "./native.ts";

/** What can be given up. */
export interface Abandonable {
  /** Gives it up, as if the process had died. */
  abandon(): void;
}

/** What this thread has open, where a reload is expected. */
const opened = new Set<Abandonable>();
let isExpected: boolean | undefined;

// Bun evaluates this module again, in the same global scope: what its last evaluation left is found there.
const key = Symbol.for(`millrace.abandonAll ${import.meta.url}`);
const globals = globalThis as unknown as {
  [key]?: () => void;
  addEventListener?(type: "unload", listener: () => void): void;
};
globals[key]?.();

/** To be called for everything that is opened. */
export function noteOpened(what: Abandonable): void {
  isExpected ??= expectReload();
  if (isExpected) opened.add(what);
}

/** To be called for everything that was noted, when it is closed. */
export function noteClosed(what: Abandonable): void {
  opened.delete(what);
}

function expectReload(): boolean {
  if (native().symbols.millrace_process_reloads() !== 1) return false;
  globals[key] = abandonAll;
  // Deno tells the end of every program so, also the last: only here it is taken for a death.
  globals.addEventListener?.("unload", abandonAll);
  return true;
}

function abandonAll(): void {
  for (const what of opened) what.abandon();
  opened.clear();
}
