/**
 * The errors of Millrace. Misuse that a look at the documentation would have prevented throws
 * `TypeError` or `RangeError`; what can happen at run time has a class here, with a `code`.
 *
 * @module
 */

import { LibraryError, MillraceError, UnsupportedPlatformError } from "../ffi/errors.ts";

export { LibraryError, MillraceError, UnsupportedPlatformError };

/**
 * The channel is closed, and no value could be sent or received. `code` is `"CHANNEL_CLOSED"`,
 * `"ENDPOINT_CLOSED"` when it was this very endpoint that had been closed, or `"PEER_DIED"` when the
 * process that made the channel, or that of its last receiver, is gone.
 *
 * As in `@std/async/channel`, `value` carries the value that was not sent.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ChannelClosedError, mpsc, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { capacity: 8 });
 * const sender = channel.sender();
 * channel.close();
 * const error = await sender.send(7).catch((error) => error);
 * assert(error instanceof ChannelClosedError && error.value === 7);
 * ```
 */
export class ChannelClosedError extends MillraceError {
  /** The name of the class. */
  override name = "ChannelClosedError";
  /** The value that was not sent; present only on errors of send operations. */
  declare readonly value?: unknown;

  /** Makes the error; a third argument becomes its `value`. */
  constructor(code: string, message: string, ...unsent: [value: unknown] | []) {
    super(code, message);
    if (unsent.length > 0) {
      Object.defineProperty(this, "value", { value: unsent[0], enumerable: true });
    }
  }
}

/**
 * A ticket could not be redeemed. `code` says why: `"TICKET_USED"` (or revoked), `"TICKET_FORGED"`,
 * `"TICKET_FOREIGN"` (another process, or another copy of the native library in this one, issued it), `"TICKET_FREED"` (its channel is gone),
 * `"TICKET_ROLE"` (a sender's ticket given to a receiver, or the reverse).
 */
export class TicketError extends MillraceError {
  /** The name of the class. */
  override name = "TicketError";
}

/**
 * There is a receiver already, or was one: an mpsc or spsc channel has one in its life
 * (`"RECEIVER_TAKEN"`).
 */
export class ReceiverTakenError extends MillraceError {
  /** The name of the class. */
  override name = "ReceiverTakenError";
}

/** More senders than `maxSenders`, more receivers than `maxReceivers`, or more endpoints than a process may have. */
export class TooManyError extends MillraceError {
  /** The name of the class. */
  override name = "TooManyError";
}

/** The endpoint belongs to another thread (`"WRONG_THREAD"`): send a ticket there instead. */
export class WrongThreadError extends MillraceError {
  /** The name of the class. */
  override name = "WrongThreadError";
}

/** The system has no memory for the channel (`"OUT_OF_MEMORY"`). */
export class OutOfMemoryError extends MillraceError {
  /** The name of the class. */
  override name = "OutOfMemoryError";
}

/** A blocking call ran out of time (`"TIMEOUT"`). */
export class TimeoutError extends MillraceError {
  /** The name of the class. */
  override name = "TimeoutError";
  /** How many values of a batch had been sent; 0 for other calls. */
  readonly sent: number;

  /** Makes the error. */
  constructor(code: string, message: string, sent = 0) {
    super(code, message);
    this.sent = sent;
  }
}

/**
 * A blocking call can never end, since the other side is in the very thread that it blocks
 * (`"DEADLOCK"`): every receiver of a sender that waits for room, every sender of a receiver that waits for
 * a value, everything that has a pool open. It is thrown where that is known, when the call has waited for a
 * millisecond, whatever its `timeout`; nothing was sent or taken. Use the verbs that do not block (`await send()`), or open the other
 * side in a Worker.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { DeadlockError, mpsc, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { capacity: 1 });
 * const sender = channel.sender();
 * const receiver = channel.receiver();
 * sender.sendSync(1);
 * assert.throws(() => sender.sendSync(2), DeadlockError);
 * assert(receiver.receiveSync() === 1);
 * ```
 */
