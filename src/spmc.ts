/**
 * Channels from one sender to many receivers: one ring, of which receivers claim runs.
 *
 * @module
 */

import { Channel, type ChannelOptions, type ReceiversOptions } from "./channel.ts";
import type { Layout } from "./layout.ts";

/**
 * Creates a channel from one sender to many receivers, in any threads of this process: work shared
 * out. Receivers come and go; the channel is closed when the last one, and the last ticket for one, is
 * gone.
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
 * Values that one receiver gets are in the order they were sent, but for those offered again.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { spmc, u32 } from "millrace";
 *
 * using channel = spmc(u32, { capacity: 1024 });
 * const [first, second] = [channel.receiver(), channel.receiver()];
 * const sender = channel.sender();
 * sender.sendBatch([1, 2]);
 * const taken = [await first.receive(), await second.receive()];
 * assert.deepEqual(taken, [1, 2]);
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
export function spmc<Value, Batch>(
  layout: Layout<Value, Batch>,
  options?: ChannelOptions & ReceiversOptions,
): Channel<Value, Batch> {
  return new Channel("spmc", layout, options);
}
