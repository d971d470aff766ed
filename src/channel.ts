/**
 * Channels of every kind, as their creator holds them.
 *
 * @module
 */

import { Bells as bit, HugePages, Kind, Limits, Role, Status, StructBytes } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { recordSlotBytes } from "./codec.ts";
import { checkBoolean, checkInteger, checkName, checkOptions } from "./check.ts";
import { buildOn, Endpoint } from "./endpoint.ts";
import { closeWhenForgotten } from "./forgotten.ts";
import { ChannelClosedError } from "./errors.ts";
import type { SharedTerms } from "./connect.ts";
import { describe } from "./describe.ts";
import { whileReceivable } from "./consumed.ts";
import { type BatchOf, codecOf, type Layout } from "./layout.ts";
import { check, errorOf, libraryPath, native } from "./native.ts";
import { type StatisticsOptions, type StatisticsSince, withInterval } from "./interval.ts";
import { checkPlace, encodePlace, type NumaMode, type PlaceOptions } from "./numa.ts";
import { type Placement, readPlacement } from "./placement.ts";
import { encodeReason, readReason, withCause } from "./reason.ts";
import { limitsOf, PendingPromise, PendingQueue, type WaitLimits } from "./pending.ts";
import { attachPool, Pool, type PoolLink, poolOfLayout } from "./pool.ts";
import { openReceiverOn, type Receiver } from "./receiver.ts";
import { armBell, ringForNative } from "./ringer.ts";
import { openerOf, openSenderOn, type Sender } from "./sender.ts";
import { openShare, rolesOf, type Share, type ShareOptions, type SharePlace } from "./share.ts";
import { readCounters, readStatistics, type Statistics } from "./statistics.ts";
import type { ReceiverTicket, SenderTicket, Ticket } from "./ticket.ts";
import { bindTicket, type TicketOptions, workerOf } from "./ticket_worker.ts";
import { isBigUint64Array, isUint8Array, lengthOf } from "./typed_array.ts";
import { checkPollBudget, type PollBudget, Waiter } from "./waiter.ts";
import { WeakSender } from "./weak_sender.ts";
import { checkStrategy, type WaitStrategy } from "./wait_strategy.ts";

/** Options of every kind of channel. */
export interface ChannelOptions {
  /**
   * How much the ring of one sender holds: values, or bytes for layouts of variable length. Rounded
   * up to a power of two; 1024 values or 65536 bytes unless given, one value or 64 bytes at least, 2^30
   * slots and 4 GiB at most.
   */
  readonly capacity?: number;
  /** How blocking calls wait unless told otherwise; `"phased"` unless given. */
  readonly wait?: WaitStrategy;
  /** How long async waits poll before they sleep; `"adaptive"` unless given. */
  readonly pollBudget?: PollBudget;
  /**
   * Whether the time from the sending of a message until the receiver gives it back is taken, for
   * `stats().latency`; false unless given. It costs two looks at the clock a batch, and 8 bytes of
   * memory a slot; nothing when it is off.
   */
  readonly latency?: boolean;
  /**
   * Whether the channel can be shared with other processes, by {@linkcode Channel.share}: it then lies
   * in a sealed memfd instead of memory of this process alone. False unless given.
   */
  readonly shared?: boolean;
  /**
   * Whether memory is placed on NUMA nodes, for every sender and receiver that does not say otherwise:
   * each ring on the node of its sender, what receivers write on theirs. Without it, those are placed
   * that ask for it.
   */
  readonly numa?: NumaMode;
  /**
   * The NUMA node the control block and what receivers write lie on from the start: a number, or
   * `"local"` for this thread's. A receiver opened with a `node` of its own moves them there. `numa` is
   * `"prefer"` for it unless given.
   */
  readonly node?: "local" | number;
  /**
   * Whether rings lie in transparent huge pages. `"try"`: if the system gives them; `"require"`: a
   * sender whose ring does not get them is refused, with `HugePagesError`; `"off"`: never. As the
   * system does with any memory unless given. Rings of less than 2 MiB have no use for one, and cannot
   * require them.
   */
  readonly hugePages?: "try" | "require" | "off";
  /** Where the counters of the rings start, for tests of their wrap; 0 unless given. */
  readonly initialSequence?: number;
  /**
   * Of a shared channel: what follows when the process of its last receiver dies. `"close"`, unless
   * given, closes it, with `"PEER_DIED"` for the senders; `"wait"` keeps what was sent for the next
   * receiver that is opened or connects, which can get again what the dead one had not given back.
   */
  readonly onReceiverDeath?: "close" | "wait";
}

