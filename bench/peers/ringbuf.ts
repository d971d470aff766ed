/**
 * The peer from npm: ringbuf.js, one producer, numbers of one type, no way to wait.
 *
 * @module
 */

import { RingBuffer } from "ringbuf.js";
import { mismatch, type Transfer } from "../harness.ts";
import type { Role } from "../workers.ts";

/** The memory of a ring of `capacity` u32. */
export function ringMemory(capacity: number): SharedArrayBuffer {
  return RingBuffer.getStorageForCapacity(capacity, Uint32Array);
}

/** A ring over such memory. */
export function ringOver(memory: SharedArrayBuffer): RingBuffer {
  return new RingBuffer(memory, Uint32Array);
}

/** A role that pushes a sequence, `batch` values at a time. */
export function ringPusher(batch: number): Role {
  return (memory: SharedArrayBuffer) => {
    const ring = ringOver(memory);
    const values = new Uint32Array(batch);
    return (count: number) => {
      for (let next = 0; next < count; next += batch) {
        for (let index = 0; index < batch; index++) values[index] = next + index;
        let pushed = 0;
        while (pushed < batch) pushed += ring.push(values, batch - pushed, pushed);
      }
    };
  };
}

/** Pops what a {@linkcode ringPusher} pushes. */
export function ringTransfer(worker: Worker, memory: SharedArrayBuffer, batch: number): Transfer {
  const ring = ringOver(memory);
  const values = new Uint32Array(batch);
  return {
    name: "ringbuf",
    step: batch,
    run(count) {
      worker.postMessage(count);
      for (let next = 0; next < count;) {
        const popped = ring.pop(values, batch);
        for (let index = 0; index < popped; index++) {
          if (values[index] !== next) mismatch(next, values[index]);
          next++;
        }
      }
      return Promise.resolve();
    },
  };
}
