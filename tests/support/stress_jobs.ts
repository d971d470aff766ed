/**
 * What the Workers of the stress tests do: every way to send, every way to receive, with counts.
 *
 * @module
 */

import {
  ChannelClosedError,
  Receiver,
  type ReceiverTicket,
  Sender,
  type SenderTicket,
  type WaitStrategy,
} from "../../mod.ts";
import { Role } from "../../ffi/abi.ts";
import { native } from "../../src/native.ts";

/** A value says who sent it and which of that sender's it is. */
const idShift = 2 ** 24;

export function valueOf(id: number, index: number): number {
  return id * idShift + index;
}

export function idOf(value: number): number {
  return Math.floor(value / idShift);
}

export function indexOf(value: number): number {
  return value % idShift;
}

export const sendModes = [
  "sendSync",
  "send",
  "send without awaiting each",
  "trySend and ready",
  "writer",
  "writer without blocking",
  "sendBatch and ready",
  "sendAll",
  "sendAllSync",
  "reserve and commit",
  "blocking and async in turns",
] as const;
export type SendMode = (typeof sendModes)[number];

export const receiveModes = [
  "receive",
  "receive, several pending",
  "for await",
  "batches",
  "readable and release",
  "drain and ready",
  "receiveBatch and ready",
  "run",
  "run with batches",
  "stream",
] as const;
export const blockingReceiveModes = ["receiveSync", "blocking and async in turns"] as const;
export type ReceiveMode = (typeof receiveModes)[number] | (typeof blockingReceiveModes)[number];

/**
 * The most values a mode has given back to the channel and not yet handed to the program: what dies
 * with a Worker. The others give back only what has been handled.
 */
export const handedOver: Partial<Record<ReceiveMode, number>> = {
  "receive": 1,
  "receive, several pending": 5,
  "receiveBatch and ready": 16,
  "receiveSync": 1,
  "blocking and async in turns": 1,
};

/** The most values that a program which throws leaves unhandled: the rest of its batch. */
export const leftByThrowing: Partial<Record<ReceiveMode, number>> = {
  "batches": 16,
  "run with batches": 16,
};

type Numbers = Sender<number, Uint32Array>;
type NumbersReceiver = Receiver<number, Uint32Array>;

/** Values `from` to `to` of sender `id`. */
function run(id: number, from: number, to: number): Uint32Array {
  return Uint32Array.from({ length: to - from }, (_, offset) => valueOf(id, from + offset));
}

/** How many of the values of a batch were sent, when an error says which were not. */
function sentOf(error: unknown, attempted: number): number {
  if (!(error instanceof ChannelClosedError)) throw error;
  const unsent = error.value as ArrayLike<number> | undefined;
  if (unsent === undefined) throw new Error("the error of a batch does not say what was not sent");
  return attempted - unsent.length;
}

/** The index of the first value a writer pushed and did not send. */
function firstUnsent(error: unknown, pushed: number): number {
  if (!(error instanceof ChannelClosedError)) throw error;
  const unsent = error.value as ArrayLike<number> | undefined;
  if (unsent === undefined) throw new Error("the error of a writer does not say what was not sent");
  return unsent.length === 0 ? pushed : indexOf(unsent[0] as number);
}

const batchLength = 7;
/** More than a chunk, so that most chunks are published by the writer itself. */
const valuesBetweenFlushes = 3000;

/**
 * Sends values up to `count`, or until the channel is closed. `sent` is told of every value that was
 * reported as sent, after it was.
 *
 * @returns How many were reported as sent, those before `from` included.
 */
