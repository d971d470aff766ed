/**
 * The bell ringer of this thread: a Worker that rings bells for native threads, which cannot.
 *
 * @module
 */

import { Status } from "../ffi/abi.ts";
import type { Bells } from "./bells.ts";
import { check, native } from "./native.ts";

/** What the Worker is told of a channel. */
export interface RingerPost {
  /** The channel's number at the ringer. */
  readonly registration: number;
  /** Its bells. */
  readonly bells: SharedArrayBuffer;
}

interface Ringer {
  readonly handle: number;
  readonly worker: { postMessage(post: RingerPost): void };
}

let current: Ringer | undefined;

/**
 * Has bells of a channel rung for native threads, by a Worker that is started if there is none.
 *
 * @param registeredWith The ringer the channel has been registered with before; 0 for none.
 * @returns The ringer it is registered with now.
 */
export function ringForNative(channel: number, bells: Bells, registeredWith: number): number {
  const { symbols } = native();
  const action = "have bells rung for native threads";
  // A ringer that has nothing to ring for ends by itself, perhaps just now.
  for (let attempt = 0; attempt < 2; attempt++) {
    current ??= start();
    if (current.handle === registeredWith) return registeredWith;
    const registration = symbols.millrace_ringer_register(current.handle, channel);
    if (registration !== Status.invalidHandle) {
      check(registration, action);
      current.worker.postMessage({ registration, bells: bells.words.buffer });
      return current.handle;
    }
    current = undefined;
  }
  return check(Status.invalidHandle, action);
}

function start(): Ringer {
  // Not at import time: few programs need it.
  const { Worker } = process.getBuiltinModule("node:worker_threads");
  const { symbols } = native();
  const handle = check(symbols.millrace_ringer_create(), "start the bell ringer");
  try {
    const worker = new Worker(program(), { workerData: handle });
    const ringer = { handle, worker };
    worker.on("error", (error: Error) => {
      // Native threads learn that nobody rings; whoever sleeps looks for itself twice a second.
      symbols.millrace_ringer_close(handle, 0);
      if (current === ringer) current = undefined;
      process.emitWarning(`the Worker that rings bells for native threads failed: ${error}`);
    });
    worker.on("message", () => void worker.terminate()); // it has ended
    // Last: a listener would have it keep the process alive again.
    worker.unref();
    return ringer;
  } catch (error) {
    symbols.millrace_ringer_close(handle, 0);
    throw error;
  }
}

/** The Worker's program. One of node:worker_threads is no remote file, but may import one. */
function program(): URL {
  const url = new URL("./ringer_worker.ts", import.meta.url);
  if (url.protocol === "file:") return url;
  return new URL(`data:text/javascript,import ${encodeURIComponent(JSON.stringify(url.href))}`);
}
