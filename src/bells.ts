/**
 * Bells: the words event loops sleep on with `Atomics.waitAsync`. They travel in tickets, because
 * only JavaScript can ring them.
 *
 * @module
 */

import { Bells as bit, Limits } from "../ffi/abi.ts";
import { noteWake } from "./core.ts";
import { isSharedArrayBuffer } from "./typed_array.ts";

const drainIndex = 0;
const firstReceiverIndex = 1;
const firstSenderIndex = firstReceiverIndex + Limits.receivers;
const receiverMask = 0xff;

/** Called when this thread has rung every bell of a channel, as a close does. */
export const onRingAll: Set<() => void> = new Set();

/** The bells of one channel: that of `drained()`, one a receiver, and one a sender. */
export class Bells {
  /** The shared words. */
  readonly words: Int32Array<SharedArrayBuffer>;

  /** Over the memory of a ticket, or fresh for `maxSenders`. */
  constructor(memory: SharedArrayBuffer | number) {
    this.words = new Int32Array(
      typeof memory === "number" ? new SharedArrayBuffer(Bells.bytesOf(memory)) : memory,
    );
  }

  /** Whether `memory` can be the bells of a channel with so many senders. */
  static fits(memory: unknown, maxSenders: number): memory is SharedArrayBuffer {
    return isSharedArrayBuffer(memory) && memory.byteLength === Bells.bytesOf(maxSenders);
  }

  /** Bytes of the bells of a channel with so many senders. */
  static bytesOf(maxSenders: number): number {
    return 4 * (firstSenderIndex + maxSenders);
  }

  /** Rings what the native library asked for: bits of an answer, `ring` being the ring it is about. */
  ring(bells: number, ring: number): void {
    if (bells & bit.all) {
      for (let index = 0; index < this.words.length; index++) this.#ringOne(index);
      for (const call of onRingAll) call();
      return;
    }
    if (bells & bit.receiver) {
      this.#ringOne(firstReceiverIndex + ((bells >>> bit.receiverShift) & receiverMask));
    }
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
    if (Atomics.notify(this.words, index) > 0) noteWake();
  }

  /** The index of the bell of `drained()`. */
  static readonly drain: number = drainIndex;

  /** The index of the bell of a receiver, by its place among the receivers. */
  static ofReceiver(receiver: number): number {
    return firstReceiverIndex + receiver;
  }

  /** The index of the bell of the sender that has `ring`. */
  static ofSender(ring: number): number {
    return firstSenderIndex + ring;
  }
}
