/**
 * The messages: what is sent for a file. The first character says what a message is, the second who
 * sent it, the rest is text:
 *
 * - `F0.ts`: sender 0 begins a file with the extension `.ts`.
 * - `L0const a = 1;`: a line of that file, without its line feed.
 * - `P0...`: the beginning of a line that is too long for one message; more of it follows.
 *
 * Which file a line belongs to is known from the messages of the same sender before it: a channel
 * keeps the order of each sender.
 */

import { closeSync, openSync, readSync } from "node:fs";
import type { SourceFile } from "./files.ts";

export const Kind = { file: "F", line: "L", piece: "P" } as const;

/** The most senders that one character tells apart, from "0" on, all of them ASCII. */
export const sendersMax = 64;
const firstSender = "0".charCodeAt(0);

/** Where the text of a message begins. */
export const textStart = 2;

/** The most UTF-16 units of text in a message: three bytes each at most, 48 KiB. */
const textMax = 16 * 1024;

const chunkBytes = 64 * 1024;

/** The number of the sender of a message. */
export function senderOf(message: string): number {
  return message.charCodeAt(1) - firstSender;
}

/** What went wrong while files were read. */
export interface ReadProblems {
  /** Files that could not be read to the end. */
  unreadable: number;
}

/**
 * Reads files and gives the messages for them, a batch for every chunk. Invalid UTF-8 is read as
 * U+FFFD. A file that cannot be read is counted in `problems`.
 */
export function* messagesOf(
  files: readonly SourceFile[],
  sender: number,
  problems: ReadProblems,
): Generator<string[], void, void> {
  const tag = String.fromCharCode(firstSender + sender);
  const chunk = new Uint8Array(chunkBytes);
  for (const file of files) {
    try {
      yield* messagesOfFile(file, tag, chunk);
    } catch {
      problems.unreadable++;
    }
  }
}

function* messagesOfFile(
  { path, extension, bytes }: SourceFile,
  tag: string,
  chunk: Uint8Array,
): Generator<string[], void, void> {
  const file = openSync(path, "r");
  try {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const messages = [Kind.file + tag + extension];
    let rest = "";
    let left = bytes;
    while (left > 0) {
      const length = readSync(file, chunk, 0, Math.min(left, chunk.length), null);
      if (length === 0) throw new Error(`${path} has become shorter`);
      left -= length;
      const text = decoder.decode(chunk.subarray(0, length), { stream: left > 0 });
      rest = pushLines(messages, tag, rest + text);
      if (left > 0) yield messages.splice(0);
    }
    if (rest !== "") messages.push(Kind.line + tag + rest);
    yield messages;
  } finally {
    closeSync(file);
  }
}

/** Pushes the lines of `text`. Returns what stands behind the last line feed. */
function pushLines(messages: string[], tag: string, text: string): string {
  const line = Kind.line + tag;
  let start = 0;
  while (true) {
    const end = text.indexOf("\n", start);
    start = pushPieces(messages, tag, text, start, end < 0 ? text.length : end);
    if (end < 0) return text.slice(start);
    messages.push(line + text.slice(start, end));
    start = end + 1;
  }
}

/** Pushes what is too much of a line for one message. Returns where the remainder begins. */
function pushPieces(
  messages: string[],
  tag: string,
  text: string,
  start: number,
  end: number,
): number {
  while (end - start > textMax) {
    // A surrogate pair stays together: half of one is not UTF-8.
    const isPair = (text.charCodeAt(start + textMax - 1) & 0xfc00) === 0xd800;
    const cut = start + textMax - (isPair ? 1 : 0);
    messages.push(Kind.piece + tag + text.slice(start, cut));
    start = cut;
  }
  return start;
}