export class DeadlockError extends MillraceError {
  /** The name of the class. */
  override name = "DeadlockError";
  /** How many values of a batch had been sent; 0 for other calls. */
  readonly sent: number;

  /** Makes the error. */
  constructor(code: string, message: string, sent = 0) {
    super(code, message);
    this.sent = sent;
  }
}

/**
 * Another process could not be let in, or does not let this one in. `code` says why:
 *
 * - `"REFUSED"`: nobody listens there; `"NO_SUCH_PATH"`; `"ADDRESS_IN_USE"`: somebody else listens there.
 * - `"NOT_PERMITTED"`: not this user, or the system forbids it; `"ROLE_REFUSED"`: the share offers no
 *   such endpoint.
 * - `"TIMEOUT"`; `"PEER_DIED"`: the other side hung up.
 * - `"NOT_A_SEGMENT"`, `"WRONG_VERSION"`, `"TRUNCATED"`, `"UNSEALED"`, `"WRONG_LAYOUT"`: the memory is not
 *   what it should be; `"NOT_UNDERSTOOD"`: whoever listens there speaks something else.
 * - `"LAYOUT"`: the channel's values are laid out otherwise than was asked for.
 * - `"TOO_MANY_DESCRIPTORS"`: this process, or the one that shares, has no descriptor left;
 *   `"SHARED_MEMORY_REFUSED"`: a sandbox forbids `memfd_create`; `"FILE_SIZE_LIMIT"`: the memory is longer
 *   than a file of this process may be; `"SYSTEM_REFUSED"`: the system says no for another reason. The
 *   creation of a channel or a pool with `shared: true` throws these, too.
 */
export class ConnectError extends MillraceError {
  /** The name of the class. */
  override name = "ConnectError";
}

/** The shared memory holds something it cannot hold (`"CORRUPT_SEGMENT"`). */
export class CorruptSegmentError extends MillraceError {
  /** The name of the class. */
  override name = "CorruptSegmentError";
}

/** A ticket names a custom layout that is not registered in this thread (`"LAYOUT_UNREGISTERED"`). */
export class LayoutError extends MillraceError {
  /** The name of the class. */
  override name = "LayoutError";
}

/**
 * A slab of a buffer pool could not be used. `code` says why: `"SLAB_STALE"` (it has been freed, sent
 * or received since: freeing twice, using what was sent), `"SLAB_FOREIGN"` (of another pool),
 * `"SLAB_NOT_OWNED"` (another thread's, or on its way to a receiver).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pool, SlabError } from "millrace";
 *
 * using slabs = pool({ slab: 1 << 16, count: 4 });
 * const slab = slabs.tryAlloc();
 * slab?.free();
 * assert.throws(() => slab?.free(), SlabError);
 * ```
 */
export class SlabError extends MillraceError {
  /** The name of the class. */
  override name = "SlabError";
}

/**
 * Memory could not be had on a NUMA node, or a thread not pinned. `code` says why: `"NO_SUCH_NODE"`,
 * `"NODE_NOT_ALLOWED"` (the process's cpuset leaves it out, or it has no CPU this process may use),
 * `"NODE_OUT_OF_MEMORY"`, `"NUMA_REFUSED"` (the kernel forbids the call, as the seccomp filters of
 * containers have it do), `"NUMA_UNSUPPORTED"` (the kernel knows no nodes), `"NO_SUCH_CPU"`,
 * `"CPU_NOT_ALLOWED"`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { NumaError, pinThread } from "millrace";
 *
 * assert.throws(() => pinThread({ cpu: 8191 }), NumaError);
 * ```
 */
export class NumaError extends MillraceError {
  /** The name of the class. */
  override name = "NumaError";
}

/**
 * A ring was to lie in huge pages, by `hugePages: "require"`, and there are none to be had
 * (`"HUGE_PAGES_UNAVAILABLE"`).
 */
export class HugePagesError extends MillraceError {
  /** The name of the class. */
  override name = "HugePagesError";
}
