/**
 * Event descriptors, for loops that wait for files.
 *
 * @module
 */

/**
 * An eventfd of a receiver: readable when a value has arrived since `arm()`, or the channel has ended.
 *
 * The loop of whoever uses it: wait until `fd` is readable; read its 8 bytes; receive until nothing is
 * there; `arm()`, and receive again as long as that says false; wait again. A sender writes once for
 * each time it finds the receiver armed, so once a sleep, and never while the receiver is busy.
 *
 * **Level-triggered** (the default of epoll, and libuv): read it before `arm()`, or it stays readable.
 * **Edge-triggered** (`EPOLLET`): every write is an edge, also when the last one was never read, so it
 * need not be read at all. Either way `arm()` comes after the read, and before the wait. A wake-up with
 * nothing to receive is possible: arm again.
 *
 * Reading waits while nothing was written, since the descriptor is not `O_NONBLOCK`: that is what
 * io_uring, and `read()` of `node:fs` in Bun, need. The file API of Deno cannot use a descriptor that
 * it has not opened, and `Deno.open()` of `/proc/self/fd/N` or `/dev/fd/N` is refused, as Linux does for
 * every eventfd (ENXIO): there `read` of the C library does, called through `Deno.dlopen` as
 * `nonblocking`. Either way each read that waits holds a thread of the runtime's pool: Bun has one for
 * each CPU, Deno 32, and while all of them wait no file of the program is read. So this is for loops in
 * native code. A thread that has both to do with Millrace and with its event loop needs none of it:
 * {@linkcode Receiver.receive} and {@linkcode Receiver.run} wait there, as many as you like.
 *
 * A descriptor that is armed keeps no process alive, whatever `ref()` and `unref()` say: whatever waits
 * for it does.
 *
 * There is one way to wait at a time. A receive that waits, in `receiveSync()` or on the event loop,
 * takes the arm away and makes the descriptor readable, so that whoever waits for it comes and arms
 * again.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { capacity: 8 });
 * const receiver = channel.receiver();
 * const eventFd = receiver.eventFd();
 * assert(eventFd.arm()); // nothing is there: now a wait for eventFd.fd is due
 * channel.sender().trySend(1); // writes to it
 * assert(!eventFd.arm()); // there is something: receive first
 * ```
 */
export interface EventFd {
  /**
   * The number of the descriptor. It is the channel's: do not close it. It becomes readable when the
   * receiver closes, and stays open until the last endpoint, handle and ticket of the channel is gone.
   * Where receivers come and go, the next one in the place of this one is given the same number with
   * an eventfd of its own: so stop waiting for it when your receiver has closed.
   */
  readonly fd: number;
  /**
   * Has the next value, or the end of the channel, make the descriptor readable. To be called when
   * nothing is left to receive, before each wait.
   *
   * @returns True: wait for the descriptor. False: there is something to receive; it is not armed.
   * @throws {TypeError} If a receive is pending, or `run()` consumes the receiver.
   * @throws {ChannelClosedError} If the receiver has been closed (`"ENDPOINT_CLOSED"`).
   */
  arm(): boolean;
}

/** The library's own way in. */
export function makeEventFd(fd: number, arm: () => boolean): EventFd {
  return Object.freeze({ fd, arm });
}
