/**
 * The signal that ends a wait, as it came in somebody's options.
 *
 * @module
 */

import { checkOptions, wrongType } from "./check.ts";

/** The signal of some options. `action` completes "Cannot …" when it is none. */
export function signalOf(
  action: string,
  options: { readonly signal?: AbortSignal } | undefined,
): AbortSignal | undefined {
  const signal = options === undefined ? undefined : checkOptions(action, options).signal;
  // By what is used of it: one of another realm, or a polyfill's, is as good.
  if (
    signal === undefined ||
    (typeof signal?.aborted === "boolean" && typeof signal.addEventListener === "function" &&
      typeof signal.removeEventListener === "function")
  ) return signal;
  throw wrongType(action, "signal", "an AbortSignal", signal);
}
