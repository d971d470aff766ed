/**
 * Whether what was sent can still be received: what a disposal waits for must be able to happen.
 *
 * @module
 */

import { Limits } from "../ffi/abi.ts";
import type { Endpoint } from "./endpoint.ts";
import { check } from "./native.ts";
import { clearInterval, setInterval } from "./timers.ts";

/** What this thread's receivers say of themselves, by the handle of their endpoint. */
const receivers = new Map<number, WeakRef<() => boolean>>();

/**
 * To be called for every receiver of this thread. `isConsumed` says whether something receives from it
 * now, or will go on to; the receiver must keep it.
 */
export function noteReceiver(endpoint: Endpoint, isConsumed: () => boolean): void {
  const { handle } = endpoint;
  receivers.set(handle, new WeakRef(isConsumed));
  endpoint.onClose(() => receivers.delete(handle));
}

/** Whether somebody may still receive from the channel of an endpoint. */
function canBeReceived(endpoint: Endpoint): boolean {
  if (endpoint.handle === 0) return false;
  const here = new Uint32Array(Limits.receivers);
  const { symbols, handle } = endpoint;
  const elsewhere = check(
    symbols.millrace_channel_receivers(handle, here, here.length),
    "look for receivers",
  );
  if (elsewhere > 0) return true;
  return here.some((receiver) => {
    if (receiver === 0) return false;
    // One that another copy of this module has opened may be receiving.
    const known = receivers.get(receiver);
    return known === undefined || known.deref()?.() === true;
  });
}

/** How often a disposal that waits looks whether it waits in vain. */
const lookMs = 50;

/**
 * Waits as `wait` does, as long as somebody may still receive from the channel of an endpoint. `wait`
 * rejects with the reason of its signal when that is aborted.
 */
export async function whileReceivable(
  endpoint: Endpoint,
  wait: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  if (!canBeReceived(endpoint)) return;
  const inVain = new AbortController();
  const reason = Symbol("in vain");
  const look = setInterval(() => {
    if (!canBeReceived(endpoint)) inVain.abort(reason);
  }, lookMs);
  try {
    await wait(inVain.signal);
  } catch (error) {
    if (error !== reason) throw error;
  } finally {
    clearInterval(look);
  }
}
