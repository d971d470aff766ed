/**
 * Private copies of bytes that others can write to.
 *
 * A decoder that reads its input twice (runtimes do, to size a text and then to write it) goes wrong when
 * the bytes change in between, up to a write out of bounds. So what lies in shared memory is copied first,
 * each byte read once, and only the copy is decoded.
 *
 * @module
 */

import type { RecordView } from "./codec.ts";
import { bindRecords } from "./record_view.ts";

const isBun = "Bun" in globalThis;
/**
 * Up to so many bytes a loop is faster than a call that copies: measured in Deno 2.9, where the call needs
 * a subarray, and in Bun 1.4.
 */
const copiedHereMax = isBun ? 48 : 192;
const bytesLeast = 4096;
/** A copy as large as this is kept; a larger one only until memory is wanted. */
const keptMax = 1 << 20;

/** This thread's memory for copies. While a copy is in use it is nobody else's. */
let spare: RecordView | undefined;
let largeSpare: WeakRef<RecordView> | undefined;

/**
 * Copies `length` bytes at `offset`, which must be a multiple of 4, out of `view`, to the beginning of
 * another view. Whoever is done with it gives it back with {@linkcode releaseCopy}.
 */
export function copyPrivately(view: RecordView, offset: number, length: number): RecordView {
  const copy = takeSpare(length);
  if (length <= copiedHereMax) {
    const { u32 } = view;
    const { u32: out } = copy;
    const words = (length + 3) >>> 2;
    const from = offset >>> 2;
    for (let index = 0; index < words; index++) out[index] = u32[from + index] as number;
  } else if (isBun) {
    view.buffer.copy(copy.buffer, 0, offset, offset + length);
  } else {
    copy.u8.set(view.u8.subarray(offset, offset + length));
  }
  return copy;
}

function takeSpare(length: number): RecordView {
  const known = spare;
  if (known !== undefined && known.u8.length >= length) {
    spare = undefined;
    return known;
  }
  const large = largeSpare?.deref();
  if (large !== undefined && large.u8.length >= length) {
    largeSpare = undefined;
    return large;
  }
  return bindRecords(new ArrayBuffer(2 ** Math.ceil(Math.log2(Math.max(length, bytesLeast)))));
}

/** The copy is no longer used. Nothing must be decoded from it any more. */
export function releaseCopy(copy: RecordView): void {
  const { length } = copy.u8;
  // 0: a program was shown it, and has transferred it away.
  if (length === 0) return;
  if (length <= keptMax) spare = copy;
  else largeSpare = new WeakRef(copy);
}
