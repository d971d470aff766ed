/** What arrived: counts, a table of extensions and a checksum. */

import { Kind, senderOf, textStart } from "./messages.ts";

/** Counts of one extension. */
export interface Counts {
  files: number;
  lines: number;
  /** Messages that begin a line too long for one. */
  pieces: number;
  /** Bytes of the text as UTF-8, without line feeds. */
  bytes: number;
}

/** How two tallies differ. */
export interface Difference {
  readonly lost: number;
  readonly duplicated: number;
  /** Whether nothing differs: counts, bytes, table and checksum. */
  readonly isNone: boolean;
}

/** What is known of a sender from its messages so far. */
interface SenderState {
  counts: Counts;
  hash: number;
}

const hashStart = 0x811c9dc5 | 0;
const hashPrime = 0x01000193;
const checksumModulus = 2 ** 52;

const [fileCode, pieceCode, lineFeed] = [Kind.file, Kind.piece, "\n"].map((c) => c.charCodeAt(0));

/**
 * Counts messages.
 *
 * The hash of a line (FNV-1a over UTF-16 units) goes on from that of the line before it in the same
 * file, so it tells of lines in the wrong order too. The checksum is the sum over all lines: the same
 * in whatever order the senders come.
 */
export class Tally {
  readonly extensions = new Map<string, Counts>();
  readonly #senders: SenderState[] = [];
  #messages = 0;
  #checksum = 0;

  /** Messages counted. */
  get messages(): number {
    return this.#messages;
  }

  get checksum(): number {
    return this.#checksum;
  }

  /** Counts a message. */
  accept(message: string): void {
    this.#messages++;
    const sender = senderOf(message);
    const kind = message.charCodeAt(0);
    if (kind === fileCode) return this.#beginFile(sender, message.slice(textStart));
    const state = this.#senders[sender] ?? this.#beginSender(sender, "(unknown)");
    const { counts } = state;
    let hash = state.hash;
    let bytes = message.length - textStart;
    for (let i = textStart; i < message.length; i++) {
      const unit = message.charCodeAt(i);
      if (unit > 0x7f) bytes += extraBytes(unit);
      hash = Math.imul(hash ^ unit, hashPrime);
    }
    counts.bytes += bytes;
    if (kind === pieceCode) {
      counts.pieces++;
    } else {
      counts.lines++;
      hash = Math.imul(hash ^ (lineFeed as number), hashPrime);
      this.#checksum += hash >>> 0;
      if (this.#checksum >= checksumModulus) this.#checksum -= checksumModulus;
    }
    state.hash = hash;
  }

  #beginFile(sender: number, extension: string): void {
    this.#beginSender(sender, extension).counts.files++;
  }

  #beginSender(sender: number, extension: string): SenderState {
    const state = { counts: this.#countsOf(extension), hash: hashStart };
    this.#senders[sender] = state;
    return state;
  }

  #countsOf(extension: string): Counts {
    let counts = this.extensions.get(extension);
    if (counts === undefined) {
      counts = { files: 0, lines: 0, pieces: 0, bytes: 0 };
      this.extensions.set(extension, counts);
    }
    return counts;
  }

  /** The counts of all extensions together. */
  total(): Counts {
    const total = { files: 0, lines: 0, pieces: 0, bytes: 0 };
    for (const counts of this.extensions.values()) {
      total.files += counts.files;
      total.lines += counts.lines;
      total.pieces += counts.pieces;
      total.bytes += counts.bytes;
    }
    return total;
  }

  /** How this differs from what was expected. */
  differenceTo(expected: Tally): Difference {
    const none: Counts = { files: 0, lines: 0, pieces: 0, bytes: 0 };
    let lost = 0;
    let duplicated = 0;
    let isNone = this.#checksum === expected.#checksum;
    for (const extension of new Set([...expected.extensions.keys(), ...this.extensions.keys()])) {
      const here = this.extensions.get(extension) ?? none;
      const there = expected.extensions.get(extension) ?? none;
      for (const key of ["files", "lines", "pieces"] as const) {
        lost += Math.max(0, there[key] - here[key]);
        duplicated += Math.max(0, here[key] - there[key]);
      }
      isNone &&= here.bytes === there.bytes;
    }
    return { lost, duplicated, isNone: isNone && lost === 0 && duplicated === 0 };
  }
}

/** The bytes of a UTF-16 unit as UTF-8 beyond the first; half of a surrogate pair has two. */
function extraBytes(unit: number): number {
  return unit < 0x800 || (unit & 0xf800) === 0xd800 ? 1 : 2;
}
