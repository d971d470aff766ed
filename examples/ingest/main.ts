/**
 * Ingests a directory: Workers send every line of its text files to one receiver, through a channel
 * and then by `postMessage`, and a plain read of the same files says whether anything was lost.
 *
 * Run it with `deno run -A examples/ingest/main.ts` or `bun examples/ingest/main.ts`; `--help` tells
 * the options.
 */

import process from "node:process";
import { MillraceError } from "../../mod.ts";
import { Crew } from "./crew.ts";
import { type FileList, listFiles } from "./files.ts";
import { type Options, parseOptions, usage, UsageError } from "./options.ts";
import { byPostMessage, type Outcome, plainRead, throughChannel } from "./runs.ts";
import {
  count,
  extensionTable,
  hexadecimal,
  integer,
  mebibytes,
  print,
  Progress,
  runLine,
  showRun,
} from "./screen.ts";
import { Tally } from "./tally.ts";

const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** A Ctrl-C this soon after another is the same one, forwarded by whoever started this program. */
const sameInterruptMs = 500;

/** What is sent before the clock starts: so many small files. */
const warmUpFiles = 100;
const warmUpFileBytesMax = 64 * 1024;

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options.wantsHelp) {
    print(usage);
    return exitCodes.ok;
  }
  const interruption = new AbortController();
  let interruptedAt: number | undefined;
  const onInterrupt = () => {
    const now = performance.now();
    if (interruptedAt !== undefined) {
      if (now - interruptedAt > sameInterruptMs) process.exit(exitCodes.interrupted);
      return;
    }
    interruptedAt = now;
    interruption.abort();
  };
  process.on("SIGINT", onInterrupt);
  try {
    return await ingest(options, interruption.signal);
  } finally {
    process.off("SIGINT", onInterrupt);
  }
}

async function ingest(options: Options, signal: AbortSignal): Promise<number> {
  const senders = count(options.senders, "sender Worker");
  print(`Millrace ingest: ${senders}, one receiver (${runtimeName()})`);
  const list = await findFiles(options, signal);
  if (signal.aborted) return sayInterrupted("the search for files", undefined);
  describeFiles(options, list);
  print();

  const { files } = list;
  using crew = await Crew.start(options.senders);
  const expected = new Tally();
  // First, so that the other two find the files in the cache of the system.
  const read = await show(
    "plain read",
    expected,
    () => estimateMessages(list),
    () => plainRead(files, expected, signal),
  );
  if (signal.aborted) return sayInterrupted("the plain read", undefined);

  // The Workers load the library and compile their code, for both ways: not part of the comparison.
  const sample = files.filter(({ bytes }) => bytes <= warmUpFileBytesMax).slice(0, warmUpFiles);
  const warmUp = await throughChannel(crew, sample, new Tally(), signal);
  if (!options.isChannelOnly) await byPostMessage(crew, sample, new Tally(), signal);
  if (signal.aborted) return sayInterrupted("the warm-up", warmUp);

  const tally = new Tally();
  const messages = () => expected.messages;
  const channel = await show(
    "channel",
    tally,
    messages,
    () => throughChannel(crew, files, tally, signal),
  );
  if (channel.isInterrupted) return sayInterrupted("the channel run", channel);

  const postTally = new Tally();
  const post = options.isChannelOnly
    ? undefined
    : await show("postMessage", postTally, messages, () =>
      byPostMessage(crew, files, postTally, signal));

  print();
  for (const line of extensionTable(tally)) print(line);
  print();
  const isChannelRight = sayVerdict("channel", channel, tally, expected);
  if (post?.isInterrupted) {
    const code = sayInterrupted("the postMessage run", post);
    return isChannelRight ? code : exitCodes.failed;
  }
  const isPostRight = post === undefined || sayVerdict("postMessage", post, postTally, expected);
  sayUnreadable([read, channel, ...post ? [post] : []]);
  if (post !== undefined && tally.messages > 0) {
    const ratio = (tally.messages / channel.seconds) / (postTally.messages / post.seconds);
    print();
    print(
      `  The channel carried ${ratio.toFixed(1)} times as many messages per second as postMessage,`,
    );
    print("  the reading and splitting of the files included in both.");
  }
  return isChannelRight && isPostRight ? exitCodes.ok : exitCodes.failed;
}