/** Options of the kinds with many senders. */
export interface SendersOptions {
  /**
   * The most senders open at a time: 256 unless given, 4096 at most. Address space is reserved for
   * all of them, memory is used by those that are open. The place of a closed sender is free again, and
   * its memory given back, once a receiver has seen its end.
   */
  readonly maxSenders?: number;
}

/** Options of the kinds with many receivers. */
export interface ReceiversOptions {
  /** The most receivers open at a time: 16 unless given, 64 at most. */
  readonly maxReceivers?: number;
  /**
   * How many messages a receiver claims at once when it receives single values; 1 unless given. More
   * is faster, and what one receiver has claimed no other gets: a slow one keeps it waiting. Batches
   * claim as many as they ask for.
   */
  readonly claim?: number;
}

/** Options of {@linkcode Channel.withPool}. */
export interface PoolUse {
  /**
   * Messages of more bytes go through the pool, and so do those that are too long for the ring; 16384
   * unless given. That is a chosen default, no measured one: from which size a pool pays, if it does,
   * differs between machines and runtimes, and the benchmark `pool-crossover` prints it.
   */
  readonly threshold?: number;
}

/** Chosen, not measured: `npm run bench -- --only pool-crossover` prints a machine's own crossover. */
const thresholdDefault = 16384;
/** What the constructor does, for errors. */
const creation = "create a channel";
const valuesDefault = 1024;
const bytesDefault = 65536;
const sendersDefault = 256;
const receiversDefault = 16;
/** A claim fits a window; more is as good as all. */
const claimMost = 2 ** 30;
/** Half of it holds the handle of a slab, so that what goes through a pool fits every ring. */
const recordSlotsMin = 8;

/**
 * A channel as its creator holds it: it gives out senders, the receiver and tickets, and closes.
 *
 * @typeParam Value What is sent and received.
 * @typeParam Batch What a batch of values is received as.
 */
export class Channel<Value, Batch = BatchOf<Value>> implements Disposable, AsyncDisposable {
  /**
   * A symbol, which `postMessage` refuses to clone, with this as its message: a channel cannot be
   * posted; post a ticket.
   */
  readonly confined: symbol = Symbol("a Channel belongs to its thread: post a ticket");
  readonly #endpoint: Endpoint;
  readonly #layout: Layout<Value, Batch>;
  readonly #wait: WaitStrategy;
  readonly #pollBudget: PollBudget;
  readonly #claim: number;
  readonly #isRecords: boolean;
  /** What was said about nodes. */
  readonly #place: { readonly numa?: NumaMode; readonly node?: "local" | number };
  readonly #drainWaiter: Waiter;
  readonly #drainPending = new PendingQueue<PendingPromise<void>>(() => {
    if (this.#drainPending.length === 0) this.#drainWaiter.cancel();
  }, () => void this.#checkDrained());
  /** What `closed` says after disposal. */
  #isDisposed = false;
  /** The bell ringer this channel is registered with; 0 for none. */
  #ringer = 0;
  #pool: PoolLink | undefined;
  /** Whether that pool can be shared with other processes. */
  #isPoolForProcesses = true;
  /** Whether it can be shared with other processes. */
  readonly #isForProcesses: boolean;
  /** Whether an endpoint or a ticket has been given out. */
  #isShared = false;
  readonly #use: Use = { isKept: false, pool: undefined };

