/**
 * The buffer pool: memory for large messages that change hands without a copy.
 *
 * @module
 */

import { Limits, Role, ShareRoles, Status, StructBytes } from "../ffi/abi.ts";
import { Bells } from "./bells.ts";
import { checkBoolean, checkInteger, checkOptions } from "./check.ts";
import { sign } from "./copies.ts";
import { type ConnectPlace, dial, type PoolConnectOptions, readDescriptor } from "./dial.ts";
import { Endpoint, openInfo } from "./endpoint.ts";
import { closeWhenForgotten } from "./forgotten.ts";
import { ChannelClosedError, ConnectError, TicketError } from "./errors.ts";
import { describe } from "./describe.ts";
import type { Layout } from "./layout.ts";
import { check, errorOf, libraryPath } from "./native.ts";
import { encodePlace } from "./numa.ts";
import { armBell } from "./ringer.ts";
import { limitsOf, PendingPromise, PendingQueue, type WaitLimits } from "./pending.ts";
import { openShare, type PoolShareOptions, type Share, type SharePlace } from "./share.ts";
import { checkSlabLength, makeSlab, Slab, type SlabHandle, SlabPort } from "./slab.ts";
import { newSlabLayout } from "./slab_layout.ts";
import { bindTicket, type TicketOptions, workerOf } from "./ticket_worker.ts";
import { Answers } from "./turn.ts";
import { copyOfWords } from "./typed_array.ts";
import { checkPollBudget, type PollBudget, Waiter } from "./waiter.ts";
import {
  checkStrategy,
  waitBlocking,
  type WaitOptions,
  type WaitStrategy,
} from "./wait_strategy.ts";

/** Options of {@linkcode pool}. */
export interface PoolOptions {
  /** Bytes of a slab: 2^30 at most. */
  readonly slab: number;
  /** How many slabs there are: 2^20 at most. Memory is used by those that have been used. */
  readonly count: number;
  /** How `allocSync()` waits unless told otherwise; `"phased"` unless given. */
  readonly wait?: WaitStrategy;
  /** How long `alloc()` polls before it sleeps; `"adaptive"` unless given. */
  readonly pollBudget?: PollBudget;
  /**
   * Whether other processes can use the pool: through channels that go through it, and by
   * {@linkcode Pool.share}. It then lies in a sealed memfd. False unless given.
   */
  readonly shared?: boolean;
}

/** Where the slabs of a pool are; counted one after the other, not at one instant. */
export interface PoolStatistics {
  /** Slabs nobody owns. */
  readonly free: number;
  /** Slabs some thread owns. */
  readonly owned: number;
  /** Slabs sent and not yet received. */
  readonly inFlight: number;
  /** Slabs out of use for good, because the program transferred their memory away. */
  readonly retired: number;
  /** How often no slab was free. */
  readonly timesEmpty: number;
}

/** A one-shot right to open a pool: post it to a Worker and give it to {@linkcode Pool.open} there. */
export interface PoolTicket {
  /** Marks the object as a pool's ticket. */
  readonly millrace: "pool";
  /** The right itself; good once, in the process that issued it. */
  readonly right: BigUint64Array;
  /** The pool's bells. */
  readonly bells: SharedArrayBuffer;
  /** The pool's wait strategy for blocking calls. */
  readonly wait: WaitStrategy;
  /** The pool's polling budget for async waits. */
  readonly pollBudget: PollBudget;
  /** Whether other processes can use the pool. */
  readonly shared: boolean;
  /** The file of the native library that issued it. */
  readonly library?: string;
}

/** What whoever opens a pool is told of it. */
type PoolTerms = Pick<PoolTicket, "wait" | "pollBudget" | "shared">;

/** What native code that shares a pool does not say. */
const termsDefault: PoolTerms = { wait: "phased", pollBudget: "adaptive", shared: true };

function checkTerms({ wait, pollBudget, shared }: Partial<PoolTerms>): PoolTerms {
  return {
    wait: checkStrategy(wait),
    pollBudget: checkPollBudget(pollBudget),
    shared: checkBoolean("open a pool", "shared", shared),
  };
}

/** What a channel and its tickets carry of the pool their messages go through. */
export interface PoolLink {
  /** The pool's bells. */
  readonly bells: SharedArrayBuffer;
  /** Messages of more bytes go through the pool. */
  readonly threshold: number;
  /** The channel is another process's, which says that it has a pool. */
  readonly isConnected?: boolean;
}