export async function sendAs(
  mode: SendMode,
  sender: Numbers,
  id: number,
  count: number,
  wait: WaitStrategy,
  sent: (count: number) => void = () => {},
  from = 0,
): Promise<number> {
  let index = from;
  const advance = (by: number) => {
    index += by;
    if (by > 0) sent(by);
  };
  const options = { wait };
  const single = async (mode: SendMode): Promise<boolean> => {
    const value = valueOf(id, index);
    try {
      if (mode === "sendSync") sender.sendSync(value, options);
      else await sender.send(value);
    } catch (error) {
      if (!(error instanceof ChannelClosedError)) throw error;
      if (error.value !== value) throw new Error(`the error carries ${error.value}, not ${value}`);
      return false;
    }
    advance(1);
    return true;
  };
  const isReady = () =>
    sender.ready().then(() => true, (error) => {
      if (error instanceof ChannelClosedError) return false;
      throw error;
    });

  switch (mode) {
    case "sendSync":
    case "send":
      while (index < count && await single(mode));
      break;
    case "blocking and async in turns":
      while (index < count && await single(index % 3 === 0 ? "send" : "sendSync"));
      break;
    case "send without awaiting each":
      while (index < count) {
        const length = Math.min(batchLength, count - index);
        const outcomes = await Promise.allSettled(
          Array.from(run(id, index, index + length), (value) => sender.send(value)),
        );
        const refused = outcomes.findIndex(({ status }) => status === "rejected");
        if (refused >= 0 && outcomes.slice(refused).some(({ status }) => status === "fulfilled")) {
          throw new Error("a send succeeded behind one that was refused");
        }
        advance(refused < 0 ? length : refused);
        if (refused >= 0) break;
      }
      break;
    case "trySend and ready":
      while (index < count) {
        if (sender.trySend(valueOf(id, index))) advance(1);
        else if (!(await isReady())) break;
      }
      break;
    case "writer": {
      const writer = sender.writer({ wait });
      let pushed = from;
      try {
        while (pushed < count) {
          writer.push(valueOf(id, pushed));
          pushed++;
          if (pushed % valuesBetweenFlushes !== 0) continue;
          writer.flush();
          advance(pushed - index);
        }
        writer.flush();
      } catch (error) {
        pushed = firstUnsent(error, pushed);
      }
      advance(pushed - index);
      break;
    }
    case "writer without blocking": {
      const writer = sender.writer({ chunk: 3 });
      let pushed = from;
      try {
        while (pushed < count) {
          if (writer.tryPush(valueOf(id, pushed))) {
            pushed++;
            continue;
          }
          // There was no room: what was pushed before has been published.
          advance(pushed - index);
          if (!(await isReady())) break;
        }
        writer.flush();
      } catch (error) {
        pushed = firstUnsent(error, pushed);
      }
      advance(pushed - index);
      break;
    }
    case "sendBatch and ready":
      while (index < count) {
        const values = run(id, index, Math.min(count, index + batchLength));
        try {
          const now = sender.sendBatch(values);
          advance(now);
          if (now === 0 && !(await isReady())) break;
        } catch (error) {
          advance(sentOf(error, values.length));
          break;
        }
      }
      break;
    case "sendAll":
    case "sendAllSync":
      while (index < count) {
        const values = run(id, index, Math.min(count, index + 3 * batchLength));
        try {
          if (mode === "sendAll") await sender.sendAll(values);
          else sender.sendAllSync(values, options);
          advance(values.length);
        } catch (error) {
          advance(sentOf(error, values.length));
          break;
        }
      }
      break;
    case "reserve and commit":
      while (index < count) {
        try {
          const room = sender.reserve(Math.min(batchLength, count - index)) as
            | Uint32Array
            | undefined;
          if (room === undefined) {
            if (!(await isReady())) break;
            continue;
          }
          for (let offset = 0; offset < room.length; offset++) {
            room[offset] = valueOf(id, index + offset);
          }
          const { length } = room;
          sender.commit(length);
          advance(length);
        } catch (error) {
          if (!(error instanceof ChannelClosedError)) throw error;
          break;
        }
      }
      break;
  }
  return index;
}

/**
 * Receives until the channel ends, and tells `take` of every value. Most modes wait for a promise it
 * gives before they go on, with what they have claimed in their hands.
 */
export async function receiveAs(
  mode: ReceiveMode,
  receiver: NumbersReceiver,
  wait: WaitStrategy,
  take: (value: number) => void | Promise<void>,
): Promise<void> {
  const takeAll = (values: ArrayLike<number>) => {
    for (let index = 0; index < values.length; index++) void take(values[index] as number);
  };
  const takeEach = async (values: ArrayLike<number>) => {
    for (let index = 0; index < values.length; index++) {
      const pause = take(values[index] as number);
      if (pause !== undefined) await pause;
    }
  };
  const untilClosed = (error: unknown) => {
    if (!(error instanceof ChannelClosedError)) throw error;
    return undefined;
  };
  switch (mode) {
    case "receive":
      for (let value; (value = await receiver.receive().catch(untilClosed)) !== undefined;) {
        const pause = take(value);
        if (pause !== undefined) await pause;
      }
      break;
    case "receive, several pending":
      while (true) {
        const values = await Promise.all(
          Array.from({ length: 5 }, () => receiver.receive().catch(untilClosed)),
        );
        for (const value of values) if (value !== undefined) void take(value);
        if (values.includes(undefined)) break;
      }
      break;
    case "for await":
      for await (const value of receiver) {
        const pause = take(value);
        if (pause !== undefined) await pause;
      }
      break;
    case "batches":
      for await (const batch of receiver.batches({ max: 16 })) await takeEach(batch);
      break;
    case "readable and release":
      while (await receiver.ready()) {
        const values = receiver.readable() as Uint32Array | undefined;
        // Where receivers share the channel another may have been faster.
        if (values === undefined) continue;
        // In two parts, so that a window is left half read.
        const half = values.length >>> 1;
        await takeEach(values.slice(0, half));
        receiver.release(half);
        // What is left would be offered to others when the turn ends, unless it is looked at again.
        const rest = receiver.readable() as Uint32Array | undefined;
        if (rest === undefined) continue;
        await takeEach(rest.slice());
        receiver.release();
      }
      break;
    case "drain and ready":
      while (await receiver.ready()) receiver.drain((value) => void take(value));
      break;
    case "receiveBatch and ready": {
      const out = new Uint32Array(16);
      while (await receiver.ready()) takeAll(out.subarray(0, receiver.receiveBatch(out)));
      break;
    }
    case "run":
      await receiver.run(take).finished;
      break;
    case "run with batches":
      await receiver.run((batch: Uint32Array) => takeEach(batch), { batch: 16 }).finished;
      break;
    case "stream": {
      const reader = receiver.toReadableStream().getReader();
      for (let read; !(read = await reader.read()).done;) {
        const pause = take(read.value);
        if (pause !== undefined) await pause;
      }
      break;
    }
    case "receiveSync":
    case "blocking and async in turns":
      try {
        for (let count = 0;; count++) {
          const isAsync = mode !== "receiveSync" && count % 3 === 0;
          const pause = take(isAsync ? await receiver.receive() : receiver.receiveSync({ wait }));
          if (pause !== undefined) await pause;
        }
      } catch (error) {
        untilClosed(error);
      }
      break;
  }
}

