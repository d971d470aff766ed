/**
 * Text into and out of a ring, without an intermediate array.
 *
 * @module
 */

import { flagAscii, type RecordView } from "./codec.ts";

const encoder = new TextEncoder();

/** The bytes of a string as UTF-8. */
export function textByteLength(text: string): number {
  return Buffer.byteLength(text, "utf8");
}

/** The encode of a record codec, for text. */
export function encodeText(view: RecordView, offset: number, room: number, text: string): number {
  const length = text.length;
  // UTF-8 takes at most three bytes a UTF-16 unit: with that much room nothing is cut off.
  if (length * 3 > room && textByteLength(text) > room) return -1;
  const { written } = encoder.encodeInto(text, view.u8.subarray(offset, offset + room));
  // As many bytes as units: every one is ASCII, for any other takes more bytes than units.
  view.flags = written === length ? flagAscii : 0;
  return written;
}

/** The decode of a record codec, for text. */
export function decodeText(view: RecordView, offset: number, length: number, flags: number): string {
  if (flags & flagAscii) return view.buffer.latin1Slice(offset, offset + length);
  return view.buffer.utf8Slice(offset, offset + length);
}
