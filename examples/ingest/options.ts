/** The command line. */

import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { sendersMax } from "./messages.ts";

export const usage =
  `Usage: npm run demo -- [--runtime NAME] [DIRECTORY] [--senders N] [--limit MIB] [--channel-only]

Sends every line of the text files below DIRECTORY from N Workers to one receiver, through a channel
and then by postMessage, and compares what arrived with a plain read of the same files.

  --runtime NAME   deno, bun or both; the one that started this unless given
  DIRECTORY        what to read; the installed packages of this checkout unless given
  --senders N      Workers that send, 1 to ${sendersMax}; 4 unless given
  --limit MIB      read about so many MiB, spread over the directory, or "all"; 64 unless given
  --channel-only   leave the postMessage run out
  --help           show this

Ctrl-C stops the senders and drains what was sent; a second Ctrl-C quits at once.
Exit code: 0 all counts and checksums agree, 1 they do not or something failed, 2 wrong arguments,
130 interrupted and drained.`;

/** What the command line asks for. */
export interface Options {
  readonly directory: string;
  readonly senders: number;
  readonly limitBytes: number;
  readonly isChannelOnly: boolean;
  readonly wantsHelp: boolean;
}

/** A mistake in the command line. */
export class UsageError extends Error {
  override name = "UsageError";
}

/**
 * Reads the command line.
 *
 * @throws {UsageError} If it cannot be understood.
 */
export function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parse(args);
  if (positionals.length > 1) {
    throw new UsageError(`Expected one directory, received ${positionals.length}`);
  }
  return {
    directory: positionals[0] ?? fileURLToPath(new URL("../../node_modules", import.meta.url)),
    senders: parseNumber("--senders", values.senders, 1, sendersMax, Number.isInteger),
    limitBytes: values.limit === "all"
      ? Infinity
      : parseNumber("--limit", values.limit, 0, 1e9, Number.isFinite) * 2 ** 20,
    isChannelOnly: values["channel-only"],
    wantsHelp: values.help,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        senders: { type: "string", short: "s", default: "4" },
        limit: { type: "string", default: "64" },
        "channel-only": { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    // What follows the first sentence is about arguments that begin with a dash.
    const [problem = ""] = (error as Error).message.split(". ");
    throw new UsageError(problem);
  }
}

function parseNumber(
  name: string,
  text: string,
  least: number,
  greatest: number,
  isValid: (value: number) => boolean,
): number {
  const value = text.trim() === "" ? NaN : Number(text);
  if (isValid(value) && value >= least && value <= greatest) return value;
  throw new UsageError(
    `${name} must be a number from ${least} to ${greatest}, received ${JSON.stringify(text)}`,
  );
}