  /** Made by the library: see {@linkcode mpsc}, {@linkcode spsc}, {@linkcode spmc} and {@linkcode mpmc}. */
  constructor(
    kind: keyof typeof Kind,
    layout: Layout<Value, Batch>,
    options: ChannelOptions & SendersOptions & ReceiversOptions = {},
  ) {
    checkName(creation, "kind", kind, Object.keys(Kind));
    const codec = codecOf(layout);
    this.#isRecords = codec.kind === "record";
    const slotBytes = codec.kind === "fixed" ? codec.slotBytes : recordSlotBytes;
    const {
      maxSenders = hasMany(kind, "senders") ? sendersDefault : 1,
      maxReceivers = hasMany(kind, "receivers") ? receiversDefault : 1,
      claim = 1,
      wait = "phased",
      pollBudget = "adaptive",
      initialSequence = 0,
      latency = false,
      shared = false,
      numa,
      node,
      hugePages,
      onReceiverDeath = "close",
    } = checkOptions(creation, options);
    const capacity = slotsOf(options.capacity, this.#isRecords, slotBytes);
    const sendersMost = hasMany(kind, "senders") ? Limits.senders : 1;
    const receiversMost = hasMany(kind, "receivers") ? Limits.receivers : 1;
    checkInteger(creation, "maxSenders", maxSenders, 1, sendersMost);
    checkInteger(creation, "maxReceivers", maxReceivers, 1, receiversMost);
    checkInteger(creation, "claim", claim, 1, claimMost);
    checkInteger(creation, "initialSequence", initialSequence, 0, 2 ** 32 - 1);
    checkBoolean(creation, "latency", latency);
    checkBoolean(creation, "shared", shared);
    checkName(creation, "onReceiverDeath", onReceiverDeath, ["close", "wait"]);
    if (onReceiverDeath === "wait" && !shared) {
      throw new TypeError(
        'Cannot create a channel: onReceiverDeath "wait" is for channels between processes; ' +
          "give shared: true as well",
      );
    }
    checkHugePages(hugePages, capacity * slotBytes);
    const place = checkPlace("create a channel", { numa, node });
    this.#place = { ...(numa && { numa }), ...(node === undefined ? {} : { node }) };
    this.#layout = layout;
    this.#wait = checkStrategy(wait);
    this.#pollBudget = checkPollBudget(pollBudget);
    this.#claim = claim;
    const handle = check(
      native().symbols.millrace_channel_create(
        new Uint32Array([
          Kind[kind],
          slotBytes,
          capacity,
          maxSenders,
          maxReceivers,
          this.#isRecords ? 1 : 0,
          initialSequence,
          latency ? 1 : 0,
          shared ? 1 : 0,
          HugePages[hugePages ?? "system"],
          // Without a node the first receiver says where.
          ...encodePlace(node === undefined ? { numa: "off", node: "local" } : place),
        ]),
      ),
      `create a channel of ${maxSenders} rings of ${capacity} slots of ${slotBytes} bytes`,
    );
    this.#endpoint = new Endpoint(
      {
        handle,
        mailboxAddress: 0n,
        slotBytes,
        capacity,
        maxSenders,
        maxReceivers,
        index: 0,
        kind: Kind[kind],
      },
      new Bells(maxSenders),
    );
    const endpoint = this.#endpoint;
    this.#isForProcesses = shared;
    if (onReceiverDeath === "wait") endpoint.symbols.millrace_channel_await_receivers(handle);
    const slabs = poolOfLayout(layout);
    if (slabs !== undefined) buildOn(endpoint, () => this.#attachPool(slabs, 0));
    this.#drainWaiter = new Waiter(
      endpoint.bells.words,
      Bells.drain,
      {
        attempt: () => this.#checkDrained(),
        arm: () =>
          armBell(endpoint, () => endpoint.symbols.millrace_channel_arm_drain(endpoint.handle)),
        disarm: () => {},
        orphans: () => endpoint.orphans(),
      },
      pollBudget,
    );
    closeWhenForgotten(this, endpoint, "A Channel", forgetterOf(endpoint, this.#use));
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

  /** The most receivers open at a time. */
  get maxReceivers(): number {
    return this.#endpoint.info.maxReceivers;
  }

  /** Values sent and not yet received, over all senders. */
  get size(): number {
    return readCounters(this.#checkOpen("read the size of a channel")).size;
  }

  /** Whether the channel is closed: by `close()`, or by the end of its last sender or its receiver. */
  get closed(): boolean {
    const { handle, symbols } = this.#endpoint;
    return this.#isDisposed || symbols.millrace_endpoint_close_state(handle) !== 0;
  }

  /**
   * Has messages of more than `threshold` bytes, and all that are too long for the ring, go through a
   * pool, from every sender: the sender writes them into a slab and sends its handle, the receiver decodes
   * them there and frees it. So a small ring carries large messages; one may be as long as a slab. When no
   * slab is free, a message that fits the ring goes through the ring, a longer one waits for a slab.
   *
   * For layouts of variable length, once, before senders, receivers and tickets are given out.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { bytes, mpsc, pool } from "millrace";
   *
   * using slabs = pool({ slab: 1 << 20, count: 8 });
   * using channel = mpsc(bytes, { capacity: 4096 }).withPool(slabs, { threshold: 1024 });
   * const sender = channel.sender();
   * const receiver = channel.receiver();
   * await sender.send(new Uint8Array(1_000_000));
   * assert((await receiver.receive()).length === 1_000_000);
   * ```
   *
   * @returns This channel.
   * @throws {TypeError} If the layout has no variable length, `pool` is not a pool, the channel has
   *   one, or something was given out.
   * @throws {RangeError} If `threshold` is not an integer of 0 or more.
   * @throws {ChannelClosedError} If the pool or the channel was closed (`"ENDPOINT_CLOSED"`).
   */
  withPool(pool: Pool, options: PoolUse = {}): this {
    this.#checkOpen("use a pool");
    if (!(pool instanceof Pool)) {
      throw new TypeError(`Cannot use a pool: expected a Pool, received ${describe(pool)}`);
    }
    if (!this.#isRecords) {
      throw new TypeError(
        "Cannot use a pool: messages of this layout have one length; send slabs of pool.layout()",
      );
    }
    if (this.#pool !== undefined || this.#isShared) {
      throw new TypeError(
        "Cannot use a pool: it has one, or has given senders, receivers or tickets; " +
          "call withPool() once, right after the channel was created",
      );
    }
    const { threshold = thresholdDefault } = checkOptions("use a pool", options);
    this.#attachPool(pool, checkInteger("use a pool", "threshold", threshold, 0));
    return this;
  }

  #attachPool(pool: Pool, threshold: number): void {
    this.#pool = this.#use.pool = attachPool(this.#endpoint, pool, threshold);
    this.#isPoolForProcesses = pool.shared;
  }

  /**
   * Opens a sender in this thread.
   *
   * @param options The NUMA node the sender's ring is to lie on.
   * @throws {TooManyError} If `maxSenders` are open.
   * @throws {ChannelClosedError} If the channel is closed.
   * @throws {NumaError} If `numa` is `"require"` and the ring cannot lie on the node.
   * @throws {HugePagesError} If the channel requires huge pages and there are none.
   */
  sender(options?: PlaceOptions): Sender<Value, Batch> {
    const { handle, bells } = this.#checkOpen("open a sender");
    this.#isShared = true;
    return this.#explain(() =>
      openSenderOn(
        handle,
        bells,
        this.#layout,
        this.#wait,
        this.#pollBudget,
        this.#pool,
        options,
        this.#place.numa,
      )
    );
  }

  /** Has the error of a channel that is closed tell what it was closed with. */
  #explain<Result>(attempt: () => Result): Result {
    try {
      return attempt();
    } catch (error) {
      if (error instanceof ChannelClosedError) withCause(error, readReason(this.#endpoint));
      throw error;
    }
  }

  /**
   * A weak sender: it opens senders as long as the channel is open, and does not keep it open, nor in use.
   * See {@linkcode Sender.downgrade}.
   *
   * @throws {ChannelClosedError} If the channel was disposed of.
   */
  weakSender(): WeakSender<Value, Batch> {
    const { handle, bells } = this.#checkOpen("make a weak sender");
    this.#isShared = true;
    return new WeakSender(
      handle,
      bells,
      openerOf(
        bells,
        this.#layout,
        this.#wait,
        this.#pollBudget,
        this.#pool,
        this.#place.numa,
      ),
    );
  }

  /**
   * Opens the receiver in this thread; of a kind with many receivers, one more.
   *
   * @param options The NUMA node that what receivers write is to lie on, with the control block.
   *   Receivers that share a channel share these pages: the first that asks decides.
   * @throws {ReceiverTakenError} If the channel has, or had, its receiver.
   * @throws {TooManyError} If `maxReceivers` are open.
   * @throws {ChannelClosedError} If the channel was closed because its last receiver had gone.
   * @throws {NumaError} If `numa` is `"require"` and the memory cannot lie on the node.
   */
  receiver(options?: PlaceOptions): Receiver<Value, Batch> {
    const { handle, bells } = this.#checkOpen("open the receiver");
    this.#isShared = true;
    return openReceiverOn(
      handle,
      bells,
      this.#layout,
      this.#wait,
      this.#pollBudget,
      this.#claim,
      this.#pool,
      options,
      this.#place,
    );
  }

  /**
   * A one-shot right to open a sender elsewhere: post it to a Worker. While it is outstanding the
   * channel does not end for want of senders. So issue the tickets of all Workers before you post the
   * first: a quick Worker may have opened, sent and closed before the next ticket is issued, and then
   * the channel has ended. And name the Worker: should it fail before it opens the ticket, the channel
   * would wait for it for ever.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32);
   * const code = `throw new Error("no configuration")`;
   * const url = URL.createObjectURL(new Blob([code], { type: "application/javascript" }));
   * const worker = new Worker(url, { type: "module" });
   * worker.onerror = (event) => event.preventDefault();
   * worker.postMessage(channel.senderTicket({ worker }));
   * for await (const value of channel.receiver()) console.log(value); // ends with the Worker
   * assert(channel.closed);
   * ```
   *
   * @param options The Worker the ticket is for.
   * @throws {TypeError} If `worker` is not a Worker.
   * @throws {ChannelClosedError} If the channel is closed.
   */
  senderTicket(options?: TicketOptions): SenderTicket<Value, Batch> {
    return this.#issue("sender", Role.sender, options) as SenderTicket<Value, Batch>;
  }

  /**
   * A one-shot right to open the receiver, or one more, elsewhere: post it to a Worker.
   *
   * @param options The Worker the ticket is for.
   * @throws {TypeError} If `worker` is not a Worker.
   */
  receiverTicket(options?: TicketOptions): ReceiverTicket<Value, Batch> {
    return this.#issue("receiver", Role.receiver, options) as ReceiverTicket<Value, Batch>;
  }

  /**
   * A one-shot right to open a sender in native code, a thread of its own for instance: the 32 bytes
   * of a `millrace_ticket`, for `millrace_endpoint_open` of the C header. The native code must use the
   * very library this module does: see {@linkcode libraryPath}.
   *
   * No native thread ever calls JavaScript. A receiver that sleeps on its event loop is woken by the
   * bell ringer, a Worker that the first call of this method starts in this thread; it does not keep
   * the process alive, and ends with the last channel it rings for. If this thread dies before the
   * channel does, receivers notice what native threads send within half a second. In Deno, starting it
   * needs leave to read this module's files.
   *
   * @throws {ChannelClosedError} If the channel is closed.
   */
  nativeSenderTicket(): Uint8Array<ArrayBuffer> {
    return this.#issueNative("sender", Role.sender);
  }

  /**
   * The same for a receiver: what Workers send is received by native code, and senders that wait for
   * room on their event loops are woken by the bell ringer.
   *
   * @throws {TypeError} If the channel's messages go through a pool.
   */
  nativeReceiverTicket(): Uint8Array<ArrayBuffer> {
    if (this.#pool !== undefined) {
      throw new TypeError(
        "Cannot issue a ticket for a native receiver: messages that lie in a pool have none; " +
          "use a channel without a pool",
      );
    }
    return this.#issueNative("receiver", Role.receiver);
  }

  #issueNative(kind: Ticket["millrace"], role: number): Uint8Array<ArrayBuffer> {
    const { handle, bells } = this.#checkOpen(`issue a ticket for a ${kind}`);
    this.#use.isKept = true;
    this.#ringer = ringForNative(handle, bells, this.#ringer);
    return new Uint8Array(this.#issueRight(kind, role).buffer);
  }

  #issueRight(kind: Ticket["millrace"], role: number): BigUint64Array<ArrayBuffer> {
    const { handle, symbols } = this.#checkOpen(`issue a ticket for a ${kind}`);
    const right = new BigUint64Array(StructBytes.ticket / 8);
    this.#isShared = true;
    const action = `issue a ticket for a ${kind}`;
    this.#explain(() => check(symbols.millrace_ticket_issue(handle, role, right), action));
    return right;
  }

  #issue(kind: Ticket["millrace"], role: number, options: TicketOptions | undefined): Ticket {
    const worker = workerOf(`issue a ticket for a ${kind}`, options);
    const right = this.#issueRight(kind, role);
    const { bells } = this.#endpoint;
    if (worker !== undefined) {
      const pools = this.#pool === undefined ? [] : [this.#pool.bells];
      bindTicket(worker, right, [bells.words.buffer, ...pools]);
    }
    return {
      millrace: kind,
      right,
      layout: this.#layout.spec,
      bells: bells.words.buffer,
      library: libraryPath(),
      wait: this.#wait,
      pollBudget: this.#pollBudget,
      claim: this.#claim,
      ...this.#place,
      ...(this.#pool === undefined ? {} : { pool: this.#pool }),
    };
  }

  /**
   * Lets other processes in: they open senders and receivers with {@linkcode Sender.connect} and
   * {@linkcode Receiver.connect}, or `millrace_connect` in C. Until the share is closed it counts as an
   * outstanding ticket of every role it offers. It ends with this channel.
   *
   * This process is the channel's keeper, and must outlive the traffic: when it ends, the channel is
   * closed for all others.
   *
   * @example
   * ```ts
   * import { spsc, utf8 } from "millrace";
   *
   * using channel = spsc(utf8, { shared: true });
   * // Others would call: await Sender.connect("@an-example-of-share")
   * using share = channel.share("@an-example-of-share", { receivers: false, limit: 1 });
   * console.assert(!share.closed);
   * ```
   *
   * @param place An address: a path, whose socket file only this user can use, or a name that begins
   *   with `@` and is in no directory. Or one end of a pair of sockets ({@linkcode socketPair}), which
   *   then belongs to the library.
   * @throws {TypeError} If the channel, or the pool its messages go through, was not made with
   *   `shared: true`, or an option has the wrong type.
   * @throws {RangeError} If an option is outside its range.
   * @throws {ConnectError} If the address is in use, its directory is not there, or it is not permitted.
   * @throws {ChannelClosedError} If the channel is closed.
   */
  share(place: SharePlace, options: ShareOptions = {}): Share {
    const { handle, bells } = this.#checkOpen("share a channel");
    if (!this.#isForProcesses) {
      throw new TypeError(
        "Cannot share a channel: it was not made with shared: true; create it so",
      );
    }
    if (!this.#isPoolForProcesses) {
      throw new TypeError(
        "Cannot share a channel: the pool its messages go through was not made with shared: true; " +
          "create it so",
      );
    }
    const roles = rolesOf(options);
    this.#isShared = this.#use.isKept = true;
    const terms: SharedTerms = {
      layout: this.#layout.spec,
      wait: this.#wait,
      pollBudget: this.#pollBudget,
      claim: this.#claim,
      ...this.#place,
      ...(this.#pool && { threshold: this.#pool.threshold }),
    };
    return openShare({ action: "share a channel", handle, bells, roles, terms }, place, options);
  }

  /**
   * Takes an unused ticket back, as that of a Worker that died before it opened it. Tickets that were
   * issued for a Worker ({@linkcode TicketOptions}) are taken back when that ends.
   *
   * @returns Whether the ticket was an outstanding one of this channel.
   */
  revoke(
    ticket: SenderTicket<Value, Batch> | ReceiverTicket<Value, Batch> | Uint8Array,
  ): boolean {
    const { handle, symbols, bells } = this.#checkOpen("revoke a ticket");
    const right = isUint8Array(ticket) ? ticket : ticket?.right;
    const isRight = isUint8Array(right)
      ? lengthOf(right) === StructBytes.ticket
      : isBigUint64Array(right, StructBytes.ticket / 8);
    if (!isRight) {
      throw new TypeError(`Cannot revoke: expected a ticket, received ${describe(ticket)}`);
    }
    const answer = symbols.millrace_ticket_revoke(handle, right);
    if (answer < 0) return false;
    bells.ring(answer, 0);
    this.#ringPool();
    return true;
  }

  /**
   * Closes the channel: nothing more is accepted, whoever waits is woken, what was sent can still be
   * received. Idempotent, but that a reason can be added as long as there is none, after the last sender
   * has gone: `using sender` closes before a `catch` around it runs. Who had seen the end by then saw a
   * clean one; {@linkcode Sender.close} with a reason leaves no such gap.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { ChannelClosedError, mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8 });
   * const receiver = channel.receiver();
   * channel.close(new RangeError("the river is dry"));
   * const error = await receiver.receive().catch((error) => error);
   * assert(error instanceof ChannelClosedError && error.cause instanceof RangeError);
   * ```
   *
   * @param reason If given, the end is a failure: every receive and iteration that comes to it, and every
   *   send from now on, throws {@linkcode ChannelClosedError} with the reason as its `cause`. An error
   *   keeps its `name`, `message`, `code` (if that is a string) and `cause`, and its class if that is
   *   one of JavaScript's or Millrace's; other values travel as JSON. It has room for 2048 bytes; what
   *   does not fit is cut and ends with "…".
   */
  close(...reason: [reason: unknown] | []): void {
    // The reason's own code may dispose of this channel.
    const encoded = reason.length === 0 ? new Uint8Array(1) : encodeReason(reason[0]);
    const length = reason.length === 0 ? 0 : encoded.length;
    if (this.#isDisposed) return;
    const { handle, symbols, bells } = this.#endpoint;
    bells.ring(
      check(symbols.millrace_channel_close(handle, encoded, length), "close the channel"),
      0,
    );
    this.#ringPool();
  }

  #ringPool(): void {
    ringPool(this.#pool);
  }

  /**
   * Resolves when the channel is closed and everything that was sent has been received, or the
   * receiver is gone.
   *
   * @param options A signal and a timeout for the wait.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {RangeError} If the timeout is negative.
   * @throws {TimeoutError} If the time is up.
   * @throws {CorruptSegmentError} If a peer has damaged the memory of the channel.
   */
  drained(options?: WaitLimits): Promise<void> {
    try {
      const limits = limitsOf("wait until the channel is drained", options);
      if (this.#isDisposed) return Promise.resolve();
      const { closed, drained } = readCounters(this.#endpoint);
      if (drained && closed !== "corrupt") return Promise.resolve();
      const wait = new PendingPromise<void>();
      this.#drainPending.push(wait, limits);
      this.#drainWaiter.start();
      return wait.promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Lets a pending `drained()` keep the process alive, as it does unless `unref()` was called. */
  ref(): this {
    this.#drainWaiter.setRef(true);
    return this;
  }

  /** A pending `drained()` no longer keeps the process alive. */
  unref(): this {
    this.#drainWaiter.setRef(false);
    return this;
  }

  #checkDrained(): boolean {
    if (!this.#isDisposed) {
      const { closed, drained } = readCounters(this.#endpoint);
      if (closed === "corrupt") {
        const error = errorOf(Status.corrupt, "wait until the channel is drained");
        for (const wait of this.#drainPending.takeAll()) wait.reject(error);
        return true;
      }
      if (!drained) return false;
    }
    for (const wait of this.#drainPending.takeAll()) wait.resolve();
    return true;
  }

  /**
   * What the channel has counted. It costs the senders and receivers nothing, and takes longer the
   * more rings have a sender.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8 });
   * channel.sender().sendBatch([1, 2, 3]);
   * const { sent, size, bytesSent, largestBatch, rings } = channel.stats();
   * assert.deepEqual([sent, size, bytesSent, largestBatch], [3, 3, 12, 3]);
   * assert(rings[0]?.used === 3);
   * ```
   *
   * @throws {ChannelClosedError} If the channel was disposed of.
   */
  stats(): Statistics;
  /**
   * The same, and as `interval` what became of the channel since an earlier look: how much its counters
   * grew, how fast, and how long the messages took that were received meanwhile.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8, latency: true });
   * let last = channel.stats();
   * channel.sender().sendBatch([1, 2, 3]);
   * channel.receiver().receiveBatch(8);
   * const now = channel.stats({ since: last });
   * const { sent, bytesSent, receivedPerSecond, latency } = now.interval;
   * assert.deepEqual([sent, bytesSent, latency?.count], [3, 12, 3]);
   * console.log(`${receivedPerSecond} messages/s, 99 % within ${latency?.p99} µs`);
   * last = now; // the next interval begins where this one ends
   * ```
   *
   * @throws {TypeError} If `since` is not what `stats()` gave.
   * @throws {RangeError} If another channel gave it, so that it counts more than this one has now.
   */
  stats(options: StatisticsOptions): StatisticsSince;
  stats(options?: StatisticsOptions): Statistics {
    const statistics = readStatistics(this.#checkOpen("read the statistics of a channel"));
    return options === undefined ? statistics : withInterval(statistics, options);
  }

  /**
   * Where the memory of the channel lies, by the kernel's own account: of every ring that has a sender,
   * and of what receivers write.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { currentNode, mpsc, u32 } from "millrace";
   *
   * using channel = mpsc(u32, { capacity: 8 });
   * const sender = channel.sender({ node: "local" });
   * sender.trySend(1);
   * for (const { ring, wanted, nodes, refusal } of channel.placement().rings) {
   *   console.log(`ring ${ring}: wanted on node ${wanted}, is on`, nodes, refusal ?? "");
   * }
   * assert(Number.isInteger(currentNode()));
   * ```
   *
   * @throws {ChannelClosedError} If the channel was disposed of.
   */
  placement(): Placement {
    return readPlacement(this.#checkOpen("tell the placement of a channel"));
  }

  #checkOpen(action: string): Endpoint {
    if (!this.#isDisposed) return this.#endpoint;
    throw new ChannelClosedError(
      "ENDPOINT_CLOSED",
      `Cannot ${action}: the channel was disposed of; create another one`,
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
    for (const wait of this.#drainPending.takeAll()) wait.resolve();
    const { symbols, bells } = this.#endpoint;
    // After a reload it is gone.
    const answer = symbols.millrace_channel_dispose(this.#endpoint.take());
    if (answer > 0) bells.ring(answer, 0);
    this.#ringPool();
  }

  /**
   * Closes the channel, waits until it is drained, as long as that can happen, and gives it up. It can as
   * long as somebody may receive: another thread or process has a receiver, or a ticket or a share with
   * which to open one; or a receiver of this thread is in use: a `run()` is on, a receive or `ready()` is
   * pending, or an iteration, or a stream, has begun and neither ended nor been left. What nobody will
   * receive is dropped, as when the block's error has ended the loop that received.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.close();
    try {
      await whileReceivable(this.#endpoint, (signal) => this.drained({ signal }));
    } finally {
      this[Symbol.dispose]();
    }
  }
}

/** What a channel that is forgotten is needed for, and what has to do with it. */
interface Use {
  /** Its handle is what holds a share open, or what native code relies on. */
  isKept: boolean;
  /** The pool its messages go through. */
  pool: PoolLink | undefined;
}

/**
 * Gives up the handle of a channel that is no more: its endpoints and tickets stay good. That is no
 * mistake, they are all that is needed of it.
 */
function forgetterOf(endpoint: Endpoint, use: Use): () => boolean {
  return () => {
    if (use.isKept) return false;
    const { symbols, bells } = endpoint;
    const answer = symbols.millrace_channel_forget(endpoint.take());
    if (answer > 0) bells.ring(answer, 0);
    ringPool(use.pool);
    return false;
  };
}

/** A close ends the wait of senders for a slab, and can make slabs free. */
function ringPool(pool: PoolLink | undefined): void {
  if (pool !== undefined) new Bells(pool.bells).ring(bit.receiver, 0);
}

function hasMany(kind: keyof typeof Kind, what: "senders" | "receivers"): boolean {
  return kind === "mpmc" || kind === (what === "senders" ? "mpsc" : "spmc");
}

const hugePageBytes = 2 ** 21;

function checkHugePages(hugePages: unknown, ringBytes: number): void {
  if (hugePages === undefined) return;
  const mode = checkName(creation, "hugePages", hugePages, ["try", "require", "off"]);
  if (mode !== "require" || ringBytes >= hugePageBytes) return;
  throw new RangeError(
    `Cannot create a channel: expected a ring of at least ${hugePageBytes} bytes with ` +
      `hugePages: "require", received a capacity of ${ringBytes} bytes`,
  );
}

/** The slots of a ring: the capacity, rounded up to a power of two. */
function slotsOf(capacity: number | undefined, isRecords: boolean, slotBytes: number): number {
  const perSlot = isRecords ? recordSlotBytes : 1;
  const most = Math.min(Limits.slots, Limits.ringBytes / slotBytes) * perSlot;
  const wanted = capacity ?? (isRecords ? bytesDefault : valuesDefault);
  checkInteger(creation, "capacity", wanted, 1, 2 ** Math.floor(Math.log2(most)));
  const slots = Math.max(Math.ceil(wanted / perSlot), isRecords ? recordSlotsMin : 1);
  return 2 ** Math.ceil(Math.log2(slots));
}
