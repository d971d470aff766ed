/**
 * The bell ringer of this thread: a Worker that rings bells for those who cannot, native threads and
 * other processes.
 *
 * @module
 */

import { type NativeSymbols, Status } from "../ffi/abi.ts";
import type { Bells } from "./bells.ts";
import type { Endpoint } from "./endpoint.ts";
import { check, native } from "./native.ts";

/** What the Worker is told of a channel, or of an endpoint it watches. */
export interface RingerPost {
  /** Its number at the ringer. */
  readonly registration: number;
  /** Its bells. */
  readonly bells: SharedArrayBuffer;
}

interface Ringer {
  readonly handle: number;
  readonly worker: { postMessage(post: RingerPost): void };
}

let current: Ringer | undefined;
/** A ringer's Worker failed: the next would, too. */
let hasFailed = false;
/** The answer of an arm that found nobody to ring the bell. */
const unwatched = 2;

/**
 * Arms the bell of an endpoint by `arm`. In shared memory whoever wakes it may be of another process:
 * the ringer then has to watch the endpoint, and is started by the first one that sleeps.
 *
 * @returns Whether it is armed.
 */
export function armBell(endpoint: Endpoint, arm: () => number): boolean {
  // A ringer may end just now.
  for (let attempt = 0; attempt < 3; attempt++) {
    const answer = arm();
    if (answer !== unwatched) return answer === 1;
    watch(endpoint);
  }
  return false;
}

/** Has an endpoint watched; if that cannot be, it is to sleep all the same, and to look by itself. */
function watch({ handle, bells }: Endpoint): void {
  try {
    if (!hasFailed) {
      register(bells, "have a bell watched", (symbols, ringer) => {
        return symbols.millrace_ringer_watch(ringer, handle);
      });
      return;
    }
  } catch (error) {
    // Whoever sleeps has nobody to throw at.
    fail(error);
  }
  check(native().symbols.millrace_ringer_watch(0, handle), "wait unwatched");
}

function fail(error: unknown): void {
  hasFailed = true;
  process.emitWarning(
    `the Worker that rings bells for native threads and other processes failed: ${error}`,
  );
}

/**
 * Has bells of a channel rung for native threads, by a Worker that is started if there is none.
 *
 * @param registeredWith The ringer the channel has been registered with before; 0 for none.
 * @returns The ringer it is registered with now.
 */
export function ringForNative(channel: number, bells: Bells, registeredWith: number): number {
  if (current !== undefined && current.handle === registeredWith) return registeredWith;
  return register(bells, "have bells rung for native threads", (symbols, ringer) => {
    return symbols.millrace_ringer_register(ringer, channel);
  });
}

/** Registers with the ringer of this thread, by `call`, and tells its Worker the bells. */
function register(
  bells: Bells,
  action: string,
  call: (symbols: NativeSymbols, ringer: number) => number,
): number {
  const { symbols } = native();
  // A ringer that has nothing to ring for ends by itself, perhaps just now.
  for (let attempt = 0; attempt < 2; attempt++) {
    current ??= start();
    const registration = call(symbols, current.handle);
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
      fail(error);
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
