/**
 * Channels from many senders to one receiver: a ring per sender.
 *
 * @module
 */

import { Channel, type ChannelOptions, type SendersOptions } from "./channel.ts";
import type { Layout } from "./layout.ts";

/**
 * Creates a channel from many senders to one receiver, in any threads of this process.
 *
 * Values of one sender are received in the order they were sent. The order between different senders is
 * not kept, not even where one sent after it was told that the other had: each sender has a ring of its
 * own, and the receiver goes from ring to ring.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { capacity: 1024 });
 * const receiver = channel.receiver();
 * const sender = channel.sender();
 * await sender.send(7);
 * assert((await receiver.receive()) === 7);
 * ```
 *
 * @example A Worker that sends
 * ```ts ignore
 * // main.ts
 * await using channel = mpsc(u32, { capacity: 1 << 16 });
 * new Worker(new URL("./worker.ts", import.meta.url), { type: "module" })
 *   .postMessage(channel.senderTicket());
 * for await (const value of channel.receiver()) console.log(value);
 *
 * // worker.ts
 * onmessage = ({ data }) => {
 *   using sender = Sender.open<number>(data);
 *   for (let i = 0; i < 1000; i++) sender.sendSync(i);
 * };
 * ```
 *
 * @param layout How values lie in memory: {@linkcode u32} and its kin, {@linkcode struct},
 *   {@linkcode bytes}, {@linkcode utf8}, {@linkcode json} or {@linkcode custom}.
 * @throws {TypeError} If `layout` is not a layout, or an option has the wrong type.
 * @throws {RangeError} If an option is outside its range; the message names the limit.
 * @throws {OutOfMemoryError} If there is no address space for it.
 * @throws {ConnectError} With `shared: true`, if the system refuses memory for several processes.
 * @throws {LibraryError} If the native library cannot be found or used.
 * @throws {UnsupportedPlatformError} On a platform without it.
 */
export function mpsc<Value, Batch>(
  layout: Layout<Value, Batch>,
  options?: ChannelOptions & SendersOptions,
): Channel<Value, Batch> {
  return new Channel("mpsc", layout, options);
}
