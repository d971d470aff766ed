/**
 * Bells: the words event loops sleep on with `Atomics.waitAsync`. They travel in tickets, because
 * only JavaScript can ring them.
 *
 * @module
 */

import { Bells as bit } from "../ffi/abi.ts";

const receiverIndex = 0;
const drainIndex = 1;
const firstSenderIndex = 2;

/** The bells of one channel: the receiver's, that of `drained()`, and one a sender. */
export class Bells {
  /** The shared words. */
  readonly words: Int32Array<SharedArrayBuffer>;

  /** Over the memory of a ticket, or fresh for `maxSenders`. */
  constructor(memory: SharedArrayBuffer | number) {
    this.words = new Int32Array(
      typeof memory === "number" ? new SharedArrayBuffer(4 * (firstSenderIndex + memory)) : memory,
    );
  }

  /** Whether `memory` can be the bells of a channel with so many senders. */
  static fits(memory: unknown, maxSenders: number): memory is SharedArrayBuffer {
    return memory instanceof SharedArrayBuffer &&
      memory.byteLength === 4 * (firstSenderIndex + maxSenders);
  }

  /** Rings what the native library asked for: bits of an answer, `ring` being the ring it is about. */
  ring(bells: number, ring: number): void {
    if (bells & bit.all) {
      for (let index = 0; index < this.words.length; index++) this.#ringOne(index);
      return;
    }
    if (bells & bit.receiver) this.#ringOne(receiverIndex);
    if (bells & bit.sender) this.#ringOne(firstSenderIndex + ring);
    if (bells & bit.drain) this.#ringOne(drainIndex);
  }

  /** Rings the bell of `drained()`. */
  ringDrain(): void {
    this.#ringOne(drainIndex);
  }

  #ringOne(index: number): void {
    // The count first: a sleeper that looked before it and sleeps after it finds another number.
    Atomics.add(this.words, index, 1);
    Atomics.notify(this.words, index);
  }

  /** The index of the receiver's bell. */
  static readonly receiver: number = receiverIndex;
  /** The index of the bell of `drained()`. */
  static readonly drain: number = drainIndex;

  /** The index of the bell of the sender that has `ring`. */
  static ofSender(ring: number): number {
    return firstSenderIndex + ring;
  }
}