/**
 * In what order a receiver gets the values of a sender: each of them; not all, where others get some;
 * or any, each once at most, where others leave behind or offer what they have claimed.
 */
export type Order = "each" | "rising" | "any";

/** Holds what one receiver gets against what each sender must have sent: 0, 1, 2, … of every one. */
export class Tally {
  /** How many of each sender's were received. */
  readonly received: Record<number, number> = {};
  total = 0;
  readonly #next: Record<number, number> = {};
  readonly #seen = new Set<number>();
  readonly #order: Order;

  constructor(order: Order = "each") {
    this.#order = order;
  }

  take(value: number): void {
    const id = idOf(value);
    const index = indexOf(value);
    const expected = this.#next[id] ?? 0;
    const isNext = this.#order === "each" ? index === expected : index >= expected;
    if (!isNext && this.#order !== "any") {
      throw new Error(`sender ${id}: expected its value ${expected}, received ${index}`);
    }
    if (this.#order === "any") {
      if (this.#seen.has(value)) throw new Error(`sender ${id}: its value ${index} came twice`);
      this.#seen.add(value);
    }
    this.#next[id] = index + 1;
    this.received[id] = (this.received[id] ?? 0) + 1;
    this.total++;
  }
}

/** How often each value was received, by all receivers in all threads together. */
export class Receipts {
  /** To be posted to other threads: `new Receipts(memory, perSender)` there. */
  readonly memory: SharedArrayBuffer;
  /** The most values of one sender. */
  readonly perSender: number;
  readonly #counts: Uint8Array<SharedArrayBuffer>;

  constructor(memory: SharedArrayBuffer, perSender: number) {
    this.memory = memory;
    this.perSender = perSender;
    this.#counts = new Uint8Array(memory);
  }

  static for(senders: number, perSender: number): Receipts {
    return new Receipts(new SharedArrayBuffer(senders * perSender), perSender);
  }

