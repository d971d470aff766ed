/**
 * Shares: how a channel lets other processes in.
 *
 * @module
 */

import { ShareRoles, StructBytes } from "../ffi/abi.ts";
import type { Bells } from "./bells.ts";
import { encodeDescriptor } from "./dial.ts";
import { checkBoolean, checkInteger, checkOptions } from "./check.ts";
import { native } from "./native.ts";
import { checkAnswer, checkPlace, putUsers } from "./place.ts";

/** Where something is shared: an address, or one end of a connected pair of sockets. */
export type SharePlace = string | { readonly fd: number };

/** Options of {@linkcode Pool.share}, and of everything that is shared. */
export interface PoolShareOptions {
  /**
   * Users, by number, whose processes may connect beside this process's own user; 32 at most. The
   * socket's file is then open to everyone, and who connects is told by the kernel.
   */
  readonly users?: readonly number[];
  /** After so many connections the share closes by itself; as many as come unless given. */
  readonly limit?: number;
}

/** Options of {@linkcode Channel.share}. */
export interface ShareOptions extends PoolShareOptions {
  /** Whether senders may connect; true unless given. */
  readonly senders?: boolean;
  /** Whether receivers may connect; true unless given. */
  readonly receivers?: boolean;
}

/**
 * A door for other processes, to a channel or a pool. {@linkcode Channel.share} and
 * {@linkcode Pool.share} make it.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, Sender, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { shared: true });
 * const share = channel.share("@an-example-of-a-share");
 * const sender = await Sender.connect("@an-example-of-a-share");
 * assert(share.connections === 1);
 * share.close(); // nobody else; who is connected stays
 * await sender.send(7);
 * sender.close();
 * ```
 */
export class Share implements Disposable {
  #handle: number;
  readonly #bells: Bells;

  /** Made by the library: see {@linkcode Channel.share} and {@linkcode Pool.share}. */
  constructor(handle: number, bells: Bells) {
    this.#handle = handle;
    this.#bells = bells;
  }

  /** Whether nobody can connect any more: it was closed, reached its limit, or its channel is gone. */
  get closed(): boolean {
    return this.#handle === 0 || native().symbols.millrace_share_is_open(this.#handle) !== 1;
  }

  /** Endpoints that connected here and are open; 0 once this share is closed. */
  get connections(): number {
    if (this.#handle === 0) return 0;
    return Math.max(0, native().symbols.millrace_share_connections(this.#handle));
  }

  /** Lets nobody in any more. Who is connected stays. Idempotent. */
  close(): void {
    if (this.#handle === 0) return;
    const handle = this.#handle;
    this.#handle = 0;
    // A share that its channel took along is closed already.
    const answer = native().symbols.millrace_endpoint_close(handle);
    if (answer > 0) this.#bells.ring(answer, 0);
  }

  /** The same as {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Checks what a channel's share offers. */
export function rolesOf(options: ShareOptions): number {
  const action = "share a channel";
  const { senders = true, receivers = true } = checkOptions(action, options);
  checkBoolean(action, "senders", senders);
  checkBoolean(action, "receivers", receivers);
  if (!senders && !receivers) {
    throw new TypeError(
      `Cannot ${action}: it must let senders or receivers in; leave one of the two true`,
    );
  }
  return (senders ? ShareRoles.senders : 0) | (receivers ? ShareRoles.receivers : 0);
}

/** What is to be shared. */
export interface Shared {
  /** What is being done, for errors. */
  readonly action: string;
  readonly handle: number;
  readonly bells: Bells;
  /** Bits of `ShareRoles`. */
  readonly roles: number;
  /** What every process that connects is told. */
  readonly terms: { readonly pollBudget: unknown };
}

/** Shares what a handle stands for. */
export function openShare(shared: Shared, place: SharePlace, options: PoolShareOptions): Share {
  const { action, bells } = shared;
  const { address, addressBytes, fd } = checkPlace(action, place);
  const { users = [], limit } = checkOptions(action, options);
  if (limit !== undefined) checkInteger(action, "limit", limit, 1, 2 ** 32 - 1);
  const words = new Uint32Array(StructBytes.shareOptions / 4);
  words[0] = shared.roles;
  words[1] = limit ?? 0;
  words[2] = fd;
  putUsers(action, users, words, 3);
  const descriptor = encodeDescriptor(action, shared.terms);
  const handle = checkAnswer(
    native().symbols.millrace_share(
      shared.handle,
      words,
      address,
      addressBytes,
      descriptor,
      descriptor.length,
    ),
    `${action} at ${typeof place === "string" ? JSON.stringify(place) : `the descriptor ${fd}`}`,
  );
  return new Share(handle, bells);
}
