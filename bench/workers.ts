/**
 * Starting Workers. Web Workers: in both runtimes `postMessage` is at least as fast with them as
 * with `node:worker_threads`.
 *
 * @module
 */

/** What a Worker does: takes its setup, gives what obeys commands. */
// deno-lint-ignore no-explicit-any -- each suite knows what it sends to its own roles
export type Role = (setup: any) => (command: any) => void;

/** The first message to a Worker. */
export interface Start {
  readonly suite: string;
  readonly role: string;
  readonly setup: unknown;
}

interface WorkerScope {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  postMessage(message: unknown): void;
}

/** The global scope of a Worker; type checkers take every file for one of a page. */
export const workerScope: WorkerScope = globalThis as unknown as WorkerScope;

/** Starts a Worker that plays `role` of the suite in file `suite`. */
export async function startWorker(suite: string, role: string, setup?: unknown): Promise<Worker> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  worker.onerror = (event) => {
    console.error(`The Worker ${role} of ${suite} failed: ${event.message}`);
    process.exit(1);
  };
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.onmessage = () => resolve();
  worker.postMessage({ suite, role, setup } satisfies Start);
  await promise;
  worker.onmessage = null;
  return worker;
}
