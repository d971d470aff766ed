/**
 * A Worker to talk to: it answers on channels, by `postMessage` and through a bare futex.
 *
 * @module
 */

import {
  type Channel,
  mpsc,
  type PollBudget,
  type Receiver,
  Receiver as Receivers,
  type ReceiverTicket,
  type Sender,
  Sender as Senders,
  type SenderTicket,
  u32,
  type WaitStrategy,
} from "../mod.ts";
import { mismatch, roundTrips, type Side } from "./harness.ts";
import { FutexWord } from "./peers/futex.ts";
import { postMessageRoundTrips } from "./peers/post_message.ts";
import { type Role, startWorker, workerScope } from "./workers.ts";

type U32Sender = Sender<number, Uint32Array>;
type U32Receiver = Receiver<number, Uint32Array>;

interface Setup {
  readonly pings: ReceiverTicket<number, Uint32Array>;
  readonly pongs: SenderTicket<number, Uint32Array>;
  readonly words: SharedArrayBuffer;
}

/** A number asks for it back by postMessage. */
type Command =
  | number
  | { readonly answer: "async"; readonly count: number }
  | { readonly answer: "sync"; readonly count: number; readonly wait: WaitStrategy }
  | { readonly answer: "futex"; readonly count: number };

async function answerAsync(receiver: U32Receiver, sender: U32Sender, count: number): Promise<void> {
  for (let ping = 0; ping < count; ping++) sender.trySend(await receiver.receive());
}

type ChannelCommand = Extract<Command, { readonly answer: "async" | "sync" }>;

/** Answers on channels as it is commanded. */
export function answers(
  receiver: U32Receiver,
  sender: U32Sender,
): (command: ChannelCommand) => Promise<void> | void {
  return (command) => {
    if (command.answer === "async") return answerAsync(receiver, sender, command.count);
    const { wait } = command;
    for (let ping = 0; ping < command.count; ping++) {
      sender.sendSync(receiver.receiveSync({ wait }), { wait });
    }
  };
}

/** Answers as it is commanded. */
export const answering: Role = ({ pings, pongs, words }: Setup) => {
  const answer = answers(Receivers.open(pings), Senders.open(pongs));
  const pingWord = new FutexWord(words, 0);
  const pongWord = new FutexWord(words, 1);
  return (command: Command) => {
    if (typeof command === "number") return workerScope.postMessage(command);
    if (command.answer !== "futex") return answer(command);
    for (let ping = 0; ping < command.count; ping++) {
      pingWord.waitFor(ping + 1);
      pongWord.wake(ping + 1);
    }
    pingWord.wake(0);
  };
};

/** How a side makes round trips: as many as the array is long, with what each took, in ms. */
export type Talk = (conversation: Conversation, tookMs: Float64Array) => Promise<void> | void;

/** Sides that talk with one Worker, each in its way; the Worker has the role `answering`. */
export async function conversationSides(
  suite: string,
  pings: number,
  talks: Readonly<Record<string, Talk>>,
  warmUps?: number,
): Promise<Side[]> {
  const conversation = await Conversation.start(suite);
  const sides: Side[] = [];
  for (const [name, talk] of Object.entries(talks)) {
    sides.push(await roundTrips(name, pings, (tookMs) => talk(conversation, tookMs), warmUps));
  }
  return sides;
}

/** This side of a conversation over two channels, with whoever plays {@linkcode answers}. */
export class ChannelConversation {
  readonly #commanded: Pick<Worker, "postMessage">;
  readonly #sender: U32Sender;
  readonly #receiver: U32Receiver;

  /** Pings go out by `sender`, pongs come in by `receiver`. */
  constructor(
    commanded: Pick<Worker, "postMessage">,
    sender: U32Sender,
    receiver: U32Receiver,
  ) {
    this.#commanded = commanded;
    this.#sender = sender;
    this.#receiver = receiver;
  }

  #command(command: ChannelCommand): void {
    this.#commanded.postMessage(command);
  }

  /** Round trips of two event loops. */
  async async(tookMs: Float64Array, gap?: () => Promise<void>): Promise<void> {
    this.#command({ answer: "async", count: tookMs.length });
    for (let ping = 0; ping < tookMs.length; ping++) {
      if (gap !== undefined) await gap();
      const startMs = performance.now();
      this.#sender.trySend(ping);
      const pong = await this.#receiver.receive();
      tookMs[ping] = performance.now() - startMs;
      if (pong !== ping) mismatch(ping, pong);
    }
  }

  /** Round trips of two threads that block. */
  async sync(tookMs: Float64Array, wait: WaitStrategy): Promise<void> {
    this.#command({ answer: "sync", count: tookMs.length, wait });
    for (let ping = 0; ping < tookMs.length; ping++) {
      const startMs = performance.now();
      this.#sender.sendSync(ping, { wait });
      // A command to another process leaves by this event loop, which must not block before it has.
      const pong = ping === 0
        ? await this.#receiver.receive()
        : this.#receiver.receiveSync({ wait });
      tookMs[ping] = performance.now() - startMs;
      if (pong !== ping) mismatch(ping, pong);
    }
  }
}

/** This side of the conversation with a Worker. */
export class Conversation extends ChannelConversation {
  readonly #worker: Worker;
  readonly #words: SharedArrayBuffer;

  private constructor(
    worker: Worker,
    pings: Channel<number, Uint32Array>,
    pongs: Channel<number, Uint32Array>,
    words: SharedArrayBuffer,
  ) {
    super(worker, pings.sender(), pongs.receiver());
    this.#worker = worker;
    this.#words = words;
  }

  /** Starts a Worker with the role `answering` of the suite in file `suite`. */
  static async start(suite: string, pollBudget?: PollBudget): Promise<Conversation> {
    const options = { capacity: 16, ...(pollBudget !== undefined && { pollBudget }) };
    const pings = mpsc(u32, options);
    const pongs = mpsc(u32, options);
    const words = new SharedArrayBuffer(256);
    const setup: Setup = { pings: pings.receiverTicket(), pongs: pongs.senderTicket(), words };
    const worker = await startWorker(suite, "answering", setup);
    return new Conversation(worker, pings, pongs, words);
  }

  /** Round trips by `postMessage`. */
  post(tookMs: Float64Array, gap?: () => Promise<void>): Promise<void> {
    return postMessageRoundTrips(this.#worker, tookMs, gap);
  }

  /** Round trips of two threads that sleep on bare futexes. */
  futex(tookMs: Float64Array): void {
    const pingWord = new FutexWord(this.#words, 0);
    const pongWord = new FutexWord(this.#words, 1);
    pongWord.wake(0);
    this.#worker.postMessage({ answer: "futex", count: tookMs.length } satisfies Command);
    for (let ping = 0; ping < tookMs.length; ping++) {
      const startMs = performance.now();
      pingWord.wake(ping + 1);
      pongWord.waitFor(ping + 1);
      tookMs[ping] = performance.now() - startMs;
    }
    pingWord.waitFor(0);
  }
}