/** A pool is told from a channel by its geometry; its bells are those of one sender. */
const bellSenders = 1;

class PendingAlloc extends PendingPromise<Slab> {
  readonly bytes: number;

  constructor(bytes: number) {
    super();
    this.bytes = bytes;
  }
}

const made = Symbol("made");
const poolsOfLayouts = new WeakMap<object, Pool>();

/** The pool whose slabs a layout is for. */
export function poolOfLayout(layout: object): Pool | undefined {
  return poolsOfLayouts.get(layout);
}

/** The library's own ways to a pool's endpoint, and to whether this process made it. */
export const portOfPool = Symbol("portOfPool");
export const checkOwnPool = Symbol("checkOwnPool");
const noteAttached = Symbol("noteAttached");

/**
 * A pool of slabs, as one thread holds it. It belongs to the thread that opened it: to allocate in a
 * Worker, post it a ticket ({@linkcode Pool.ticket}) and open that there. Receiving slabs needs no
 * pool, only the channel's receiver.
 *
 * Closing it returns every slab it has allocated and not sent; so does the death of its thread.
 */
export class Pool implements Disposable {
  /** A symbol, which `postMessage` refuses to clone, with this as its message: post a ticket. */
  readonly confined: symbol = Symbol("a Pool belongs to its thread: post a ticket");
  readonly #port: SlabPort;
  readonly #wait: WaitStrategy;
  /** Of slabs that were free at once. */
  readonly #answers = new Answers();
  readonly #pollBudget: PollBudget;
  readonly #waiter: Waiter;
  readonly #pending = new PendingQueue<PendingAlloc>(() => {
    if (this.#pending.length === 0) this.#waiter.cancel();
  }, () => void this.#servePending());
  readonly #use: Use = { isHandedOut: false, isAttached: false };
  #layout: Layout<Slab> | undefined;
  /** Whether another process made it. */
  readonly #isConnected: boolean;
  /** Whether other processes can use it. */
  readonly shared: boolean;

