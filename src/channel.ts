/**
 * Channels: many senders, one receiver, a ring per sender.
 *
 * @module
 */

import { Limits, Role, StructBytes } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { recordSlotBytes } from "./codec.ts";
import { Endpoint } from "./endpoint.ts";
import { ChannelClosedError } from "./errors.ts";
import { codecOf, describe, type Layout } from "./layout.ts";
import { check, native } from "./native.ts";
import { encodeReason } from "./reason.ts";
import { openReceiverOn, type Receiver } from "./receiver.ts";
import { openSenderOn, type Sender } from "./sender.ts";
import { readStatistics, type Statistics } from "./statistics.ts";
import type { ReceiverTicket, SenderTicket, Ticket } from "./ticket.ts";
import { checkPollBudget, type PollBudget, Waiter } from "./waiter.ts";
import { checkStrategy, type WaitStrategy } from "./wait_strategy.ts";

/** Options of {@linkcode mpsc}. */
export interface ChannelOptions {
  /**
   * How much the ring of one sender holds: values, or bytes for layouts of variable length. Rounded
   * up to a power of two; 1024 values or 65536 bytes unless given, 2^30 slots and 4 GiB at most.
   */
  readonly capacity?: number;
  /**
   * The most senders open at a time: 256 unless given, 4096 at most. Address space is reserved for
   * all of them, memory is used by those that are open. The place of a closed sender is free again
   * once the receiver has seen its end.
   */
  readonly maxSenders?: number;
  /** How blocking calls wait unless told otherwise; `"phased"` unless given. */
  readonly wait?: WaitStrategy;
  /** How long async waits poll before they sleep; `"adaptive"` unless given. */
  readonly pollBudget?: PollBudget;
  /** Where the counters of the rings start, for tests of their wrap; 0 unless given. */
  readonly initialSequence?: number;
}

const valuesDefault = 1024;
const bytesDefault = 65536;
const sendersDefault = 256;
const recordSlotsMin = 4;

/**
 * A channel as its creator holds it: it gives out senders, the receiver and tickets, and closes.
 *
 * @typeParam Value What is sent and received.
 * @typeParam Batch What a batch of values is received as.
 */
export class Channel<Value, Batch = Value[]> implements Disposable, AsyncDisposable {
  /**
   * A symbol, which `postMessage` refuses to clone, with this as its message: a channel cannot be
   * posted; post a ticket.
   */
  readonly confined: symbol = Symbol("a Channel belongs to its thread: post a ticket");
  readonly #endpoint: Endpoint;
  readonly #layout: Layout<Value, Batch>;
  readonly #wait: WaitStrategy;
  readonly #pollBudget: PollBudget;
  readonly #isRecords: boolean;
  readonly #drainWaiter: Waiter;
  #drainPending: { resolve: () => void }[] = [];
  /** What `closed` says after disposal. */
  #isDisposed = false;

