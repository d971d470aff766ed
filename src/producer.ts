/**
 * The sending side of a ring: values are written where they will be read, and published by one
 * native call a batch.
 *
 * @module
 */

import { Status } from "../ffi/abi.ts";
import type {
  Codec,
  FixedCodec,
  RecordCodec,
  RecordView,
  Staging,
  StorePlace,
  Window,
} from "./codec.ts";
import { recordSlotBytes } from "./codec.ts";
import { type Endpoint, transferred } from "./endpoint.ts";
import { errorOf } from "./native.ts";
import { openAttachedPort, type PoolLink } from "./pool.ts";
import { handleBytes, needsSlab, pooledCodecOfSender } from "./pooled.ts";
import { bindRecords } from "./record_view.ts";
import { type Relay, relayOf } from "./relay.ts";
import type { SlabPort } from "./slab.ts";
import { isSlabCodec, slabCodecOfSender } from "./slab_layout.ts";

/**
 * Puts values into a ring. What has been put becomes visible with `publish()`, all at once.
 *
 * Slots `[committed, index)` hold what was put and not yet published; `[index, granted)` are free
 * and contiguous.
 */
export abstract class Producer<Value> implements StorePlace {
  /** Slots that the last refused put needs. */
  slotsNeeded = 1;
  /**
   * Counts publications, and moves of the place of the next value: what was put before can no longer be
   * taken back.
   */
  publications = 0;
  /** Messages published so far. */
  published = 0;
  /** The slot of the next value. */
  index = 0;
  /** Below it `store()` needs to look at nothing else; 0 closes that way. */
  limit = 0;
  protected committed = 0;
  protected granted = 0;
  protected isWriting = false;
  /** Messages in `[committed, index)`; only counted where a message can be many slots. */
  protected messages = 0;
  protected readonly endpoint: Endpoint;
  /** What changes its owner with the messages, if anything does. */
  protected readonly staging: Staging<Value> | undefined;

  readonly #relay: Relay | undefined;

  constructor(endpoint: Endpoint, staging: Staging<Value> | undefined) {
    this.endpoint = endpoint;
    this.staging = staging;
    this.#relay = relayOf(endpoint);
  }

  /** Where the slabs come from that the last refused put waits for; undefined: it waits for room. */
  get slabsNeeded(): SlabPort | undefined {
    return undefined;
  }

  /** Says what is waited for next: so many slots, or a slab. */
  await(slots: number, _slab: boolean): void {
    this.slotsNeeded = slots;
  }

  /** Whether there is room for so many slots, and a free slab if need be. If not, that is waited for next. */
  hasRoomFor({ slots, needsSlab }: Need): boolean {
    const { symbols, handle } = this.endpoint;
    // What is put and not published stands in the room that the native library would see.
    if (!this.publish()) return false;
    this.await(slots, false);
    if (symbols.millrace_sender_wait(handle, slots, 0, 0) !== 1) return false;
    if (!needsSlab) return true;
    this.await(slots, true);
    return this.slabsNeeded?.hasFree() ?? true;
  }

  /** Whether a put that finds no room has encoded the value all the same. */
  get encodesInVain(): boolean {
    return false;
  }

  /** What the last refused put waits for. */
  get need(): Need {
    return { slots: this.slotsNeeded, needsSlab: this.slabsNeeded !== undefined };
  }

  /**
   * Throws if the value can never be sent, whatever room there is: it has the wrong type, or is too long.
   * Otherwise says that room for it is waited for next. Runs the value's own code, as a put does.
   */
  abstract check(value: Value): void;

  /** Whether a message in the ring is all there is of it. */
  get canDrop(): boolean {
    return this.staging === undefined;
  }

