/**
 * What the Workers of the tests can do. Every task runs on the Worker's own thread.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import {
  currentCpu,
  currentNode,
  custom,
  type PinOptions,
  pinThread,
  type PlaceOptions,
  Receiver,
  type ReceiverTicket,
  select,
  selectSync,
  Sender,
  type SenderTicket,
  unpin,
  type WaitOptions,
  type WaitStrategy,
} from "../../mod.ts";
import { native } from "../../src/native.ts";

/** A call of a task. */
export interface Request {
  readonly id: number;
  readonly task: keyof Tasks;
  readonly parameters: readonly unknown[];
}

/** What came of it. */
export interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: {
    readonly name: string;
    readonly message: string;
    readonly code: string | undefined;
    readonly value: unknown;
  };
}

/** How a task sends. */
export type Sending =
  | "trySend"
  | "send"
  | "sendSync"
  | "sendBatch"
  | "sendAll"
  | "sendAllSync"
  | "writer";

/** How a task receives. */
export type Receiving = "tryReceive" | "receive" | "receiveSync" | "iterate" | "batches" | "run";

type AnySender = Sender<unknown, unknown>;
type AnyReceiver = Receiver<unknown, ArrayLike<unknown>>;

let sender: AnySender | undefined;
let receiver: AnyReceiver | undefined;