  /** Made by the library: see {@linkcode mpsc}. */
  constructor(layout: Layout<Value, Batch>, options: ChannelOptions = {}) {
    const codec = codecOf(layout);
    this.#isRecords = codec.kind === "record";
    const slotBytes = codec.kind === "fixed" ? codec.slotBytes : recordSlotBytes;
    const {
      maxSenders = sendersDefault,
      wait = "phased",
      pollBudget = "adaptive",
      initialSequence = 0,
    } = checkObject(options);
    const capacity = slotsOf(options.capacity, this.#isRecords, slotBytes);
    checkInteger("maxSenders", maxSenders, 1, Limits.senders);
    checkInteger("initialSequence", initialSequence, 0, 2 ** 32 - 1);
    this.#layout = layout;
    this.#wait = checkStrategy(wait);
    this.#pollBudget = checkPollBudget(pollBudget);
    const handle = check(
      native().symbols.millrace_channel_create(
        new Uint32Array([
          slotBytes,
          capacity,
          maxSenders,
          this.#isRecords ? 1 : 0,
          initialSequence,
        ]),
      ),
      `create a channel of ${maxSenders} rings of ${capacity} slots of ${slotBytes} bytes`,
    );
    this.#endpoint = new Endpoint(
      { handle, mailboxAddress: 0n, slotBytes, capacity, maxSenders, ring: 0 },
      new Bells(maxSenders),
    );
    const endpoint = this.#endpoint;
    this.#drainWaiter = new Waiter(
      endpoint.bells.words,
      Bells.drain,
      {
        attempt: () => this.#checkDrained(),
        arm: () => endpoint.symbols.millrace_channel_arm_drain(endpoint.handle) === 1,
        disarm: () => {},
        orphans: () => endpoint.orphans(),
      },
      pollBudget,
    );
  }

  /** The most values (bytes, for layouts of variable length) the ring of one sender holds. */
  get capacity(): number {
    const { capacity, slotBytes } = this.#endpoint.info;
    return this.#isRecords ? capacity * slotBytes : capacity;
  }

  /** The most senders open at a time. */
  get maxSenders(): number {
    return this.#endpoint.info.maxSenders;
  }

  /** Values sent and not yet received, over all senders. */
  get size(): number {
    return this.stats().size;
  }

  /** Whether the channel is closed: by `close()`, or by the end of its last sender or its receiver. */
  get closed(): boolean {
    const { handle, symbols } = this.#endpoint;
    return this.#isDisposed || symbols.millrace_endpoint_close_state(handle) !== 0;
  }

  /**
   * Opens a sender in this thread.
   *
   * @throws {TooManyError} If `maxSenders` are open.
   * @throws {ChannelClosedError} If the channel is closed.
   */
  sender(): Sender<Value, Batch> {
    const { handle, bells } = this.#checkOpen("open a sender");
    return openSenderOn(handle, bells, this.#layout, this.#wait, this.#pollBudget);
  }

  /**
   * Opens the receiver in this thread.
   *
   * @throws {ReceiverTakenError} If the channel has, or had, a receiver.
   */
  receiver(): Receiver<Value, Batch> {
    const { handle, bells } = this.#checkOpen("open the receiver");
    return openReceiverOn(handle, bells, this.#layout, this.#wait, this.#pollBudget);
  }

  /**
   * A one-shot right to open a sender elsewhere: post it to a Worker. While it is outstanding the
   * channel does not end for want of senders. So issue the tickets of all Workers before you post the
   * first: a quick Worker may have opened, sent and closed before the next ticket is issued, and then
   * the channel has ended.
   *
   * @throws {ChannelClosedError} If the channel is closed.
   */
  senderTicket(): SenderTicket<Value, Batch> {
    return this.#issue("sender", Role.sender) as SenderTicket<Value, Batch>;
  }

  /** A one-shot right to open the receiver elsewhere: post it to a Worker. */
  receiverTicket(): ReceiverTicket<Value, Batch> {
    return this.#issue("receiver", Role.receiver) as ReceiverTicket<Value, Batch>;
  }

  #issue(kind: Ticket["millrace"], role: number): Ticket {
    const { handle, symbols, bells } = this.#checkOpen(`issue a ticket for a ${kind}`);
    const right = new BigUint64Array(StructBytes.ticket / 8);
    check(symbols.millrace_ticket_issue(handle, role, right), `issue a ticket for a ${kind}`);
    return {
      millrace: kind,
      right,
      layout: this.#layout.spec,
      bells: bells.words.buffer,
      wait: this.#wait,
      pollBudget: this.#pollBudget,
    };
  }

  /**
   * Takes an unused ticket back, as that of a Worker that died before it opened it.
   *
   * @returns Whether the ticket was an outstanding one of this channel.
   */
  revoke(ticket: SenderTicket<Value, Batch> | ReceiverTicket<Value, Batch>): boolean {
    const { handle, symbols, bells } = this.#checkOpen("revoke a ticket");
    const right = ticket?.right;
    if (!(right instanceof BigUint64Array) || right.byteLength !== StructBytes.ticket) {
      throw new TypeError(`Cannot revoke: expected a ticket, received ${describe(ticket)}`);
    }
    const answer = symbols.millrace_ticket_revoke(handle, right);
    if (answer < 0) return false;
    bells.ring(answer, 0);
    return true;
  }

  /**
   * Closes the channel: nothing more is accepted, whoever waits is woken, what was sent can still be
   * received. Idempotent.
   *
   * @param reason If given, receives reject with it once the channel is drained. An error keeps its
   *   name and message, other values travel as JSON; a kilobyte at most.
   */
  close(...reason: [reason: unknown] | []): void {
    if (this.#isDisposed) return;
    const { handle, symbols, bells } = this.#endpoint;
    const encoded = reason.length === 0 ? new Uint8Array(1) : encodeReason(reason[0]);
    const length = reason.length === 0 ? 0 : encoded.length;
    bells.ring(
      check(symbols.millrace_channel_close(handle, encoded, length), "close the channel"),
      0,
    );
  }

  /**
   * Resolves when the channel is closed and everything that was sent has been received, or the
   * receiver is gone.
   */
  drained(): Promise<void> {
    if (this.#isDisposed || readStatistics(this.#endpoint).drained) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drainPending.push({ resolve });
    this.#drainWaiter.start();
    return promise;
  }

  #checkDrained(): boolean {
    if (!this.#isDisposed && !readStatistics(this.#endpoint).drained) return false;
    for (const { resolve } of this.#drainPending.splice(0)) resolve();
    return true;
  }

  /** What the channel has counted. */
  stats(): Statistics {
    return readStatistics(this.#checkOpen("read the statistics of a channel"));
  }

  #checkOpen(action: string): Endpoint {
    if (!this.#isDisposed) return this.#endpoint;
    throw new ChannelClosedError(
      "ENDPOINT_CLOSED",
      `Cannot ${action}: the channel was disposed of`,
    );
  }

  /**
   * Closes the channel, takes unused tickets back and gives the channel up. Its memory is freed when
   * the last endpoint has closed. Idempotent.
   */
  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#drainWaiter.cancel();
    for (const { resolve } of this.#drainPending.splice(0)) resolve();
    const { handle, symbols, bells } = this.#endpoint;
    this.#endpoint.handle = 0;
    bells.ring(check(symbols.millrace_channel_dispose(handle), "dispose of the channel"), 0);
  }

  /**
   * Closes the channel, waits until it is drained (if there is a receiver, or a ticket for one), and
   * gives it up. Whoever has the receiver must still be receiving, or have closed it: otherwise this
   * waits for ever.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.close();
    const { receiver, receiverTickets } = readStatistics(this.#endpoint);
    // Without a receiver, and without a ticket for one, nobody would ever drain it.
    if (receiver !== "none" || receiverTickets !== 0) await this.drained();
    this[Symbol.dispose]();
  }
}

function checkObject(options: unknown): ChannelOptions {
  if (typeof options === "object" && options !== null) return options;
  throw new TypeError(
    `Cannot create a channel: options must be an object, received ${describe(options)}`,
  );
}

function checkInteger(name: string, value: unknown, least: number, greatest: number): void {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= greatest) {
    return;
  }
  throw new RangeError(
    `Cannot create a channel: ${name} must be an integer from ${least} to ${greatest}, ` +
      `received ${describe(value)}`,
  );
}

/** The slots of a ring: the capacity, rounded up to a power of two. */
function slotsOf(capacity: number | undefined, isRecords: boolean, slotBytes: number): number {
  const perSlot = isRecords ? recordSlotBytes : 1;
  const most = Math.min(Limits.slots, Limits.ringBytes / slotBytes) * perSlot;
  const wanted = capacity ?? (isRecords ? bytesDefault : valuesDefault);
  checkInteger("capacity", wanted, 1, 2 ** Math.floor(Math.log2(most)));
  const slots = Math.max(Math.ceil(wanted / perSlot), isRecords ? recordSlotsMin : 1);
  return 2 ** Math.ceil(Math.log2(slots));
}

/**
 * Creates a channel from many senders to one receiver, in any threads of this process.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { capacity: 1024 });
 * const receiver = channel.receiver();
 * const sender = channel.sender();
 * await sender.send(7);
 * assert((await receiver.receive()) === 7);
 * ```
 *
 * @example A Worker that sends
 * ```ts ignore
 * // main.ts
 * await using channel = mpsc(u32, { capacity: 1 << 16 });
 * new Worker(new URL("./worker.ts", import.meta.url), { type: "module" })
 *   .postMessage(channel.senderTicket());
 * for await (const value of channel.receiver()) console.log(value);
 *
 * // worker.ts
 * onmessage = ({ data }) => {
 *   using sender = Sender.open<number>(data);
 *   for (let i = 0; i < 1000; i++) sender.sendSync(i);
 * };
 * ```
 *
 * @param layout How values lie in memory: {@linkcode u32} and its kin, {@linkcode struct},
 *   {@linkcode bytes}, {@linkcode utf8}, {@linkcode json} or {@linkcode custom}.
 * @throws {TypeError} If `layout` is not a layout, or an option has the wrong type.
 * @throws {RangeError} If an option is outside its range; the message names the limit.
 * @throws {OutOfMemoryError} If there is no address space for it.
 * @throws {LibraryError} If the native library cannot be found or used.
 * @throws {UnsupportedPlatformError} On a platform without it.
 */
export function mpsc<Value, Batch>(
  layout: Layout<Value, Batch>,
  options?: ChannelOptions,
): Channel<Value, Batch> {
  return new Channel(layout, options);
}