  /**
   * Makes room for what the last refused put needs, by dropping the oldest messages that no receiver has
   * claimed. False: what is in the way has been claimed.
   */
  force(): boolean {
    const { endpoint } = this;
    const answer = endpoint.symbols.millrace_sender_force(endpoint.handle, this.slotsNeeded);
    if (answer < 0) throw errorOf(answer, "force a send");
    const bells = endpoint.mailbox[2] as number;
    if (bells !== 0) endpoint.bells.ring(bells, endpoint.info.index);
    return answer === 1;
  }

  /** Waits for what the last refused put needs, blocking this thread. */
  waitNative(strategy: number, timeoutUs: number): void {
    const { symbols, handle } = this.endpoint;
    const slabs = this.slabsNeeded?.endpoint;
    // A close of the channel ends the wait for a slab only at the end of its slice.
    if (slabs !== undefined) symbols.millrace_pool_wait(slabs.handle, strategy, timeoutUs);
    else symbols.millrace_sender_wait(handle, this.slotsNeeded, strategy, timeoutUs);
  }

  /**
   * Why a blocking wait for what the last refused put needs could only be ended by this very thread; undefined
   * if others can. `instead` completes "use …".
   */
  blocked(instead: string): string | undefined {
    const slabs = this.slabsNeeded?.endpoint;
    if (!(slabs ?? this.endpoint).isAlone()) return undefined;
    return slabs === undefined
      ? "the ring is full, and nobody but this very thread, which would block, can receive; " +
        `use ${instead}, or receive in a Worker`
      : "no slab is free, and nobody but this very thread, which would block, can free one; " +
        `use ${instead}, or free slabs before`;
  }

  /** What a message of so many bytes waits for. */
  abstract needOf(messageBytes: number): Need;

  /** Messages put and not yet published. */
  abstract get pendingMessages(): number;

  /**
   * Puts a value the shortest way: a check and a store. False: it takes `put()`.
   */
  abstract readonly store: (value: Value) => boolean;

  /** Opens the way of `store()` for all but the last of a chunk of so many messages. */
  abstract openChunk(messages: number): void;

  /**
   * Puts a value behind the others. False: there is no room; `slotsNeeded` says for what. Throws for a
   * value that can never be sent, also when there is no room.
   */
  abstract put(value: Value): boolean;

  /** Takes the last put back; it must not have been published. */
  abstract takeBack(): void;

  /** Puts values `from` on. Returns how many there was room for. */
  abstract putMany(values: ArrayLike<Value>, from: number): number;

  /** What was put and not published, for the error of a channel that closed meanwhile. */
  abstract pendingValues(): ArrayLike<Value>;

  /** Publishes what was put. False: the channel is closed, and nothing of it was sent. */
  publish(): boolean {
    const slots = this.index - this.committed;
    if (slots === 0) return true;
    const { endpoint } = this;
    endpoint.checkMemory();
    this.#checkStaged();
    const messages = this.pendingMessages;
    const answer = endpoint.symbols.millrace_sender_commit(endpoint.handle, slots, messages);
    if (answer < 0) {
      // A value's own code can close the sender it is being written for.
      if (answer === Status.channelClosed || endpoint.handle === 0) return false;
      if (answer === Status.corrupt) throw endpoint.corrupt("send");
      throw errorOf(answer, "send");
    }
    this.published += messages;
    this.committed = this.index;
    this.messages = 0;
    this.limit = 0;
    this.publications++;
    if (this.staging !== undefined) this.staging.publish();
    if (answer !== 0) {
      endpoint.bells.ring(answer, endpoint.info.index);
      this.#relay?.start();
    }
    return true;
  }

