/**
 * Text into and out of a ring, without an intermediate array.
 *
 * Each of the two runtimes is slow where the other is fast, so each has its own path. The times
 * below are of one text of 100 ASCII characters, unless said otherwise.
 *
 * @module
 */

import { flagAscii, recordSlotBytes, type RecordView } from "./codec.ts";
import { copyPrivately, releaseCopy } from "./private_copy.ts";

const isBun = "Bun" in globalThis;
const encoder = new TextEncoder();
// A byte order mark in front is the sender's: it stays.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The encode of a record codec, for text. */
export function encodeText(view: RecordView, offset: number, room: number, text: string): number {
  const length = text.length;
  // UTF-8 takes at most three bytes a UTF-16 unit: with that much room nothing is cut off.
  if (length * 3 > room) {
    const bytes = Buffer.byteLength(text, "utf8");
    if (bytes > room) return -1 - bytes;
  }
  const written = isBun
    ? view.buffer.utf8Write(text, offset, room)
    : encodeInDeno(view.u8, offset, room, text);
  // As many bytes as units: every one is ASCII, for any other takes more bytes than units.
  view.flags = written === length ? flagAscii : 0;
  return written;
}

/** In Deno `encodeInto` takes 80 ns before the first character; this loop, 1.5 ns a character. */
const encodedHereMax = 32;

function encodeInDeno(u8: Uint8Array, offset: number, room: number, text: string): number {
  const length = text.length;
  if (length > encodedHereMax) return encodeInto(u8, offset, room, text);
  let end = offset;
  for (let index = 0; index < length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) {
      u8[end++] = unit;
    } else if (unit < 0x800) {
      u8[end++] = 0xc0 | (unit >> 6);
      u8[end++] = 0x80 | (unit & 0x3f);
    } else if (unit < 0xd800 || unit > 0xdfff) {
      u8[end++] = 0xe0 | (unit >> 12);
      u8[end++] = 0x80 | ((unit >> 6) & 0x3f);
      u8[end++] = 0x80 | (unit & 0x3f);
    } else {
      // Surrogates, in pairs or alone, are left to who knows them.
      return encodeInto(u8, offset, room, text);
    }
  }
  return end - offset;
}

/** Deno's `utf8Write` does the same behind more checks: 110 ns against 80. Bun's is native: 16. */
function encodeInto(u8: Uint8Array, offset: number, room: number, text: string): number {
  return encoder.encodeInto(text, u8.subarray(offset, offset + room)).written;
}

/**
 * The decode of a record codec, for text.
 *
 * `latin1Slice` is itself the private copy: one pass over the ring, of a length known before (V8 copies one
 * byte a character; of Bun see oven-sh/bun#41574). To copy before it took 15 to 50 % of a decode. Whatever
 * decodes UTF-8 passes twice, and gets a copy.
 */
export function decodeText(
  view: RecordView,
  offset: number,
  length: number,
  flags: number,
): string {
  if (flags & flagAscii) {
    return isBun
      ? view.buffer.latin1Slice(offset, offset + length)
      : decodeAsciiInDeno(view, offset, length);
  }
  // Deno's `utf8Slice` starts in half the time of its decoder, and then is half as fast.
  const copy = copyPrivately(view, offset, length);
  const text = isBun || length < 256
    ? copy.buffer.utf8Slice(0, length)
    : decoder.decode(copy.u8.subarray(0, length));
  releaseCopy(copy);
  return text;
}

/** The longest text that is decoded together with those behind it: beyond, the call matters less. */
const decodedAheadMax = 2048;
/** Bytes decoded ahead, a byte of the text asked for; and that text counts as 32 at least. */
const aheadFactor = 8;

/**
 * In V8 a substring is a reference into the whole. So one `latin1Slice` decodes the records that
 * follow as well, headers and all: 25 ns a text, where a `latin1Slice` of its own takes 45.
 * (JavaScriptCore makes a substring hardly faster than a `latin1Slice`.)
 *
 * The price is that a text kept keeps what was decoded with it. So a text is only cut from a whole
 * of at most 16 times its own length, or 512 bytes (half of that when all are as long as it).
 * Of less than 13 characters V8 makes a copy, which keeps nothing.
 */
function decodeAsciiInDeno(view: RecordView, offset: number, length: number): string {
  const end = offset + length;
  const ahead = Math.max(length, 32) * aheadFactor;
  if (offset < view.textStart || end > view.textEnd) {
    // Nothing to be gained from the last record of the window.
    if (length > decodedAheadMax || end + recordSlotBytes > view.windowEnd) {
      return view.buffer.latin1Slice(offset, end);
    }
    view.textStart = offset;
    view.textEnd = Math.min(offset + ahead, view.windowEnd);
    view.text = view.buffer.latin1Slice(offset, view.textEnd);
  } else if (view.textEnd - view.textStart > 2 * ahead) {
    return view.buffer.latin1Slice(offset, end);
  }
  const start = offset - view.textStart;
  return view.text.substring(start, start + length);
}
