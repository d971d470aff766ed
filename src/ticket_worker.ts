/**
 * Tickets that are bound to a Worker: taken back if it ends before it has used them.
 *
 * @module
 */

import { Bells as bit } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { checkOptions, wrongType } from "./check.ts";
import { native } from "./native.ts";

/** A web Worker, as far as a ticket has to do with it. */
export interface WebWorker {
  /** Has a listener called when the Worker fails, or, where the runtime tells that, has ended. */
  addEventListener(type: "error" | "close", listener: () => void): unknown;
  /** Takes the listener away. */
  removeEventListener(type: "error" | "close", listener: () => void): unknown;
  /** Ends the Worker. */
  terminate(): unknown;
}

/** A Worker of `node:worker_threads`, as far as a ticket has to do with it. */
export interface NodeWorker {
  /** Has a listener called when the Worker has ended. */
  on(event: "exit", listener: () => void): unknown;
  /** Takes the listener away. */
  off(event: "exit", listener: () => void): unknown;
}

/** Options of tickets. */
export interface TicketOptions {
  /**
   * The Worker the ticket is posted to. If it ends before it has opened the ticket, because its module
   * cannot be loaded or throws, or because it is terminated, the ticket is revoked, as by
   * {@linkcode Channel.revoke}: the channel does not wait for it. Say so in the turn that makes the
   * Worker, so that its end cannot come before.
   *
   * In Deno nobody is told that a web Worker has called `close()`; then revoke the ticket yourself.
   */
  readonly worker?: WebWorker | NodeWorker;
}

/** What a ticket is, to take it back. */
interface Right {
  readonly right: BigUint64Array<ArrayBuffer>;
  /** The bells that are rung afterwards. */
  readonly bells: readonly SharedArrayBuffer[];
}

/** The Workers that tickets are bound to, while they live. */
const bindings = new WeakMap<object, Binding>();
const ended = new WeakSet<object>();

/** The Worker in a ticket's options. `action` completes "Cannot …". */
export function workerOf(
  action: string,
  options: TicketOptions | undefined,
): WebWorker | NodeWorker | undefined {
  if (options === undefined) return undefined;
  const { worker } = checkOptions(action, options);
  if (worker === undefined || isWebWorker(worker) || isNodeWorker(worker)) return worker;
  throw wrongType(action, "worker", "a Worker", worker);
}

/** Has a ticket taken back when the Worker ends. `bells` are its own and those of the channel's pool. */
export function bindTicket(
  worker: WebWorker | NodeWorker,
  right: BigUint64Array,
  bells: readonly SharedArrayBuffer[],
): void {
  // A copy: the ticket's own may be transferred with it.
  const ticket: Right = { right: new BigUint64Array(right), bells };
  // The id of a Worker of node:worker_threads that has ended.
  if (ended.has(worker) || (worker as { threadId?: unknown }).threadId === -1) {
    return takeBack(ticket);
  }
  let binding = bindings.get(worker);
  if (binding === undefined) bindings.set(worker, binding = new Binding(worker));
  binding.add(ticket);
}

/** The tickets of one Worker. They know neither their channel nor their pool, which may be forgotten. */
class Binding {
  #tickets: Right[] = [];
  /** Looks for tickets that have been used when there are so many: so each is looked at a few times. */
  #lookAt = 16;
  readonly #unlisten: () => void;

  constructor(worker: WebWorker | NodeWorker) {
    // Not the worker itself: the listener would keep what it keeps.
    const onEnd = () => this.#end(worker);
    this.#unlisten = isNodeWorker(worker)
      ? listenToNode(worker, onEnd)
      : listenToWeb(worker, onEnd);
  }

  add(ticket: Right): void {
    if (this.#tickets.length >= this.#lookAt) {
      this.#tickets = this.#tickets.filter(isOutstanding);
      this.#lookAt = Math.max(16, 2 * this.#tickets.length);
    }
    this.#tickets.push(ticket);
  }

  #end(worker: object): void {
    this.#unlisten();
    ended.add(worker);
    bindings.delete(worker);
    for (const ticket of this.#tickets.splice(0)) takeBack(ticket);
  }
}

/** Its `error` is followed by `exit`; a listener for it would keep the error from being reported. */
function listenToNode(worker: NodeWorker, onEnd: () => void): () => void {
  worker.on("exit", onEnd);
  return () => worker.off("exit", onEnd);
}

/**
 * Bun tells every end by `close`, and Deno none but that by an error. So `terminate()` of this Worker tells
 * it, too.
 */
function listenToWeb(worker: WebWorker, onEnd: () => void): () => void {
  worker.addEventListener("error", onEnd);
  worker.addEventListener("close", onEnd);
  const { terminate } = worker;
  const value = (): void => {
    terminate.call(worker);
    onEnd();
  };
  Reflect.defineProperty(worker, "terminate", { value, configurable: true, writable: true });
  return () => {
    worker.removeEventListener("error", onEnd);
    worker.removeEventListener("close", onEnd);
    if (worker.terminate === value) Reflect.deleteProperty(worker, "terminate");
  };
}

function isOutstanding({ right }: Right): boolean {
  return native().symbols.millrace_ticket_is_outstanding(right) === 1;
}

/** Takes a ticket back, unless it has been used. */
function takeBack({ right, bells }: Right): void {
  const answer = native().symbols.millrace_ticket_take_back(right);
  if (answer < 0) return;
  const [own, ...pools] = bells;
  if (own !== undefined) new Bells(own).ring(answer, 0);
  // Those who wait for a slab, to send it into the channel.
  for (const pool of pools) new Bells(pool).ring(bit.receiver, 0);
}

function isWebWorker(worker: unknown): worker is WebWorker {
  const { addEventListener, removeEventListener, terminate } = (worker ?? {}) as Partial<WebWorker>;
  return [addEventListener, removeEventListener, terminate].every(isFunction);
}

function isNodeWorker(worker: unknown): worker is NodeWorker {
  const { on, off } = (worker ?? {}) as Partial<NodeWorker>;
  return [on, off, (worker as Partial<WebWorker> | undefined)?.terminate].every(isFunction);
}

function isFunction(value: unknown): boolean {
  return typeof value === "function";
}
