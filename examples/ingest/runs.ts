/** The three ways over the same files. */

import { mpsc, utf8 } from "../../mod.ts";
import type { Crew } from "./crew.ts";
import type { SourceFile } from "./files.ts";
import { messagesOf, type ReadProblems } from "./messages.ts";
import { Pacer } from "./pacer.ts";
import type { Tally } from "./tally.ts";

/** How a run went. */
export interface Outcome {
  readonly seconds: number;
  readonly sent: number;
  readonly received: number;
  /** Of those received, how many after Ctrl-C. */
  readonly drained: number;
  /** Files that could not be read to the end. */
  readonly unreadable: number;
  readonly isInterrupted: boolean;
}

/** The ring of each sender. */
const ringBytes = 256 * 1024;

/** How often the receiver of a `postMessage` run acknowledges. */
const acknowledgeEvery = 1024;

/** In this thread, without sending anything: what the other two are compared with. */
export async function plainRead(
  files: readonly SourceFile[],
  tally: Tally,
  signal: AbortSignal,
): Promise<Outcome> {
  const watch = new StopWatch(tally, signal);
  const pacer = new Pacer(signal);
  const problems: ReadProblems = { unreadable: 0 };
  for (const messages of messagesOf(files, 0, problems)) {
    for (const message of messages) tally.accept(message);
    await pacer.pause();
    if (signal.aborted) break;
  }
  return watch.outcome(tally.messages, problems.unreadable);
}

/** Through a channel. Ctrl-C closes it: nothing more is accepted, what was sent is received. */
export async function throughChannel(
  crew: Crew,
  files: readonly SourceFile[],
  tally: Tally,
  signal: AbortSignal,
): Promise<Outcome> {
  await using channel = mpsc(utf8, { capacity: ringBytes, maxSenders: crew.size });
  // All of them before the first is used: a channel ends when no sender and no ticket is left.
  const tickets = Array.from({ length: crew.size }, () => channel.senderTicket());
  using watch = new StopWatch(tally, signal, () => channel.close());
  await using receiver = channel.receiver();
  const loop = receiver.run((message) => tally.accept(message));
  const [reports] = await Promise.all([
    crew.send(files, tickets),
    // The channel ends when the last sender has closed and everything is received.
    loop.finished,
  ]);
  return watch.outcome(sum(reports, "sent"), sum(reports, "unreadable"));
}

/** By `postMessage`, one message a line, with acknowledgements that keep the queues short. */
export async function byPostMessage(
  crew: Crew,
  files: readonly SourceFile[],
  tally: Tally,
  signal: AbortSignal,
): Promise<Outcome> {
  using watch = new StopWatch(tally, signal, () => crew.stop());
  const received = new Array<number>(crew.size).fill(0);
  const reports = await crew.send(files, [], (message, sender) => {
    tally.accept(message);
    const count = (received[sender] ?? 0) + 1;
    received[sender] = count;
    if (count % acknowledgeEvery === 0) {
      crew.tell(sender, { order: "acknowledge", received: count });
    }
  });
  return watch.outcome(sum(reports, "sent"), sum(reports, "unreadable"));
}

/** Takes the time of a run, and notes where it was when Ctrl-C came. */
class StopWatch implements Disposable {
  readonly #tally: Tally;
  readonly #signal: AbortSignal;
  readonly #startedAt = performance.now();
  #receivedAtInterrupt: number | undefined;
  readonly #interrupt: () => void;

  constructor(tally: Tally, signal: AbortSignal, stop: () => void = () => {}) {
    this.#tally = tally;
    this.#signal = signal;
    this.#interrupt = () => {
      this.#receivedAtInterrupt = tally.messages;
      stop();
    };
    if (signal.aborted) this.#interrupt();
    else signal.addEventListener("abort", this.#interrupt, { once: true });
  }

  outcome(sent: number, unreadable: number): Outcome {
    const received = this.#tally.messages;
    return {
      seconds: (performance.now() - this.#startedAt) / 1000,
      sent,
      received,
      drained: received - (this.#receivedAtInterrupt ?? received),
      unreadable,
      isInterrupted: this.#signal.aborted,
    };
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#interrupt);
  }
}

function sum<Key extends string>(items: readonly Record<Key, number>[], key: Key): number {
  return items.reduce((total, item) => total + item[key], 0);
}