  /** Takes back what must not be published, and what is behind it, and throws. */
  #checkStaged(): void {
    const lost = this.staging?.lost?.();
    if (lost === undefined) return;
    this.index = lost;
    this.staging?.takeBackFrom(lost);
    this.limit = 0;
    throw transferred();
  }

  /** Refuses what the code of a value being written may not do. */
  checkNotWriting(): void {
    if (!this.isWriting) return;
    throw new TypeError(
      "Cannot send: the value's own code (a getter, toJSON or encode) uses the same sender; " +
        "use another one there",
    );
  }

  /** Runs code of a value's own, which may not use this sender meanwhile. */
  protected guarded<Result>(call: () => Result): Result {
    this.checkNotWriting();
    this.isWriting = true;
    try {
      return call();
    } finally {
      this.isWriting = false;
    }
  }

  /** Forgets what was put and not published. */
  discard(): void {
    this.index = this.committed;
    this.staging?.takeBackFrom(this.index);
    this.messages = 0;
    this.limit = 0;
  }

  /** Shuts the way of `store()`: a send waits for room, and what is put must not pass it by. */
  closeChunk(): void {
    this.limit = 0;
  }

  /** Remembers where the producer stands. */
  checkpoint(): Checkpoint {
    return { index: this.index, messages: this.messages, publications: this.publications };
  }

  /** Takes back what was put since, as far as it has not been published. */
  rollBack({ index, messages, publications }: Checkpoint): void {
    if (publications !== this.publications) return this.discard();
    this.index = index;
    this.staging?.takeBackFrom(index);
    this.messages = messages;
    this.limit = 0;
  }

  /** Whether nothing was put or published since. */
  isAt({ index, publications }: Checkpoint): boolean {
    return publications === this.publications && index === this.index;
  }

  /** Asks for `slots` contiguous slots; everything put must have been published. */
  protected reserve(slots: number): boolean {
    const { endpoint } = this;
    const answer = endpoint.symbols.millrace_sender_reserve(endpoint.handle, slots);
    if (answer > 0) {
      const start = endpoint.mailbox[1] as number;
      // A refused put may have looked for room in vain, and what is reserved stays where it is.
      if (start !== this.index) this.publications++;
      this.index = this.committed = start;
      this.granted = start + answer;
      this.limit = 0;
      return true;
    }
    if (answer === Status.corrupt) throw endpoint.corrupt("send");
    const isClosed = answer === Status.channelClosed || endpoint.handle === 0;
    if (answer < 0 && !isClosed) throw errorOf(answer, "send");
    this.slotsNeeded = slots;
    return false;
  }
}

/** What a message waits for. */
export interface Need {
  /** Contiguous slots, */
  readonly slots: number;
  /** and a free slab. */
  readonly needsSlab: boolean;
}

const oneSlot: Need = { slots: 1, needsSlab: false };

/** Where a producer stood. */
export interface Checkpoint {
  readonly index: number;
  readonly messages: number;
  readonly publications: number;
}

/** A producer of one slot a value. */
export class FixedProducer<Value, Batch> extends Producer<Value> {
  readonly store: (value: Value) => boolean;
  readonly #codec: FixedCodec<Value, Batch>;
  readonly #write: FixedCodec<Value, Batch>["write"];
  readonly #runsUserCode: boolean;
  readonly #view: unknown;
  readonly #bytes: Uint8Array;
  /** The place of what `reserveWindow()` gave out last. */
  #reservedAt: Checkpoint | undefined;

