/**
 * Receiving a stream as a user would who takes one value after the other.
 *
 * @module
 */

import type { Receiver } from "../mod.ts";
import type { Transfer } from "./harness.ts";

/** Receives what a Worker sends when it is posted a count. */
export function millraceTransfer<Value, Batch>(
  worker: Worker,
  receiver: Receiver<Value, Batch>,
  check: (value: Value, index: number) => void,
): Transfer {
  return {
    name: "millrace",
    async run(count) {
      worker.postMessage(count);
      let received = 0;
      const handle = (value: Value) => check(value, received++);
      while (received < count) {
        if (receiver.drain(handle) === 0) await receiver.ready();
      }
    },
  };
}
