/**
 * A watch for the end of a channel, for those that wait for nothing else.
 *
 * @module
 */

import { Bells, onRingAll } from "./bells.ts";
import type { Endpoint } from "./endpoint.ts";
import { queueMicrotask } from "./timers.ts";
import { Waiter } from "./waiter.ts";

/**
 * Calls `onClosed` once, when the channel of an endpoint, or the endpoint itself, closes. It keeps no
 * process alive. JavaScript of this process that closes the channel is noticed at once; another process,
 * native code, or the death of a thread within half a second.
 *
 * It sleeps on the bell of `drained()` without an arm: a close rings every bell, and messages ring that
 * one never.
 *
 * @returns Ends the watch.
 */
export function watchForClose(endpoint: Endpoint, onClosed: () => void): () => void {
  const { symbols } = endpoint;
  const isClosed = () =>
    endpoint.handle === 0 || symbols.millrace_endpoint_close_state(endpoint.handle) !== 0;
  let isOver = false;
  const stop = (): void => {
    isOver = true;
    onRingAll.delete(look);
    waiter.cancel();
  };
  const end = (): void => {
    if (isOver) return;
    stop();
    onClosed();
  };
  // A close in this very thread: the event loop may have nothing else to turn for, and not sleep.
  const look = (): void => {
    if (isClosed()) queueMicrotask(end);
  };
  const waiter = new Waiter(endpoint.bells.words, Bells.drain, {
    attempt() {
      if (isClosed()) end();
      return isOver;
    },
    // A close after this look changes the bell, which was read before it.
    arm: () => !isClosed(),
    disarm: () => {},
    // What rings no bell is found by the look from time to time.
    orphans: () => isClosed() ? 1 : 0,
  }, 0);
  waiter.setRef(false);
  endpoint.onClose(end);
  onRingAll.add(look);
  waiter.start();
  return stop;
}
