/**
 * Channels from many senders to many receivers: a ring per sender, and receivers that steal work.
 *
 * @module
 */

import {
  Channel,
  type ChannelOptions,
  type ReceiversOptions,
  type SendersOptions,
} from "./channel.ts";
import type { Layout } from "./layout.ts";

/**
 * Creates a channel from many senders to many receivers, in any threads of this process. Senders and
 * receivers come and go. A receiver looks at its own share of the senders first, then at the fullest
 * ring, and at times at whichever comes next, so that none is left behind.
 *
 * Each value goes to exactly one receiver. What a receiver has claimed and not released when its
 * Worker dies is offered again, and may then be seen a second time: at least once, in that one case,
 * counted in `stats().redelivered`. `for await`, `batches()`, `toReadableStream()`, `run()` and `drain()`
 * release a value when the program asks for the next one or its handler is done, `readable()` when it
 * is told to; `receive()`, `receiveSync()`, `tryReceive()` and `receiveBatch()` hand a value over and are
 * done with it, so a Worker that dies takes it along. Until a value is released the room of those that
 * were sent after it is not free either: whoever handles one for long and must not hold up the senders
 * uses `receive()`, or a larger capacity.
 *
 * Values of one sender that one receiver gets are in the order they were sent, but for those offered
 * again. The order between different senders is not kept, as with {@linkcode mpsc}.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpmc, u32 } from "millrace";
 *
 * using channel = mpmc(u32, { capacity: 1024 });
 * const receivers = [channel.receiver(), channel.receiver()];
 * const senders = [channel.sender(), channel.sender()];
 * senders.forEach((sender, index) => sender.trySend(index));
 * const taken = await Promise.all(receivers.map((receiver) => receiver.receive()));
 * assert.deepEqual(taken.sort(), [0, 1]);
 * ```
 *
 * @param layout How values lie in memory: see {@linkcode mpsc}.
 * @throws {TypeError} If `layout` is not a layout, or an option has the wrong type.
 * @throws {RangeError} If an option is outside its range; the message names the limit.
 * @throws {OutOfMemoryError} If there is no address space for it.
 * @throws {ConnectError} With `shared: true`, if the system refuses memory for several processes.
 * @throws {LibraryError} If the native library cannot be found or used.
 * @throws {UnsupportedPlatformError} On a platform without it.
 */
export function mpmc<Value, Batch>(
  layout: Layout<Value, Batch>,
  options?: ChannelOptions & SendersOptions & ReceiversOptions,
): Channel<Value, Batch> {
  return new Channel("mpmc", layout, options);
}
