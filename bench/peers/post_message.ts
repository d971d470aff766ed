/**
 * The peer everyone has: `postMessage`, a message at a time.
 *
 * @module
 */

import type { Transfer } from "../harness.ts";
import { type Role, workerScope } from "../workers.ts";

/** A role that posts as many messages as it is told. */
export function poster<Value>(make: (index: number) => Value): Role {
  return () => (count: number) => {
    for (let index = 0; index < count; index++) workerScope.postMessage(make(index));
  };
}

/** Receives what a {@linkcode poster} posts. */
export function postMessageTransfer<Value>(
  worker: Worker,
  check: (value: Value, index: number) => void,
  name = "postMessage",
): Transfer {
  return {
    name,
    run(count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      let received = 0;
      worker.onmessage = ({ data }) => {
        check(data as Value, received++);
        if (received === count) resolve();
      };
      worker.postMessage(count);
      return promise;
    },
  };
}

/** Makes round trips with a Worker that posts every number back. */
export async function postMessageRoundTrips(
  worker: Worker,
  tookMs: Float64Array,
  gap?: () => Promise<void>,
): Promise<void> {
  let pong: () => void;
  worker.onmessage = () => pong();
  for (let ping = 0; ping < tookMs.length; ping++) {
    if (gap !== undefined) await gap();
    const startMs = performance.now();
    await new Promise<void>((resolve) => {
      pong = resolve;
      worker.postMessage(ping);
    });
    tookMs[ping] = performance.now() - startMs;
  }
}