function open(): AnySender {
  if (sender === undefined) throw new Error("no sender is open in this Worker");
  return sender;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

async function sendBy(how: Sending, values: readonly unknown[]): Promise<void> {
  const out = open();
  switch (how) {
    case "trySend":
      for (const value of values) while (!out.trySend(value)) await nextTurn();
      return;
    case "send":
      for (const value of values) await out.send(value);
      return;
    case "sendSync":
      for (const value of values) out.sendSync(value);
      return;
    case "sendBatch":
      for (let sent = 0; sent < values.length;) {
        sent += out.sendBatch(values, sent);
        if (sent < values.length) await out.ready();
      }
      return;
    case "sendAll":
      return await out.sendAll(values);
    case "sendAllSync":
      return out.sendAllSync(values);
    case "writer": {
      const writer = out.writer();
      for (const value of values) writer.push(value);
      return writer.flush();
    }
  }
}

async function receiveBy(how: Receiving, from: AnyReceiver): Promise<unknown[]> {
  const values: unknown[] = [];
  switch (how) {
    case "tryReceive":
      for (let result = from.tryReceive(); result.state !== "closed"; result = from.tryReceive()) {
        if (result.state === "ok") values.push(result.value);
        else await nextTurn();
      }
      return values;
    case "receive":
      try {
        while (true) values.push(await from.receive());
      } catch (error) {
        if ((error as { code?: string }).code === "CHANNEL_CLOSED") return values;
        throw error;
      }
    case "receiveSync":
      try {
        while (true) values.push(from.receiveSync());
      } catch (error) {
        if ((error as { code?: string }).code === "CHANNEL_CLOSED") return values;
        throw error;
      }
    case "iterate":
      for await (const value of from) values.push(value);
      return values;
    case "batches":
      for await (const batch of from.batches()) values.push(...Array.from(batch));
      return values;
    case "run":
      await from.run((value) => {
        values.push(value);
      }).finished;
      return values;
  }
}

/** Where a thread runs. */
export interface Whereabouts {
  readonly cpu: number;
  readonly node: number;
  /** The CPUs it may run on, as the kernel lists them. */
  readonly affinity: string;
}

/** Where the calling thread runs. */
export function whereabouts(): Whereabouts {
  const status = readFileSync("/proc/thread-self/status", "utf8");
  const affinity = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "unknown";
  return { cpu: currentCpu(), node: currentNode(), affinity };
}

/** The tasks, by name. */
const tasks = {
  /** Sends a value, and closes with a reason. */
  async sendAndFail(ticket: SenderTicket<number, Uint32Array>): Promise<void> {
    const sender = Sender.open(ticket);
    await sender.send(1);
    sender.close(new RangeError("the river is dry"));
  },
  /** Opens a sender and keeps it. */
  openSender(ticket: SenderTicket<unknown, unknown>, options?: PlaceOptions): void {
    sender = Sender.open(ticket, options);
  },
  /** Opens the receiver and keeps it. */
  async connectSender(address: string): Promise<void> {
    sender = await Sender.connect(address);
  },

  async connectReceiver(address: string): Promise<void> {
    receiver = await Receiver.connect(address);
  },

  openReceiver(
    ticket: ReceiverTicket<unknown, ArrayLike<unknown>>,
    options?: PlaceOptions,
  ): void {
    receiver = Receiver.open(ticket, options);
  },
  /** Receives from the open receiver until the channel ends. */
  async receiveRest(how: Receiving): Promise<unknown[]> {
    if (receiver === undefined) throw new Error("no receiver is open in this Worker");
    return await receiveBy(how, receiver);
  },
  /** Pins this Worker's thread, or undoes it; says where it is then. */
  pin(options: PinOptions | undefined): Whereabouts {
    if (options === undefined) unpin();
    else pinThread(options);
    return whereabouts();
  },
  whereabouts,
  /** Sends through the open sender. */
  send(how: Sending, values: readonly unknown[]): Promise<void> {
    return sendBy(how, values);
  },
  /** Sends one value, blocking; says how long it took, in milliseconds. */
  sendSync(value: unknown, options?: WaitOptions): number {
    const start = performance.now();
    open().sendSync(value, options);
    return performance.now() - start;
  },
  /** Pushes into a writer and returns to the event loop without a flush. */
  pushOnly(values: readonly unknown[]): void {
    const writer = open().writer();
    for (const value of values) writer.push(value);
  },
  closeSender(): void {
    sender?.close();
    sender = undefined;
  },
  closeReceiver(): void {
    receiver?.close();
    receiver = undefined;
  },
  /** Opens a sender, sends, closes. */
  async sendAndClose(
    ticket: SenderTicket<unknown, unknown>,
    how: Sending,
    values: readonly unknown[],
  ): Promise<void> {
    sender = Sender.open(ticket);
    try {
      await sendBy(how, values);
    } finally {
      sender.close();
      sender = undefined;
    }
  },
  /** Opens the receiver and receives until the channel ends. */
  async receiveAll(
    ticket: ReceiverTicket<unknown, ArrayLike<unknown>>,
    how: Receiving,
  ): Promise<unknown[]> {
    using from = Receiver.open(ticket);
    return await receiveBy(how, from);
  },
  /** Receives one value, blocking. */
  receiveSync(options?: WaitOptions): unknown {
    if (receiver === undefined) throw new Error("no receiver is open in this Worker");
    return receiver.receiveSync(options);
  },
  /** Sends back what comes in on one channel through another, until the first ends. */
  async echo(
    from: ReceiverTicket<unknown, ArrayLike<unknown>>,
    to: SenderTicket<unknown, unknown>,
  ): Promise<number> {
    using input = Receiver.open(from);
    using output = Sender.open(to);
    let count = 0;
    for await (const value of input) {
      await output.send(value);
      count++;
    }
    return count;
  },
  /** Registers the custom layout of the tests in this Worker. */
  registerReversed(name: string): void {
    custom<string>({ name, ...reversed });
  },
  /** Calls the native library directly, with numbers. Buffers are made here, of `bytes`. */
  callNative(name: string, parameters: readonly (number | { bytes: number })[]): number {
    const functions = native().symbols as unknown as Record<string, (...all: unknown[]) => number>;
    const call = functions[name];
    if (call === undefined) throw new Error(`there is no function ${name}`);
    return call(
      ...parameters.map((given) => typeof given === "number" ? given : new Uint8Array(given.bytes)),
    );
  },
  /**
   * Opens the receiver natively and blocks in the native wait for up to `timeoutMs`; before it does,
   * `flag[0]` becomes 1. Gives the native answer.
   */
  waitNatively(
    ticket: ReceiverTicket<unknown, ArrayLike<unknown>> | SenderTicket<unknown, unknown>,
    strategy: number,
    timeoutMs: number,
    flag: SharedArrayBuffer,
  ): number {
    const { symbols } = native();
    const role = ticket.millrace === "sender" ? 0 : 1;
    const handle = symbols.millrace_endpoint_open_at(
      ticket.right,
      role,
      new Uint32Array(2),
      new BigUint64Array(4),
    );
    if (handle < 0) throw new Error(`open answered ${handle}`);
    if (role === 0) {
      const slots = symbols.millrace_sender_reserve(handle, 1);
      symbols.millrace_sender_commit(handle, slots, slots);
    }
    const words = new Int32Array(flag);
    Atomics.store(words, 0, 1);
    Atomics.notify(words, 0);
    const answer = role === 0
      ? symbols.millrace_sender_wait(handle, 1, strategy, timeoutMs * 1000)
      : symbols.millrace_receiver_wait(handle, strategy, timeoutMs * 1000);
    symbols.millrace_endpoint_close(handle);
    return answer;
  },
  /** Waits for a value on the event loop, and keeps that busy from when it waits until `hold[1]` is set. */
  async receiveWhileBusy(
    ticket: ReceiverTicket<number, Uint32Array>,
    hold: Int32Array<SharedArrayBuffer>,
  ): Promise<void> {
    using from = Receiver.open(ticket);
    const received = from.receive().catch(() => {});
    // Long enough for it to fall asleep; if it does not, it is busy all the same.
    for (let turn = 0; turn < 20; turn++) await nextTurn();
    Atomics.store(hold, 0, 1);
    Atomics.wait(hold, 1, 0);
    await received;
  },
  /** Sends a value and keeps its thread from turning until `hold[1]` is set. */
  sendAndBlock(
    ticket: SenderTicket<number, Uint32Array>,
    value: number,
    hold: Int32Array<SharedArrayBuffer>,
  ): void {
    using to = Sender.open(ticket);
    to.sendSync(value);
    Atomics.wait(hold, 1, 0);
  },
  /** Receives so many values with receive(). */
  async receiveSome(
    ticket: ReceiverTicket<number, Uint32Array>,
    count: number,
  ): Promise<number[]> {
    using from = Receiver.open(ticket);
    const values: number[] = [];
    while (values.length < count) values.push(await from.receive());
    return values;
  },
  /** Sends one value and receives one, so many times. How often none was there at the first look. */
  sendOneReceiveOne(
    tickets: {
      readonly sender: SenderTicket<number, Uint32Array>;
      readonly receiver: ReceiverTicket<number, Uint32Array>;
    },
    count: number,
  ): number {
    using to = Sender.open(tickets.sender);
    const from = Receiver.open(tickets.receiver);
    let misses = 0;
    for (let round = 0; round < count; round++) {
      to.sendSync(round);
      let isFirst = true;
      while (from.tryReceive().state !== "ok") {
        if (isFirst) misses++;
        isFirst = false;
      }
    }
    // Closed with the Worker: another may still be at it.
    return misses;
  },
  /** Receives by select() or selectSync() until each of the channels has ended: what came from each. */
  async selectAll(
    tickets: readonly ReceiverTicket<number, Uint32Array>[],
    how: "select" | "selectSync",
  ): Promise<number[][]> {
    const receivers: (Receiver<number, Uint32Array> | undefined)[] = tickets.map((ticket) =>
      Receiver.open(ticket)
    );
    const got: number[][] = receivers.map(() => []);
    while (receivers.some((receiver) => receiver !== undefined)) {
      const chosen = how === "select" ? await select(receivers) : selectSync(receivers);
      if (chosen.state === "ok") got[chosen.index]?.push(chosen.value);
      else {
        receivers[chosen.index]?.close();
        receivers[chosen.index] = undefined;
      }
    }
    return got;
  },
  /** Says what arrived. */
  describe(value: unknown): { type: string; keys: string[]; hasTrySend: boolean } {
    const isObject = typeof value === "object" && value !== null;
    return {
      type: typeof value,
      keys: isObject ? Object.keys(value) : [],
      hasTrySend: isObject && "trySend" in value,
    };
  },
  /** Sends through what was posted in place of a ticket. */
  openPosted(value: unknown): void {
    sender = Sender.open(value as SenderTicket<unknown, unknown>);
  },
  /** Blocks until a value comes, with a strategy; for the measurement of CPU time. */
  blockIdle(
    ticket: ReceiverTicket<unknown, ArrayLike<unknown>>,
    wait: WaitStrategy,
    timeout: number,
  ): unknown {
    using from = Receiver.open(ticket);
    return from.receiveSync({ wait, timeout });
  },
};

/** The names and types of the tasks. */
export type Tasks = typeof tasks;

/** A codec that turns strings around, so that nothing but itself can read it. */
export const reversed = {
  encode: (value: string): Uint8Array =>
    new TextEncoder().encode(value).map((_, index, all) => all[all.length - 1 - index] ?? 0),
  decode: (bytes: Uint8Array): string => new TextDecoder().decode(bytes.slice().reverse()),
};

/** Runs a request and replies. */
export async function serve(message: unknown, reply: (reply: Reply) => void): Promise<void> {
  const { id, task, parameters } = message as Request;
  try {
    const run = tasks[task] as (...all: readonly unknown[]) => unknown;
    const value = await run(...parameters);
    reply({ id, value });
  } catch (thrown) {
    const error = thrown as Error & { code?: string; value?: unknown };
    const { name, message, code, value } = error;
    reply({ id, error: { name, message, code, value } });
  }
}