async function findFiles(options: Options, signal: AbortSignal): Promise<FileList> {
  let found = 0;
  using _progress = new Progress(() => `  looking for files: ${integer(found)}`);
  try {
    return await listFiles(options.directory, options.limitBytes, signal, (sum) => found = sum);
  } catch (error) {
    throw new UsageError(
      `Cannot read the directory ${options.directory}: ${
        error instanceof Error ? error.message : error
      }`,
    );
  }
}

function describeFiles({ directory, limitBytes }: Options, list: FileList): void {
  print(`  ${directory}`);
  const isPart = list.bytes >= limitBytes;
  print(
    `  ${count(list.files.length, "text file")}, ${mebibytes(list.bytes)} MiB` +
      (isPart ? `, spread over the ${integer(list.found)} files there (--limit)` : ""),
  );
  const left: string[] = [];
  if (list.binary > 0) left.push(count(list.binary, "binary file"));
  if (list.unreadable > 0) left.push(`${integer(list.unreadable)} that could not be read`);
  if (left.length > 0) print(`  left out: ${left.join(", ")}`);
}

/** Runs with a progress line, and prints the result. */
async function show(
  name: string,
  tally: Tally,
  messagesExpected: () => number,
  run: () => Promise<Outcome>,
): Promise<Outcome> {
  let outcome: Outcome;
  {
    using _progress = showRun(name, tally, messagesExpected);
    outcome = await run();
  }
  print(runLine(name, outcome.received, outcome.seconds));
  return outcome;
}

/** Before anything has been read: only for the progress line. */
function estimateMessages({ files, bytes }: FileList): number {
  return files.length + bytes / 37;
}

function sayVerdict(name: string, outcome: Outcome, tally: Tally, expected: Tally): boolean {
  const { lost, duplicated, isNone } = tally.differenceTo(expected);
  const isRight = isNone && outcome.sent === outcome.received;
  print(
    `  ${name.padEnd(12)} ${integer(outcome.sent)} sent, ${integer(outcome.received)} received: ` +
      `${integer(lost)} lost, ${integer(duplicated)} duplicated; checksum ` +
      (tally.checksum === expected.checksum
        ? `${hexadecimal(tally.checksum)}, that of the plain read`
        : `${hexadecimal(tally.checksum)}, the plain read has ${hexadecimal(expected.checksum)}`),
  );
  if (!isRight) {
    print(`  ${name}: what arrived is NOT what the plain read found`);
  }
  return isRight;
}

function sayUnreadable(outcomes: readonly Outcome[]): void {
  const unreadable = Math.max(...outcomes.map((outcome) => outcome.unreadable));
  if (unreadable === 0) return;
  print(`  ${count(unreadable, "file")} changed or became unreadable after being found`);
}

function sayInterrupted(where: string, outcome: Outcome | undefined): number {
  const { sent, received, drained } = outcome ?? { sent: 0, received: 0, drained: 0 };
  const lost = Math.max(0, sent - received);
  const duplicated = Math.max(0, received - sent);
  print();
  print(
    `  Ctrl-C in ${where}: the senders stopped, ${count(drained, "more message")} drained`,
  );
  print(
    `  interrupted: ${integer(sent)} sent, ${integer(received)} received, ${integer(lost)} lost` +
      (duplicated > 0 ? `, ${integer(duplicated)} duplicated` : ""),
  );
  return sent === received ? exitCodes.interrupted : exitCodes.failed;
}

function runtimeName(): string {
  return navigator.userAgent.replace("/", " ");
}

function explain(error: unknown): string {
  if (error instanceof UsageError) return `error: ${error.message}; --help tells the options`;
  if (error instanceof MillraceError) return `${error.name}: ${error.message}`;
  return error instanceof Error ? error.stack ?? error.message : String(error);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(explain(error));
  process.exitCode = error instanceof UsageError ? exitCodes.usage : exitCodes.failed;
}
