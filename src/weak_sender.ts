/**
 * A right to open senders that does not keep the channel open.
 *
 * @module
 */

import { Status } from "../ffi/abi.ts";
import type { Bells } from "./bells.ts";
import { Endpoint, openInfo } from "./endpoint.ts";
import { ChannelClosedError } from "./errors.ts";
import { closeWhenForgotten } from "./forgotten.ts";
import type { PlaceOptions } from "./numa.ts";
import type { Sender } from "./sender.ts";

/** Opens a sender on the channel that a handle is of. */
export type OpenSender<Value, Batch> = (
  handle: number,
  options: PlaceOptions | undefined,
) => Sender<Value, Batch>;

/**
 * A weak sender: it sends nothing, and opens senders as long as the channel is open. It does not keep the
 * channel open, as a {@linkcode Sender} and its tickets do: when the last of those is gone the channel ends,
 * whatever weak senders there are. For what may send now and then, as a timer, a cache or an actor that sends
 * to itself. After `WeakSender` of tokio.
 *
 * It belongs to its thread, and gives the channel's memory up when it is closed or garbage collected.
 *
 * @typeParam Value What is sent.
 * @typeParam Batch What a batch of values is received as.
 */
export class WeakSender<Value, Batch = Value[]> implements Disposable {
  /** A symbol, which `postMessage` refuses to clone, with this as its message: post a ticket. */
  readonly confined: symbol = Symbol("a WeakSender belongs to its thread: post a ticket");
  readonly #endpoint: Endpoint;
  readonly #open: OpenSender<Value, Batch>;

  /** Made by the library: see {@linkcode Sender.downgrade} and {@linkcode Channel.weakSender}. */
  constructor(handle: number, bells: Bells, open: OpenSender<Value, Batch>) {
    const action = "make a weak sender";
    this.#open = open;
    const info = openInfo(action, bells, (symbols, info) => {
      const answer = symbols.millrace_endpoint_open_weak(handle, info);
      if (answer !== Status.invalidArgument) return answer;
      throw new TypeError(
        `Cannot ${action}: another process made the channel, and a connection is that of one sender; ` +
          "connect again when it is needed",
      );
    });
    const endpoint = this.#endpoint = new Endpoint(info, bells);
    closeWhenForgotten(this, endpoint, "A WeakSender", closerOf(endpoint));
  }

  /**
   * Opens a sender, if the channel is open.
   *
   * @param options The NUMA node the sender's ring is to lie on.
   * @returns The sender, which keeps the channel open until it is closed; undefined when the channel is
   *   closed or has ended.
   * @throws {ChannelClosedError} If this weak sender was closed (`"ENDPOINT_CLOSED"`).
   * @throws {TooManyError} If `maxSenders` are open.
   * @throws {NumaError} If `numa` is `"require"` and the ring cannot lie on the node.
   * @throws {HugePagesError} If the channel requires huge pages and there are none.
   */
  upgrade(options?: PlaceOptions): Sender<Value, Batch> | undefined {
    const { handle, symbols } = this.#endpoint;
    if (handle === 0) {
      throw new ChannelClosedError(
        "ENDPOINT_CLOSED",
        "Cannot open a sender: this weak sender has been closed; make another one",
      );
    }
    if (symbols.millrace_endpoint_close_state(handle) !== 0) return undefined;
    try {
      return this.#open(handle, options);
    } catch (error) {
      // It has ended just now.
      if (error instanceof ChannelClosedError) return undefined;
      throw error;
    }
  }

  /** Gives up the right, and its part in the channel's memory. Idempotent. */
  close(): void {
    this.#endpoint.close();
  }

  /** The same as {@linkcode WeakSender.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** It must not lead to the weak sender. That one was forgotten is no mistake: nobody waits for what it kept. */
function closerOf(endpoint: Endpoint): () => boolean {
  return () => {
    endpoint.close();
    return false;
  };
}