  /** Made by the library: see {@linkcode pool}, {@linkcode Pool.open} and {@linkcode Pool.connect}. */
  private constructor(
    endpoint: Endpoint,
    { wait, pollBudget, shared }: PoolTerms,
    isConnected: boolean,
  ) {
    this.shared = shared;
    this.#isConnected = isConnected;
    this.#port = new SlabPort(endpoint);
    this.#wait = wait;
    this.#pollBudget = pollBudget;
    this.#waiter = new Waiter(
      endpoint.bells.words,
      Bells.ofReceiver(0),
      {
        attempt: () => this.#servePending(),
        arm: () => armBell(endpoint, () => endpoint.symbols.millrace_pool_arm(endpoint.handle)),
        // The arm is shared by all who wait: a wake-up in vain is its whole cost.
        disarm: () => {},
        orphans: () => endpoint.orphans(),
      },
      pollBudget,
    );
    closeWhenForgotten(this, endpoint, "A Pool", closerOf(this.#port, this.#use));
  }

  /** @ignore Made by the library. */
  static [made](endpoint: Endpoint, terms: PoolTerms): Pool {
    return new Pool(endpoint, terms, false);
  }

  /** @ignore The library's own. */
  get [portOfPool](): SlabPort {
    this.#checkOpen("use a pool");
    return this.#port;
  }

  /**
   * Opens the pool a ticket is for, in this thread. A ticket is good once.
   *
   * @throws {TypeError} If `ticket` is not a pool's ticket.
   * @throws {TicketError} If it was used, revoked or forged, is of another process, or its pool is
   *   gone.
   */
  static open(ticket: PoolTicket): Pool {
    const { millrace, right: words, bells, library, ...said } = (ticket ?? {}) as Partial<
      PoolTicket
    >;
    if (millrace !== "pool") {
      throw new TypeError(
        `Cannot open a pool: expected a pool's ticket, received ${describe(ticket)}`,
      );
    }
    const right = copyOfWords(words, StructBytes.ticket / 8);
    const isWhole = right !== undefined && Bells.fits(bells, bellSenders) &&
      (library === undefined || typeof library === "string");
    if (!isWhole) {
      throw new TicketError(
        "TICKET_FORGED",
        "Cannot open a pool: this ticket was not issued by Millrace; post it as it was issued",
      );
    }
    let terms: PoolTerms;
    try {
      terms = checkTerms(said);
    } catch (cause) {
      throw new TicketError(
        "TICKET_FORGED",
        "Cannot open a pool: the ticket was altered; post it as it was issued",
        {
          cause,
        },
      );
    }
    const endpoint = openPool(
      "open a pool",
      bells,
      (symbols, info) => symbols.millrace_pool_open(right, info),
      library,
    );
    return new Pool(endpoint, terms, false);
  }

  /**
   * Lets other processes use the pool on its own: they open it with {@linkcode Pool.connect}, to send
   * slabs. Whoever only receives them needs no more than the channel. It ends with this pool's close.
   *
   * This process is the pool's keeper: when it ends, nobody gets a slab any more.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { mpsc, Pool, pool, Sender } from "millrace";
   *
   * using frames = pool({ slab: 1 << 16, count: 4, shared: true });
   * using channel = mpsc(frames.layout(), { shared: true });
   * using frameShare = frames.share("@an-example-of-frames");
   * using share = channel.share("@an-example-of-frame-handles", { receivers: false });
   *
   * // Another process:
   * using theirs = await Pool.connect("@an-example-of-frames");
   * using sender = await Sender.connect("@an-example-of-frame-handles", { layout: theirs.layout() });
   * const frame = await theirs.alloc(3);
   * frame.bytes.set([1, 2, 3]);
   * await sender.send(frame);
   *
   * using received = await channel.receiver().receive();
   * assert.deepEqual([...received.bytes], [1, 2, 3]);
   * assert(frameShare.connections === 1 && share.connections === 1);
   * ```
   *
   * @param place As {@linkcode Channel.share}.
   * @throws {TypeError} If the pool was not made with `shared: true`, or by another process, or an option
   *   has the wrong type.
   * @throws {RangeError} If an option is outside its range.
   * @throws {ConnectError} If the address is in use, its directory is not there, or it is not permitted.
   * @throws {ChannelClosedError} If this pool was closed (`"ENDPOINT_CLOSED"`).
   */
  share(place: SharePlace, options: PoolShareOptions = {}): Share {
    const action = "share a pool";
    this.#checkOpen(action);
    if (!this.shared) {
      throw new TypeError(`Cannot ${action}: it was not made with shared: true; create it so`);
    }
    this[checkOwnPool](action);
    const { endpoint } = this.#port;
    this.#use.isHandedOut = true;
    return openShare(
      {
        action,
        handle: endpoint.handle,
        bells: endpoint.bells,
        roles: ShareRoles.pools,
        terms: this.#terms,
      },
      place,
      options,
    );
  }

  /**
   * Opens a pool that another process shares, by {@linkcode Pool.share}. A Worker that needs it connects
   * for itself. When the process that made the pool dies, nothing can be allocated any more
   * (`"PEER_DIED"`); slabs this thread owns stay readable.
   *
   * @param place The address it is shared at, or one end of a pair of sockets.
   * @throws {ConnectError} As {@linkcode Sender.connect}.
   */
  static async connect(place: ConnectPlace, options: PoolConnectOptions = {}): Promise<Pool> {
    return await dial("pool", place, options, (dialed) => {
      const terms = readDescriptor(dialed, (said) => checkTerms(said as Partial<PoolTerms>));
      const anywhere = encodePlace({ node: "local", numa: "off" });
      const endpoint = openPool(
        dialed.action,
        bellSenders,
        (symbols, info) => symbols.millrace_connect_finish_at(dialed.handle, anywhere, info),
      );
      return new Pool(endpoint, { ...(terms ?? termsDefault), shared: true }, true);
    });
  }

  get #terms(): PoolTerms {
    return { wait: this.#wait, pollBudget: this.#pollBudget, shared: this.shared };
  }

  /** @ignore The library's own. A channel goes through it. */
  [noteAttached](): void {
    this.#use.isAttached = true;
  }

  /** @ignore The library's own. Throws if another process made it. */
  [checkOwnPool](action: string): void {
    if (!this.#isConnected) return;
    throw new TypeError(
      `Cannot ${action}: another process made this pool; connect to it where it is needed`,
    );
  }

  /** Bytes of a slab. */
  get slabBytes(): number {
    return this.#port.slabBytes;
  }

  /** How many slabs the pool has. */
  get count(): number {
    return this.#port.count;
  }

  /** Whether this pool was closed, in this thread. */
  get closed(): boolean {
    return this.#port.endpoint.handle === 0;
  }

  /** Where the slabs are. */
  stats(): PoolStatistics {
    this.#checkOpen("read the statistics of a pool");
    const words = new BigUint64Array(StructBytes.poolStatistics / 8);
    const { endpoint } = this.#port;
    check(
      endpoint.symbols.millrace_pool_statistics(endpoint.handle, words),
      "read the statistics of a pool",
    );
    const [free = 0, owned = 0, inFlight = 0, retired = 0, timesEmpty = 0] = Array.from(
      words,
      Number,
    );
    return { free, owned, inFlight, retired, timesEmpty };
  }

  /**
   * A one-shot right to open the pool elsewhere: post it to a Worker. While anybody has the pool open
   * it stays good; when nobody has any more, unused tickets are taken back.
   *
   * @param options The Worker the ticket is for: it is taken back if that ends before it has used it.
   * @throws {TypeError} If `worker` is not a Worker.
   */
  ticket(options?: TicketOptions): PoolTicket {
    const worker = workerOf("issue a ticket for a pool", options);
    this.#checkOpen("issue a ticket for a pool");
    this[checkOwnPool]("issue a ticket for a pool");
    const { endpoint } = this.#port;
    this.#use.isHandedOut = true;
    const right = new BigUint64Array(StructBytes.ticket / 8);
    check(
      endpoint.symbols.millrace_ticket_issue(endpoint.handle, Role.pool, right),
      "issue a ticket for a pool",
    );
    if (worker !== undefined) bindTicket(worker, right, [endpoint.bells.words.buffer]);
    return {
      millrace: "pool",
      right,
      bells: endpoint.bells.words.buffer,
      library: libraryPath(),
      ...this.#terms,
    };
  }

  /**
   * Takes an unused ticket back, as that of a Worker that died before it opened it.
   *
   * @returns Whether the ticket was an outstanding one of this pool.
   */
  revoke(ticket: PoolTicket): boolean {
    this.#checkOpen("revoke a ticket");
    const right = copyOfWords(ticket?.right, StructBytes.ticket / 8);
    if (right === undefined) {
      throw new TypeError(`Cannot revoke: expected a ticket, received ${describe(ticket)}`);
    }
    const { endpoint } = this.#port;
    return endpoint.symbols.millrace_ticket_revoke(endpoint.handle, right) >= 0;
  }

  /**
   * The layout of this pool's slabs: `mpsc(pool.layout())` is a channel that they are sent through,
   * from any thread that has the pool open, to any receiver. Where receivers share the channel, a message
   * whose receiver dies comes to another as a slab that is closed and empty: see {@linkcode Slab}.
   */
  layout(): Layout<Slab> {
    this.#checkOpen("make a layout");
    if (this.#layout === undefined) {
      this.#layout = newSlabLayout();
      poolsOfLayouts.set(this.#layout, this);
    }
    return this.#layout;
  }

  /**
   * Takes a free slab, if there is one now.
   *
   * @param bytes How long the message is; the whole slab unless given.
   * @returns The slab, or undefined when none is free.
   * @throws {RangeError} If a slab has not so many bytes.
   * @throws {ChannelClosedError} If this pool was closed (`"ENDPOINT_CLOSED"`), or the process that made
   *   it is gone (`"PEER_DIED"`).
   */
  tryAlloc(bytes: number = this.slabBytes): Slab | undefined {
    this.#checkOpen("allocate a slab");
    checkSlabLength("allocate a slab", bytes, this.slabBytes);
    // Those who wait come first.
    if (this.#pending.length !== 0 && !this.#servePending()) return undefined;
    return this.#take(bytes);
  }

  #take(bytes: number): Slab | undefined {
    const port = this.#port;
    const index = port.alloc();
    if (index === Status.poolEmpty) return undefined;
    if (index === Status.channelClosed) {
      throw new ChannelClosedError(
        "PEER_DIED",
        "Cannot allocate a slab: the process that made the pool is gone; connect to another one",
      );
    }
    if (index < 0) throw errorOf(index, "allocate a slab");
    return Slab[makeSlab](port, index, port.generation, bytes);
  }

  /**
   * Takes a free slab, waiting for one if need be.
   *
   * @param bytes How long the message is; the whole slab unless given.
   * @param options A signal and a timeout for the wait. A signal that is already aborted rejects even if
   *   a slab is free.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {RangeError} If a slab has not so many bytes, or an option is outside its range.
   * @throws {TimeoutError} If the time is up; no slab was taken.
   * @throws {ChannelClosedError} If this pool is or becomes closed (`"ENDPOINT_CLOSED"`), or the process
   *   that made it is or goes away (`"PEER_DIED"`).
   */
  alloc(bytes: number = this.slabBytes, options?: WaitLimits): Promise<Slab> {
    try {
      const limits = limitsOf("take a slab", options);
      const slab = this.tryAlloc(bytes);
      if (slab !== undefined) return this.#answers.answer().then(() => slab);
      const wait = new PendingAlloc(bytes);
      this.#pending.push(wait, limits);
      this.#waiter.start();
      return wait.promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Serves those who wait, as far as there are slabs. True: nobody waits any more. */
  #servePending(): boolean {
    for (let wait = this.#pending.first; wait !== undefined; wait = this.#pending.first) {
      try {
        const slab = this.#take(wait.bytes);
        if (slab === undefined) return false;
        this.#pending.remove(wait);
        wait.resolve(slab);
      } catch (error) {
        this.#pending.remove(wait);
        wait.reject(error);
      }
    }
    this.#waiter.cancel();
    return true;
  }

  /**
   * Takes a free slab, blocking this thread until there is one. For Workers: it stops the event loop.
   *
   * @throws {TimeoutError} If the time is up.
   * @throws {DeadlockError} If no slab is free, and nobody but this very thread could free one.
   * @throws {RangeError} If a slab has not so many bytes.
   * @throws {ChannelClosedError} If this pool was closed (`"ENDPOINT_CLOSED"`).
   */
  allocSync(bytes: number = this.slabBytes, options?: WaitOptions): Slab {
    let slab: Slab | undefined;
    const { endpoint } = this.#port;
    waitBlocking(
      options,
      this.#wait,
      "allocate a slab",
      () => (slab = this.tryAlloc(bytes)) !== undefined,
      (strategy, timeoutUs) => {
        endpoint.symbols.millrace_pool_wait(endpoint.handle, strategy, timeoutUs);
      },
      () => {
        if (!endpoint.isAlone()) return undefined;
        return "none is free, and nobody but this very thread, which would block, can free one; " +
          "use await alloc(), or free slabs before";
      },
    );
    return slab as unknown as Slab;
  }

  /**
   * Gives a slab back by its handle. It must be one this pool owns, in this thread, and the handle
   * its present one.
   *
   * @throws {SlabError} If it was freed, sent or received since (`"SLAB_STALE"`), is of another pool
   *   (`"SLAB_FOREIGN"`), or another thread's or on its way (`"SLAB_NOT_OWNED"`).
   */
  free(handle: SlabHandle): void {
    this.#checkOpen("free a slab");
    const { pool, index, generation } = (handle ?? {}) as Partial<SlabHandle>;
    if (!isWord(index) || !isWord(generation) || typeof pool !== "number") {
      throw new TypeError(
        `Cannot free a slab: expected the handle of a slab, received ${describe(handle)}`,
      );
    }
    const port = this.#port;
    if (pool !== port.id) throw errorOf(Status.slabForeign, "free a slab");
    const slab = port.live.get(index);
    if (slab?.handle.generation === generation && !slab.closed) return slab.free();
    const answer = port.free(index, generation);
    if (answer < 0) throw errorOf(answer, "free a slab");
  }

  /** Lets a pending `alloc()` keep the process alive, as it does unless `unref()` was called. */
  ref(): this {
    this.#waiter.setRef(true);
    return this;
  }

  /** A pending `alloc()` no longer keeps the process alive. */
  unref(): this {
    this.#waiter.setRef(false);
    return this;
  }

  #checkOpen(action: string): void {
    if (!this.closed) return;
    throw new ChannelClosedError(
      "ENDPOINT_CLOSED",
      `Cannot ${action}: this pool has been closed; open or create another one`,
    );
  }

  /**
   * Closes the pool in this thread: its slabs return, their views have length 0, `alloc()` that
   * waits rejects. Other threads keep theirs, and what was sent can be received. The memory is freed
   * when nobody has the pool, or a channel it goes through, any more. Idempotent.
   */
  close(): void {
    if (this.closed) return;
    this.#waiter.cancel();
    this.#port.close();
    for (const wait of this.#pending.takeAll()) {
      wait.reject(
        new ChannelClosedError(
          "ENDPOINT_CLOSED",
          "Cannot allocate a slab: this pool has been closed; open or create another one",
        ),
      );
    }
  }

  /** The same as {@linkcode Pool.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}

sign(Pool.prototype);

/** What a pool that is forgotten is needed for. */
interface Use {
  /** Others may come by tickets or a share, which end with the last that has the pool open. */
  isHandedOut: boolean;
  /** A channel goes through it, which keeps its memory. */
  isAttached: boolean;
}

/** Closes a pool that is no more, with its last slab. */
function closerOf(port: SlabPort, use: Use): () => boolean {
  return () => {
    if (use.isHandedOut) return false;
    port.release();
    return !use.isAttached;
  };
}

function isWord(value: unknown): value is number {
  return typeof value === "number" && (value >>> 0) === value;
}

function openPool(
  action: string,
  bells: SharedArrayBuffer | number,
  call: Parameters<typeof openInfo>[2],
  issuer?: string,
): Endpoint {
  const shared = new Bells(bells);
  return new Endpoint(openInfo(action, shared, call, issuer), shared);
}

/** Opens this thread's port of the pool that an endpoint's channel has. */
export function openAttachedPort(endpoint: Endpoint, link: PoolLink): SlabPort {
  return new SlabPort(
    openPool("open the pool of a channel", link.bells, (symbols, info) => {
      const answer = symbols.millrace_pool_open_attached(endpoint.handle, info);
      if (answer !== Status.invalidArgument) return answer;
      if (link.isConnected) {
        throw new ConnectError(
          "NOT_UNDERSTOOD",
          "Cannot open the pool of a channel: the other side has sent none; look at who listens there",
        );
      }
      throw new TicketError(
        "TICKET_FORGED",
        "Cannot open the pool of a channel: the ticket was altered; post it as it was issued",
      );
    }),
  );
}

/** A copy of a ticket's part about a pool; undefined if it is not whole. */
export function poolLinkOf(link: unknown): PoolLink | undefined {
  const { bells, threshold } = (link ?? {}) as Partial<PoolLink>;
  const isWhole = Bells.fits(bells, bellSenders) && typeof threshold === "number" && threshold >= 0;
  return isWhole ? { bells, threshold } : undefined;
}

/** The pool of a channel that another process shares: nobody else here has its bells. */
export function connectedPool(threshold: number): PoolLink {
  return { bells: new Bells(bellSenders).words.buffer, threshold, isConnected: true };
}

/** Has the messages of a channel go through a pool; returns what its endpoints and tickets carry. */
export function attachPool(channel: Endpoint, pool: Pool, threshold: number): PoolLink {
  const { endpoint } = pool[portOfPool];
  pool[checkOwnPool]("let a channel use a pool");
  check(
    channel.symbols.millrace_channel_attach_pool(channel.handle, endpoint.handle),
    "let a channel use a pool",
  );
  pool[noteAttached]();
  return { bells: endpoint.bells.words.buffer, threshold };
}

/**
 * Creates a pool of `count` slabs of `slab` bytes each, for messages too large to be copied through a
 * ring. See {@linkcode Slab} for their use, and {@linkcode Channel.withPool} for channels that use a
 * pool by themselves.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pool } from "millrace";
 *
 * using frames = pool({ slab: 1 << 20, count: 4 });
 * {
 *   using slab = await frames.alloc();
 *   slab.bytes.fill(7);
 *   assert(frames.stats().free === 3);
 * } // freed
 * assert(frames.stats().free === 4);
 * ```
 *
 * @throws {TypeError} If the options are not an object.
 * @throws {RangeError} If `slab` or `count` is outside its range.
 * @throws {OutOfMemoryError} If there is no address space for it.
 * @throws {ConnectError} With `shared: true`, if the system refuses memory for several processes.
 * @throws {LibraryError} If the native library cannot be found or used.
 * @throws {UnsupportedPlatformError} On a platform without it.
 */
export function pool(options: PoolOptions): Pool {
  const action = "create a pool";
  const { slab, count, wait = "phased", pollBudget = "adaptive", shared = false } = checkOptions(
    action,
    options,
  );
  checkInteger(action, "slab", slab, 1, Limits.slabBytes);
  checkInteger(action, "count", count, 1, Limits.slabs);
  checkStrategy(wait);
  checkPollBudget(pollBudget);
  checkBoolean(action, "shared", shared);
  const endpoint = openPool(
    `create a pool of ${count} slabs of ${slab} bytes`,
    bellSenders,
    (symbols, info) => symbols.millrace_pool_create(slab, count, shared ? 1 : 0, info),
  );
  return Pool[made](endpoint, { wait, pollBudget, shared });
}
