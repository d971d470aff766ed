/**
 * Workers of both kinds, and calls into them: see worker_tasks.ts for what they can do.
 *
 * @module
 */

import process from "node:process";
import { Worker as NodeWorker } from "node:worker_threads";
import { within } from "./bounded.ts";
import type { Reply, Request, Tasks } from "./worker_tasks.ts";

/** The two kinds of Worker. */
export type WorkerKind = "web" | "node";

/** Both kinds, to run a test over. */
export const workerKinds: readonly WorkerKind[] = ["web", "node"];

/** What was thrown inside a Worker: a plain copy. */
export class RemoteError extends Error {
  readonly code: string | undefined;
  readonly value: unknown;

  constructor({ name, message, code, value }: NonNullable<Reply["error"]>) {
    super(message);
    this.name = name;
    this.code = code;
    this.value = value;
  }
}

/** An emulated machine takes many times as long to start a Worker. */
const callLimitMs = process.env.MILLRACE_TEST_NUMA === undefined ? 20_000 : 80_000;

/** A Worker that runs tasks. */
export class TestWorker implements AsyncDisposable {
  readonly #post: (message: unknown) => void;
  readonly #terminate: () => unknown;
  readonly #calls = new Map<number, PromiseWithResolvers<unknown>>();
  #lastId = 0;

  constructor(kind: WorkerKind) {
    if (kind === "web") {
      const worker = new Worker(new URL("./worker_web.ts", import.meta.url).href, {
        type: "module",
      });
      worker.onmessage = ({ data }) => this.#settle(data as Reply);
      worker.onerror = (event) => {
        event.preventDefault?.();
        this.#fail(new Error(`The Worker failed: ${event.message}`));
      };
      this.#post = (message) => worker.postMessage(message);
      this.#terminate = () => worker.terminate();
    } else {
      const worker = new NodeWorker(new URL("./worker_node.ts", import.meta.url));
      worker.on("message", (reply: Reply) => this.#settle(reply));
      worker.on("error", (error: Error) => this.#fail(error));
      this.#post = (message) => worker.postMessage(message);
      this.#terminate = () => worker.terminate();
    }
  }

  /** Runs a task in the Worker. What it throws is thrown here, as a `RemoteError`. */
  call<Name extends keyof Tasks>(
    task: Name,
    ...parameters: Parameters<Tasks[Name]>
  ): Promise<Awaited<ReturnType<Tasks[Name]>>> {
    const id = ++this.#lastId;
    const call = Promise.withResolvers<unknown>();
    this.#calls.set(id, call);
    this.#post({ id, task, parameters } satisfies Request);
    return within(call.promise, `the Worker's ${task}`, callLimitMs) as Promise<
      Awaited<ReturnType<Tasks[Name]>>
    >;
  }

  #settle({ id, value, error }: Reply): void {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error === undefined) call?.resolve(value);
    else call?.reject(new RemoteError(error));
  }

  #fail(error: Error): void {
    for (const call of this.#calls.values()) call.reject(error);
    this.#calls.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#terminate();
  }
}
