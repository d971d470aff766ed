/**
 * Channels from one sender to one receiver: one ring, the shortest path of all.
 *
 * @module
 */

import { Channel, type ChannelOptions } from "./channel.ts";
import type { Layout } from "./layout.ts";

/**
 * Creates a channel from one sender to one receiver, in any threads of this process. There is one
 * sender at a time: the next one can be opened when the receiver has seen the end of the last, while
 * a ticket for it keeps the channel open.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { spsc, u32 } from "millrace";
 *
 * using channel = spsc(u32, { capacity: 1024 });
 * const receiver = channel.receiver();
 * const sender = channel.sender();
 * await sender.send(7);
 * assert((await receiver.receive()) === 7);
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
export function spsc<Value, Batch>(
  layout: Layout<Value, Batch>,
  options?: ChannelOptions,
): Channel<Value, Batch> {
  return new Channel("spsc", layout, options);
}