  take(value: number): void {
    const place = idOf(value) * this.perSender + indexOf(value);
    if (!(place < this.#counts.length)) throw new Error(`nobody sends ${value}`);
    Atomics.add(this.#counts, place, 1);
  }

  /** Of the first `count` values of a sender: how many were never seen, and how often one again. */
  of(id: number, count: number): { missing: number; repeated: number } {
    const counts = this.#counts.slice(id * this.perSender, id * this.perSender + count);
    return {
      missing: counts.reduce((sum, times) => sum + (times === 0 ? 1 : 0), 0),
      repeated: counts.reduce((sum, times) => sum + Math.max(0, times - 1), 0),
    };
  }

  /** How many values were seen, each counted as often as it was. */
  get total(): number {
    return this.#counts.reduce((sum, times) => sum + times, 0);
  }
}

/** What a Worker can be asked to do. */
export type Job =
  | {
    readonly kind: "send";
    readonly mode: SendMode;
    /** One sender after the other; sender `ids[n]` sends `counts[n]` values. */
    readonly tickets: readonly SenderTicket<number, Uint32Array>[];
    readonly ids: readonly number[];
    readonly counts: readonly number[];
    readonly wait: WaitStrategy;
  }
  | {
    readonly kind: "receive";
    readonly mode: ReceiveMode;
    readonly ticket: ReceiverTicket<number, Uint32Array>;
    readonly wait: WaitStrategy;
    /** Counts what has been received. */
    readonly progress: Int32Array;
    /** Given when several receivers share the senders. */
    readonly receipts?: Pick<Receipts, "memory" | "perSender">;
    readonly order?: Order;
  }
  | {
    /** One receiver after the other, each for some values: what it has claimed beyond stays behind. */
    readonly kind: "visits";
    readonly tickets: readonly ReceiverTicket<number, Uint32Array>[];
    readonly quotas: readonly number[];
    readonly wait: WaitStrategy;
    readonly receipts: Pick<Receipts, "memory" | "perSender">;
  }
  | {
    /**
     * Blocks for messages and sends as many on; or sends one and blocks until one has come back. In native
     * waits that last until they are woken.
     */
    readonly kind: "forward natively" | "round trips natively";
    readonly from: ReceiverTicket<number, Uint32Array>;
    readonly to: SenderTicket<number, Uint32Array>;
    readonly count: number;
  };

/** An hour: what is not woken hangs. */
const foreverUs = 3_600_000_000;
/** Of `millrace_wait`. */
const block = 3;

function openNatively(role: number, { right }: { readonly right: BigUint64Array }): number {
  const [anywhere, info] = [new Uint32Array(2), new BigUint64Array(4)];
  const handle = native().symbols.millrace_endpoint_open_at(right, role, anywhere, info);
  if (handle <= 0) throw new Error(`open answered ${handle}`);
  return handle;
}

function sendNatively(sender: number): void {
  const { symbols } = native();
  while (symbols.millrace_sender_reserve(sender, 1) === 0) {
    symbols.millrace_sender_wait(sender, 1, block, foreverUs);
  }
  const answer = symbols.millrace_sender_commit(sender, 1, 1);
  if (answer < 0) throw new Error(`commit answered ${answer}`);
}

function receiveNatively(receiver: number): void {
  const { symbols } = native();
  let there: number;
  while ((there = symbols.millrace_receiver_poll(receiver, 1)) === 0) {
    symbols.millrace_receiver_wait(receiver, block, foreverUs);
  }
  if (there < 0) throw new Error(`poll answered ${there}`);
  symbols.millrace_receiver_release(receiver, 1, 1);
}

/** How many of each sender's values were sent, or received. */
export type JobResult = Record<number, number>;

/** Does a job, in a Worker or in the main thread. */
export async function perform(job: Job): Promise<JobResult> {
  if (job.kind === "receive") {
    using receiver = Receiver.open(job.ticket);
    const tally = new Tally(job.order);
    const receipts = job.receipts && new Receipts(job.receipts.memory, job.receipts.perSender);
    await receiveAs(job.mode, receiver, job.wait, (value) => {
      tally.take(value);
      receipts?.take(value);
      Atomics.add(job.progress, 0, 1);
    });
    return tally.received;
  }
  if (job.kind === "visits") return await visit(job);
  if (job.kind !== "send") {
    const sender = openNatively(Role.sender, job.to);
    const receiver = openNatively(Role.receiver, job.from);
    for (let round = 0; round < job.count; round++) {
      if (job.kind === "round trips natively") sendNatively(sender);
      receiveNatively(receiver);
      if (job.kind === "forward natively") sendNatively(sender);
    }
    for (const handle of [sender, receiver]) native().symbols.millrace_endpoint_close(handle);
    return {};
  }
  const sent: JobResult = {};
  for (const [turn, ticket] of job.tickets.entries()) {
    const id = job.ids[turn] as number;
    let sender: Numbers;
    try {
      sender = Sender.open(ticket);
    } catch (error) {
      if (!(error instanceof ChannelClosedError)) throw error;
      sent[id] = 0;
      continue;
    }
    try {
      sent[id] = await sendAs(job.mode, sender, id, job.counts[turn] as number, job.wait);
    } finally {
      sender.close();
    }
  }
  return sent;
}

async function visit(job: Extract<Job, { kind: "visits" }>): Promise<JobResult> {
  const receipts = new Receipts(job.receipts.memory, job.receipts.perSender);
  const received: JobResult = {};
  try {
    for (const [turn, ticket] of job.tickets.entries()) {
      using receiver = Receiver.open(ticket);
      for (let left = job.quotas[turn] as number; left > 0; left--) {
        const value = left % 2 === 0
          ? await receiver.receive()
          : receiver.receiveSync({ wait: job.wait });
        receipts.take(value);
        received[idOf(value)] = (received[idOf(value)] ?? 0) + 1;
      }
    }
  } catch (error) {
    if (!(error instanceof ChannelClosedError)) throw error;
  }
  return received;
}
