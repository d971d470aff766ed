/**
 * Pairs of sockets for processes that begin life together, and descriptors sent over a socket.
 *
 * @module
 */

import { check, native } from "./native.ts";
import { checkAnswer, checkFd } from "./place.ts";

/**
 * Two sockets that are connected with each other, as descriptors. The first is for
 * {@linkcode Channel.share}, the second for a child process, which inherits it: it alone is not
 * close-on-exec. See `docs/processes.md` for how each runtime lets a child have it.
 *
 * @example
 * ```ts
 * import { mpsc, Sender, socketPair, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { shared: true });
 * const [ours, theirs] = socketPair();
 * using share = channel.share({ fd: ours });
 * // In a child it would be the number the child was told.
 * using sender = await Sender.connect<number>({ fd: theirs });
 * await sender.send(7);
 * console.assert((await channel.receiver().receive()) === 7);
 * ```
 *
 * @throws {ConnectError} If the system has no descriptor left (`"TOO_MANY_DESCRIPTORS"`).
 */
export function socketPair(): [number, number] {
  const pair = new Int32Array(2);
  check(native().symbols.millrace_socket_pair(pair), "make a pair of sockets");
  return [pair[0] as number, pair[1] as number];
}

/**
 * Sends a descriptor over a Unix socket, together with one byte. The one here stays open. Blocks this
 * thread while the socket has no room.
 *
 * @throws {RangeError} If one of them is no descriptor.
 * @throws {ConnectError} If the other side hung up (`"PEER_DIED"`), or the system refuses.
 */
export function sendFd(socket: number, fd: number): void {
  const action = "send a descriptor";
  checkFd(action, socket);
  checkAnswer(native().symbols.millrace_send_fd(socket, checkFd(action, fd)), action);
}

/**
 * Receives a descriptor over a Unix socket. It is close-on-exec. Blocks this thread until one comes.
 *
 * @throws {RangeError} If `socket` is no descriptor.
 * @throws {ConnectError} If the other side hung up (`"PEER_DIED"`), or the system refuses.
 */
export function receiveFd(socket: number): number {
  const action = "receive a descriptor";
  return checkAnswer(native().symbols.millrace_receive_fd(checkFd(action, socket)), action);
}

/**
 * Closes a descriptor, as the one that a child has inherited: as long as the parent has it, too, a share
 * may not notice the child's end. `node:fs` of Deno closes only what it has opened.
 *
 * @throws {RangeError} If it is no descriptor.
 */
export function closeFd(fd: number): void {
  const action = "close a descriptor";
  checkAnswer(native().symbols.millrace_close_fd(checkFd(action, fd)), action);
}
