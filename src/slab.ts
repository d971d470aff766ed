/**
 * Slabs: memory of a pool, owned by one thread at a time.
 *
 * @module
 */

import { Bells as bit, Status, StructBytes } from "../ffi/abi.ts";
import { sign } from "./copies.ts";
import { bindRecords } from "./record_view.ts";
import type { RecordView } from "./codec.ts";
import { checkInteger } from "./check.ts";
import { type Endpoint, transferred } from "./endpoint.ts";
import { errorOf, native } from "./native.ts";

/**
 * Names a slab at one step of its life, as plain data: freeing, sending and receiving it make a new
 * handle and the old one useless.
 */
export interface SlabHandle {
  /** Which pool of this process. */
  readonly pool: number;
  /** Which slab of it. */
  readonly index: number;
  /** Counts the steps. */
  readonly generation: number;
}

/** This thread's endpoint of a pool; what stands on it holds it open. */
export class SlabPort {
  readonly endpoint: Endpoint;
  /** Which pool of this process it is of. */
  readonly id: number;
  /** The slabs of this endpoint whose views the program has, by their index. */
  readonly live: Map<number, Slab> = new Map();
  readonly #place = new BigUint64Array(StructBytes.slabPlace / 8);
  readonly #views: RecordView[] = [];
  readonly #memories: (ArrayBuffer | undefined)[] = [];
  #users = 1;

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint;
    const id = new BigUint64Array(1);
    endpoint.symbols.millrace_pool_id(endpoint.handle, id);
    this.id = Number(id[0]);
  }

  /** Bytes of a slab. */
  get slabBytes(): number {
    return this.endpoint.info.slotBytes;
  }

  /** How many slabs the pool has. */
  get count(): number {
    return this.endpoint.info.capacity;
  }

  /** Takes a free slab: its index, with the generation in the mailbox. Negative: a status. */
  alloc(): number {
    return this.endpoint.symbols.millrace_pool_alloc(this.endpoint.handle);
  }

  /** Whether a slab is free now. */
  hasFree(): boolean {
    return this.endpoint.symbols.millrace_pool_wait(this.endpoint.handle, 0, 0) === 1;
  }

  /** The generation of the slab just allocated. */
  get generation(): number {
    return this.endpoint.mailbox[1] as number;
  }

  /** Gives a slab back. Returns a negative status if it is not this endpoint's. */
  free(index: number, generation: number): number {
    const { endpoint } = this;
    return this.#rung(endpoint.symbols.millrace_pool_free(endpoint.handle, index, generation));
  }

  /** Gives back a slab that is in flight. */
  drop(index: number, generation: number): number {
    if (this.#views[index]?.memory.byteLength === 0) return this.#retireInFlight(index, generation);
    const { endpoint } = this;
    return this.#rung(endpoint.symbols.millrace_pool_drop(endpoint.handle, index, generation));
  }

  /** The program has transferred its memory away: nobody else must get it, ever. */
  #retireInFlight(index: number, generation: number): number {
    const { symbols, handle } = this.endpoint;
    const answer = symbols.millrace_pool_claim(handle, index, generation);
    return answer < 0 ? answer : this.retire(index, nextGeneration(generation));
  }

  /** Takes a slab out of use for good: somebody has its memory in his hands. */
  retire(index: number, generation: number): number {
    const { symbols, handle } = this.endpoint;
    symbols.millrace_endpoint_quarantine(handle);
    return symbols.millrace_pool_retire(handle, index, generation);
  }

  #rung(answer: number): number {
    if (answer > 0) this.endpoint.bells.ring(answer, 0);
    return answer;
  }

  /**
   * The first `bytes` of a slab in a buffer that nobody has, to be given to the program. No more than
   * it needs: runtimes collect garbage by the bytes that are mapped.
   */
  lend(index: number, bytes: number): ArrayBuffer {
    // Never empty: an empty buffer is one that was taken away.
    const wanted = Math.max(1, bytes);
    const known = this.#memories[index];
    this.#memories[index] = undefined;
    if (known?.byteLength === wanted) return known;
    this.#locate(index);
    return native().mapMemory(this.#place[0] as bigint, wanted);
  }

  /**
   * Makes every view of the buffer empty. Its memory moves to a new one without a copy, for the next
   * who gets the slab: mapping it again would cost more. False: the program has transferred it.
   */
  takeBack(index: number, memory: ArrayBuffer): boolean {
    if (memory.byteLength === 0) return false;
    const moved = memory.transfer();
    if (memory.byteLength !== 0) return false;
    this.#memories[index] = moved;
    return true;
  }

  #locate(index: number): void {
    const { endpoint } = this;
    const answer = endpoint.symbols.millrace_pool_slab(endpoint.handle, index, this.#place);
    if (answer < 0) throw errorOf(answer, "map a slab");
  }

  /**
   * A slab as a codec sees it, kept while this endpoint is open.
   *
   * @throws {MillraceError} If the program has transferred its memory away.
   */
  view(index: number): RecordView {
    const known = this.#views[index];
    if (known !== undefined) {
      if (known.memory.byteLength === 0) throw transferred();
      return known;
    }
    this.#locate(index);
    // A codec sees whole words; slabs are farther apart.
    const { endpoint } = this;
    const bytes = (Number(this.#place[1]) + 3) & ~3;
    return this.#views[index] = bindRecords(
      endpoint.mapKept(this.#place[0] as bigint, bytes),
    );
  }

  /** One more stands on this endpoint. */
  retain(): void {
    this.#users++;
  }

  /** One fewer. With the last one, and the last slab, it closes. */
  release(): void {
    this.#users--;
    // What used it has closed, and perhaps a channel with it: slabs can be free now, and a sender that
    // waits for one has to look.
    this.endpoint.bells.ring(bit.receiver, 0);
    this.closeIfUnused();
  }

  /** Closes when nobody needs it. */
  closeIfUnused(): void {
    if (this.#users === 0 && this.live.size === 0) this.close();
  }

  /** Returns every slab to the pool; their views have length 0 afterwards. */
  close(): void {
    if (this.endpoint.handle === 0) return;
    for (const slab of [...this.live.values()]) slab[abandonSlab]();
    this.live.clear();
    this.endpoint.close();
  }
}

/** The library's own ways into a {@linkcode Slab}. */
export const makeSlab = Symbol("makeSlab");
export const abandonSlab = Symbol("abandonSlab");
export const checkSendable = Symbol("checkSendable");
export const stageSlab = Symbol("stageSlab");
export const isLostSlab = Symbol("isLostSlab");
export const publishSlab = Symbol("publishSlab");
export const takeBackSlab = Symbol("takeBackSlab");

type State = "owned" | "staged" | "gone";

/**
 * A piece of a pool's memory that this thread owns: fill its {@linkcode Slab.bytes}, then send it or
 * free it. A slab that was received is read, and then freed (or sent on).
 *
 * `using` frees it at the end of the block unless it was sent. Slabs of a Worker that dies return to
 * their pool. So where receivers share a channel of `pool.layout()` (`spmc`, `mpmc`) and one dies with a
 * slab it has received, what is then offered to another is {@linkcode Slab.closed}, and empty: the message
 * is gone. A channel that uses the pool by itself ({@linkcode Channel.withPool}) does not have this: there
 * the other receiver gets the message whole.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, pool } from "millrace";
 *
 * using frames = pool({ slab: 4096, count: 8 });
 * using channel = mpsc(frames.layout(), { capacity: 8 });
 * const sender = channel.sender();
 * const receiver = channel.receiver();
 *
 * const slab = await frames.alloc(3);
 * slab.bytes.set([1, 2, 3]);
 * await sender.send(slab); // no copy: slab.bytes has length 0 now
 * using received = await receiver.receive();
 * assert(slab.closed && received.bytes[2] === 3);
 * ```
 */
export class Slab implements Disposable {
  /** A symbol, which `postMessage` refuses to clone: a slab goes through a channel. */
  readonly confined: symbol = Symbol("a Slab belongs to its thread: send it through a channel");
  readonly #port: SlabPort;
  readonly #index: number;
  #generation: number;
  #memory: ArrayBuffer;
  #bytes: Uint8Array;
  #state: State;
  /** The program has transferred the memory away. */
  #isLost = false;

  /** Made by the library: see {@linkcode Pool.alloc}. */
  private constructor(port: SlabPort, index: number, generation: number, length: number) {
    this.#port = port;
    this.#index = index;
    this.#generation = generation;
    if (length < 0) {
      this.#memory = new ArrayBuffer(0);
      this.#bytes = new Uint8Array(0);
      this.#state = "gone";
      return;
    }
    port.endpoint.expose();
    port.endpoint.countView(1);
    this.#memory = port.lend(index, length);
    this.#bytes = new Uint8Array(this.#memory, 0, length);
    this.#state = "owned";
    port.live.set(index, this);
  }

  /** @ignore Made by the library. A negative length: one that is gone. */
  static [makeSlab](port: SlabPort, index: number, generation: number, length: number): Slab {
    return new Slab(port, index, generation, length);
  }

  /**
   * The slab's memory, to be written and read in place; what a former owner left is still there.
   * Length 0 once the slab was freed or sent.
   *
   * Send the slab; do not transfer `bytes.buffer`. A slab whose memory was transferred away cannot be
   * sent (`"MEMORY_TRANSFERRED"`), and freeing it, or closing the pool, takes it out of use for good,
   * so that nobody shares it with whoever has that memory. When the Worker that transferred it dies with
   * the slab in hand, the slab returns to the pool, and that memory is no part of the pool any more.
   *
   * Asynchronous I/O into it (`fs.read`, say) must be finished before the slab is sent, freed or resized and
   * before its pool is closed, or it writes into a stranger's message. That of a Worker that is terminated
   * meanwhile does no harm: it goes on in memory that is nobody's.
   */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** The bytes of the message in it. */
  get length(): number {
    return this.#bytes.length;
  }

  /** Whether it has been freed or sent. */
  get closed(): boolean {
    return this.#state !== "owned";
  }

  /** Names this slab, for {@linkcode Pool.free} and for logs. */
  get handle(): SlabHandle {
    return { pool: this.#port.id, index: this.#index, generation: this.#generation };
  }

  /**
   * Makes the message shorter or longer: `bytes` is then a view of so many. When it grows beyond what
   * it was allocated with, views that were kept have length 0.
   *
   * @throws {RangeError} If the slab has not so many bytes.
   * @throws {SlabError} If the slab was freed or sent.
   */
  resize(length: number): this {
    this.#checkOwned("resize a slab");
    checkSlabLength("resize a slab", length, this.#port.slabBytes);
    if (this.#memory.byteLength === 0) throw transferred();
    if (length > this.#memory.byteLength) {
      this.#port.takeBack(this.#index, this.#memory);
      this.#memory = this.#port.lend(this.#index, length);
    }
    this.#bytes = new Uint8Array(this.#memory, 0, length);
    return this;
  }

  /**
   * Gives the slab back to its pool.
   *
   * @throws {SlabError} If it was freed or sent before (`"SLAB_STALE"`).
   */
  free(): void {
    this.#checkOwned("free a slab");
    const generation = this.#generation;
    const isOurs = this.#leave();
    const port = this.#port;
    if (isOurs) port.free(this.#index, generation);
    else port.retire(this.#index, generation);
    port.closeIfUnused();
  }

  /** Frees the slab, unless it was freed or sent. */
  [Symbol.dispose](): void {
    if (this.#state === "owned") this.free();
  }

  #checkOwned(action: string): void {
    if (this.#state !== "owned") throw errorOf(slabStale, action);
  }

  /** Takes the views away. False: the program has transferred the memory. */
  #leave(): boolean {
    if (this.#state !== "gone") this.#port.endpoint.countView(-1);
    this.#state = "gone";
    this.#port.live.delete(this.#index);
    this.#isLost = !this.#port.takeBack(this.#index, this.#memory);
    return !this.#isLost;
  }

  /** @ignore The endpoint closes: the pool takes the slab. */
  [abandonSlab](): void {
    if (this.#state === "staged" && this.#memory.byteLength === 0) this[takeBackSlab]();
    if (this.#state === "owned") this.free();
    else this.#leave();
  }

  /**
   * @ignore Whether it must not be published after all: its memory is in somebody's hands, of whom the
   * receiver would know nothing.
   */
  get [isLostSlab](): boolean {
    return this.#isLost || (this.#state === "staged" && this.#memory.byteLength === 0);
  }

  /** @ignore Throws if it cannot be sent: it is not this thread's any more. */
  [checkSendable](): void {
    this.#checkOwned("send a slab");
    if (this.#memory.byteLength === 0) throw transferred();
  }

  /**
   * @ignore It has been found sendable, and its handle is about to be published in a slot of a
   * sender's ring. Returns the generation it then has.
   */
  [stageSlab](sender: Endpoint, slot: number): { index: number; generation: number } {
    const { endpoint } = this.#port;
    const answer = endpoint.symbols.millrace_pool_stage(
      endpoint.handle,
      this.#index,
      this.#generation,
      sender.handle,
      slot,
    );
    if (answer < 0) throw errorOf(answer, "send a slab");
    this.#state = "staged";
    this.#generation = nextGeneration(this.#generation);
    return { index: this.#index, generation: this.#generation };
  }

  /** @ignore It is the receiver's. */
  [publishSlab](): void {
    const port = this.#port;
    // After a close of the pool the view is gone already.
    if (this.#state !== "staged") return;
    this.#leave();
    port.closeIfUnused();
  }

  /** @ignore It was not published after all. */
  [takeBackSlab](): void {
    if (this.#state !== "staged") return;
    const { endpoint } = this.#port;
    const answer = endpoint.symbols.millrace_pool_claim(
      endpoint.handle,
      this.#index,
      this.#generation,
    );
    if (answer < 0) {
      this.#leave();
      return;
    }
    this.#generation = nextGeneration(this.#generation);
    this.#state = "owned";
  }
}

sign(Slab.prototype);

const { slabStale } = Status;

/** Every step of ownership counts the generation up by one. */
export function nextGeneration(generation: number): number {
  return (generation + 1) >>> 0;
}

/** Checks how long a message in a slab is to be. */
export function checkSlabLength(action: string, length: unknown, slabBytes: number): number {
  return checkInteger(action, "the length, at most that of a slab,", length, 0, slabBytes);
}
