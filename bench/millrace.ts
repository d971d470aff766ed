/**
 * Receiving a stream as a user would who takes one value after the other.
 *
 * @module
 */

import type { Receiver } from "../mod.ts";
import type { Transfer } from "./harness.ts";

/** Looks in vain before a side waits: a batch takes the other side less than a turn of a loop. */
export const looksMax = 256;

/**
 * Receives what a Worker (or a process) sends when it is posted a count: `take` receives and checks what is there,
 * the sequence from `next` on, and says what comes next. It is a plain function because compilers
 * are slower with loops of async ones.
 */
export function sequenceTransfer<Value, Batch>(
  name: string,
  worker: Pick<Worker, "postMessage">,
  receiver: Receiver<Value, Batch>,
  take: (next: number) => number,
): Omit<Transfer, "step"> {
  return {
    name,
    async run(count) {
      worker.postMessage(count);
      for (let next = 0, looks = 0; next < count;) {
        const reached = take(next);
        if (reached !== next) looks = 0;
        else if (++looks > looksMax) await receiver.ready();
        next = reached;
      }
    },
  };
}

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
