/** What the user sees. */

import process from "node:process";
import type { Counts, Tally } from "./tally.ts";

const terminalEveryMs = 100;
const logEveryMs = 1000;
const barWidth = 20;
const nameWidth = 12;

/** A line that shows how far a run is: in place on a terminal, else a line every second. */
export class Progress implements Disposable {
  readonly #isTerminal = process.stdout.isTTY === true;
  readonly #describe: () => string;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(describe: () => string) {
    this.#describe = describe;
    this.#timer = setInterval(() => this.#show(), this.#isTerminal ? terminalEveryMs : logEveryMs);
    if (this.#isTerminal) this.#show();
  }

  #show(): void {
    const text = this.#describe();
    if (!this.#isTerminal) return print(text);
    const width = Math.max(20, process.stdout.columns ?? 80) - 1;
    process.stdout.write(`\r\x1b[2K${text.slice(0, width)}`);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#isTerminal) process.stdout.write("\r\x1b[2K");
  }
}

/** Prints a line. */
export function print(line = ""): void {
  if (process.stdout.isTTY) process.stdout.write(`${line}\n`);
  else console.log(line);
}

/** Shows the progress of a run until it is disposed of. */
export function showRun(name: string, tally: Tally, messagesExpected: () => number): Progress {
  const startedAt = performance.now();
  return new Progress(() => {
    const part = Math.min(1, tally.messages / Math.max(1, messagesExpected()));
    const bar = "#".repeat(Math.floor(part * barWidth)).padEnd(barWidth, ".");
    const seconds = (performance.now() - startedAt) / 1000;
    return `  ${name.padEnd(nameWidth)} [${bar}] ${percent(part)}  ` +
      `${integer(tally.messages).padStart(11)} messages  ${rate(tally.messages, seconds)}`;
  });
}

/** The result of a run, a line. */
export function runLine(name: string, messages: number, seconds: number): string {
  return `  ${name.padEnd(nameWidth)} ${integer(messages).padStart(11)} messages in ` +
    `${seconds.toFixed(2).padStart(5)} s  ${rate(messages, seconds)}`;
}

/** The table of extensions: the most frequent ones, the others in one row, and their sum. */
export function extensionTable(tally: Tally, rowsMax = 10): string[] {
  const sorted = [...tally.extensions].sort(([a, x], [b, y]) =>
    y.lines - x.lines || y.files - x.files || (a < b ? -1 : 1)
  );
  const shown = sorted.length > rowsMax ? sorted.slice(0, rowsMax - 1) : sorted;
  const others = sorted.slice(shown.length);
  const rows = shown.map(([extension, counts]) => row(printable(extension), counts));
  if (others.length > 0) {
    const files = others.reduce((sum, [, counts]) => sum + counts.files, 0);
    const lines = others.reduce((sum, [, counts]) => sum + counts.lines, 0);
    const bytes = others.reduce((sum, [, counts]) => sum + counts.bytes, 0);
    rows.push(row(`${others.length} others`, { files, lines, bytes }));
  }
  return [
    `  ${"extension".padEnd(nameWidth)} ${"files".padStart(9)} ${"lines".padStart(11)} ${
      "MiB".padStart(9)
    }`,
    ...rows,
    row("all", tally.total()),
  ];
}

function row(name: string, { files, lines, bytes }: Omit<Counts, "pieces">): string {
  return `  ${name.padEnd(nameWidth)} ${integer(files).padStart(9)} ${
    integer(lines).padStart(11)
  } ${mebibytes(bytes).padStart(9)}`;
}

/** A file name can hold anything, and be long. */
function printable(extension: string): string {
  const text = extension.replace(/[\p{C}\p{Z}]/gu, "?");
  return text.length > nameWidth ? `${text.slice(0, nameWidth - 3)}...` : text;
}

/** An integer with separators. */
export function integer(value: number): string {
  return value.toLocaleString("en-US");
}

/** So many of something. */
export function count(value: number, noun: string): string {
  return `${integer(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A count of bytes in MiB. */
export function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

/** A sum of hashes. */
export function hexadecimal(checksum: number): string {
  return checksum.toString(16).padStart(13, "0");
}

function percent(part: number): string {
  return `${Math.floor(part * 100)}%`.padStart(4);
}

function rate(messages: number, seconds: number): string {
  return `${integer(seconds > 0 ? Math.round(messages / seconds) : 0).padStart(10)} messages/s`;
}
