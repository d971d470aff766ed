/**
 * A watch for the end of a channel, for those that wait for nothing else.
 *
 * @module
 */

import { Bells } from "./bells.ts";
import type { Endpoint } from "./endpoint.ts";
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
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    onClosed();
  };
  const waiter = new Waiter(endpoint.bells.words, Bells.drain, {
    attempt() {
      if (!isOver && isClosed()) end();
      return isOver;
    },
    // A close after this look changes the bell, which was read before it.
    arm: () => !isClosed(),
    disarm: () => {},
    // What rings no bell is found by the look from time to time.
    orphans: () => isClosed() ? 1 : 0,
  }, 0);
  waiter.setRef(false);
  const stop = (): void => {
    isOver = true;
    waiter.cancel();
  };
  endpoint.onClose(() => {
    waiter.cancel();
    end();
  });
  waiter.start();
  return stop;
}