  constructor(
    endpoint: Endpoint,
    codec: FixedCodec<Value, Batch>,
    staging: Staging<Value> | undefined,
  ) {
    super(endpoint, staging);
    this.#codec = codec;
    this.#runsUserCode = codec.runsUserCode;
    const memory = endpoint.mapRing(endpoint.info.index);
    this.#bytes = new Uint8Array(memory);
    this.#view = codec.bind(memory);
    this.#write = codec.write;
    this.store = codec.bindStore?.(this.#view, this) ??
      ((value) => this.index < this.limit && this.#putGuarded(value));
  }

  get pendingMessages(): number {
    return this.index - this.committed;
  }

  needOf(_messageBytes: number): Need {
    return oneSlot;
  }

  openChunk(messages: number): void {
    this.limit = Math.min(this.granted, this.committed + messages - 1);
  }

  put(value: Value): boolean {
    if (this.isWriting) this.checkNotWriting();
    if (this.index === this.granted && !this.#makeRoom()) {
      this.check(value);
      return false;
    }
    if (this.#runsUserCode) return this.#putGuarded(value);
    this.#write(this.#view, this.index, value);
    this.index++;
    return true;
  }

  #putGuarded(value: Value): true {
    this.checkNotWriting();
    this.isWriting = true;
    try {
      if (this.#reservedAt === undefined) this.#write(this.#view, this.index, value);
      else this.#writeMany([value], 0, 1);
    } finally {
      this.isWriting = false;
    }
    this.index++;
    return true;
  }

  /** Writes values behind the last one. If it throws, what is reserved there is as it was. */
  #writeMany(values: ArrayLike<Value>, from: number, count: number): void {
    const codec = this.#codec;
    if (this.#reservedAt === undefined || !this.isAt(this.#reservedAt)) {
      this.#reservedAt = undefined;
      return codec.writeMany(this.#view, this.index, values, from, count);
    }
    const scratch = new ArrayBuffer(count * codec.slotBytes);
    codec.writeMany(codec.bind(scratch), 0, values, from, count);
    this.#reservedAt = undefined;
    this.#bytes.set(new Uint8Array(scratch), this.index * codec.slotBytes);
  }

  check(value: Value): void {
    this.await(1, false);
    if (this.#codec.check !== undefined) return this.#codec.check(value);
    this.guarded(() => {
      this.#write(this.#codec.bind(new ArrayBuffer(this.#codec.slotBytes)), 0, value);
    });
  }

  takeBack(): void {
    this.index--;
    this.staging?.takeBackFrom(this.index);
    this.limit = 0;
  }

  putMany(values: ArrayLike<Value>, from: number): number {
    this.checkNotWriting();
    // An element's own code must not get past the guard by a writer's store.
    this.limit = 0;
    let put = 0;
    while (from + put < values.length) {
      if (this.index === this.granted && !this.#makeRoom()) {
        if (put === 0) this.check(values[from] as Value);
        break;
      }
      const count = Math.min(values.length - from - put, this.granted - this.index);
      this.isWriting = true;
      try {
        this.#writeMany(values, from + put, count);
      } catch (error) {
        this.staging?.takeBackFrom(this.index);
        // What stands before the run with the bad value is sent; the next call meets it first.
        if (put === 0) throw error;
        break;
      } finally {
        this.isWriting = false;
      }
      this.index += count;
      put += count;
    }
    return put;
  }

  pendingValues(): ArrayLike<Value> {
    if (this.staging?.values !== undefined) return this.staging.values();
    return this.#codec.readMany(
      this.#view,
      this.committed,
      this.index - this.committed,
    ) as unknown as ArrayLike<Value>;
  }

  #makeRoom(): boolean {
    return this.publish() && this.reserve(1);
  }

  /** Up to `count` free slots in place; undefined when there is none. */
  reserveWindow(count: number): Window<Value> | undefined {
    this.checkNotWriting();
    if (this.staging !== undefined) {
      throw new TypeError(
        "Cannot reserve: slabs are filled in their pool; allocate one, and send it",
      );
    }
    this.endpoint.expose();
    if (this.index === this.granted && !this.#makeRoom()) return undefined;
    this.endpoint.noteRoom(true);
    this.#reservedAt = this.checkpoint();
    return this.#codec.window(this.#view, this.index, Math.min(count, this.granted - this.index));
  }

  /** Takes `count` slots of the last window as put. */
  commitWindow(count: number): void {
    this.checkNotWriting();
    this.endpoint.noteRoom(false);
    this.index += count;
  }
}

/** A producer of records. */
export class RecordProducer<Value> extends Producer<Value> {
  readonly #codec: RecordCodec<Value>;
  readonly #view: RecordView;
  readonly store: (value: Value) => boolean = () => false;
  readonly #payloadBytesMax: number;
  /** Where the last record begins. */
  #last = 0;

  readonly #slabs: SlabPort | undefined;
  #needsSlab = false;

  constructor(
    endpoint: Endpoint,
    codec: RecordCodec<Value>,
    staging: Staging<Value> | undefined,
    slabs: SlabPort | undefined,
  ) {
    super(endpoint, staging);
    this.#slabs = slabs;
    this.#codec = codec;
    this.#view = bindRecords(endpoint.mapRing(endpoint.info.index));
    // A record of half the ring always fits an empty ring, wherever its head is: the padding in
    // front of it is then shorter than itself.
    this.#payloadBytesMax = endpoint.info.capacity * (recordSlotBytes / 2) - recordSlotBytes;
  }

  get pendingMessages(): number {
    return this.messages;
  }

  openChunk(): void {}

  override get encodesInVain(): boolean {
    // With a pool a message can wait for one of two things.
    return this.#slabs === undefined;
  }

  override get slabsNeeded(): SlabPort | undefined {
    return this.#needsSlab ? this.#slabs : undefined;
  }

  override await(slots: number, slab: boolean): void {
    this.slotsNeeded = slots;
    this.#needsSlab = slab;
  }

  put(value: Value): boolean {
    this.checkNotWriting();
    this.isWriting = true;
    this.#needsSlab = false;
    try {
      return this.#put(value);
    } catch (error) {
      // The value's own code has closed the sender: there is no memory to write to.
      if (this.endpoint.handle === 0) return false;
      throw error;
    } finally {
      this.isWriting = false;
    }
  }

  check(value: Value): void {
    // With no room at all nothing is written: only the length is told.
    const length = this.guarded(() => this.#codec.encode(this.#view, 0, -recordSlotBytes, value));
    this.await(this.slotsOf(-1 - length), false);
  }

  #put(value: Value): boolean {
    const room = (this.granted - this.index) * recordSlotBytes - recordSlotBytes;
    const offset = this.index * recordSlotBytes + recordSlotBytes;
    const length = this.#codec.encode(this.#view, offset, room, value);
    if (length < 0) {
      if (length === needsSlab) return this.#lacksSlab();
      return this.#putWithNewRoom(value, -1 - length);
    }
    this.#finishRecord(length);
    return true;
  }

  /** There is room for the handle of a slab, and no slab. */
  #lacksSlab(): false {
    this.publish();
    this.#needsSlab = true;
    this.slotsNeeded = 1;
    return false;
  }

  #putWithNewRoom(value: Value, payloadBytes: number, isLast = false): boolean {
    const slots = this.slotsOf(payloadBytes);
    if (!this.publish() || !this.reserve(slots)) return false;
    const room = (this.granted - this.index) * recordSlotBytes - recordSlotBytes;
    const offset = this.index * recordSlotBytes + recordSlotBytes;
    const length = this.#codec.encode(this.#view, offset, room, value);
    if (length < 0) {
      if (length === needsSlab) return this.#lacksSlab();
      // There was room for the handle of a slab; the last slab is gone, so the ring must hold it all.
      if (this.#slabs !== undefined && !isLast) {
        return this.#putWithNewRoom(value, -1 - length, true);
      }
      throw new RangeError(
        "Cannot send: encode() gave more bytes the second time it was called; it must give the same each time",
      );
    }
    this.#finishRecord(length);
    return true;
  }

  /** The slots of a record; throws if no ring of this capacity can hold it. */
  slotsOf(payloadBytes: number): number {
    if (payloadBytes > this.#payloadBytesMax) {
      throw new RangeError(
        `Cannot send: a message in this channel has at most ${this.#payloadBytesMax} bytes ` +
          `(half of the ring, less its header)${
            this.#slabs === undefined ? "" : `, or ${this.#slabs.slabBytes} (a slab)`
          }, received one of ${payloadBytes}`,
      );
    }
    return 1 + Math.ceil(payloadBytes / recordSlotBytes);
  }

  /** The most bytes of one message: in half of the ring, or in a slab. */
  get messageBytesMax(): number {
    return Math.max(this.#payloadBytesMax, this.#slabs?.slabBytes ?? 0);
  }

  /** What a message waits for: one that only a slab can hold for a slab, and for room for its handle. */
  needOf(messageBytes: number): Need {
    const needsSlab = this.#slabs !== undefined && messageBytes > this.#payloadBytesMax &&
      messageBytes <= this.#slabs.slabBytes;
    return { slots: this.slotsOf(needsSlab ? handleBytes : messageBytes), needsSlab };
  }

  #finishRecord(payloadBytes: number): void {
    if (payloadBytes > this.#payloadBytesMax) this.slotsOf(payloadBytes);
    const view = this.#view;
    const word = this.index * 2;
    this.#last = this.index;
    view.u32[word] = payloadBytes;
    view.u32[word + 1] = view.flags;
    this.index += 1 + ((payloadBytes + recordSlotBytes - 1) >>> 3);
    this.messages++;
  }

  takeBack(): void {
    this.index = this.#last;
    this.staging?.takeBackFrom(this.index);
    this.messages--;
  }

  putMany(values: ArrayLike<Value>, from: number): number {
    let put = 0;
    try {
      while (from + put < values.length && this.put(values[from + put] as Value)) put++;
    } catch (error) {
      // What stands before the bad value is sent; the next call meets it first.
      if (put === 0) throw error;
    }
    return put;
  }

  pendingValues(): ArrayLike<Value> {
    const values: Value[] = [];
    for (let index = this.committed; index < this.index;) {
      // Another process can write here as well.
      const length = this.#view.u32[index * 2] as number;
      const flags = this.#view.u32[index * 2 + 1] as number;
      if (length > (this.index - index - 1) * recordSlotBytes) throw this.endpoint.corrupt("send");
      this.#view.windowEnd = 0;
      values.push(this.#codec.decode(this.#view, (index + 1) * recordSlotBytes, length, flags));
      index += 1 + ((length + recordSlotBytes - 1) >>> 3);
    }
    return values;
  }

  /** `payloadBytes` free bytes in place, for a payload; undefined when there is no room. */
  reserveBytes(payloadBytes: number): Uint8Array | undefined {
    this.checkNotWriting();
    this.endpoint.expose();
    const slots = this.slotsOf(payloadBytes);
    if (this.granted - this.index < slots && !(this.publish() && this.reserve(slots))) {
      return undefined;
    }
    this.endpoint.noteRoom(true);
    const offset = (this.index + 1) * recordSlotBytes;
    return this.#view.u8.subarray(offset, offset + payloadBytes);
  }

  /** Takes the first `payloadBytes` of the last reserved bytes as a message. */
  commitBytes(payloadBytes: number): void {
    this.checkNotWriting();
    this.endpoint.noteRoom(false);
    this.#view.flags = 0;
    this.#finishRecord(payloadBytes);
  }
}

/** The producer that a codec calls for, and the pool of the endpoint's channel, if it has one. */
export function producerOf<Value, Batch>(
  endpoint: Endpoint,
  codec: Codec<Value, Batch>,
  link: PoolLink | undefined,
): FixedProducer<Value, Batch> | RecordProducer<Value> {
  if (codec.kind === "fixed") {
    if (!isSlabCodec(codec)) return new FixedProducer(endpoint, codec, undefined);
    const slabs = slabCodecOfSender(endpoint);
    return new FixedProducer(endpoint, slabs.codec, slabs.staging) as unknown as FixedProducer<
      Value,
      Batch
    >;
  }
  if (link === undefined) return new RecordProducer(endpoint, codec, undefined, undefined);
  const port = openAttachedPort(endpoint, link);
  endpoint.onClose(() => port.release());
  const pooled = pooledCodecOfSender(codec, port, endpoint, link.threshold);
  return new RecordProducer(endpoint, pooled.codec, pooled.staging, port);
}
