/**
 * The receiving side: a window of one ring after the other, read in place and given back in runs.
 *
 * @module
 */

import { Limits, Status } from "../ffi/abi.ts";
import {
  checkTarget,
  type Codec,
  type FixedCodec,
  flagPadding,
  flagPooled,
  type RecordCodec,
  recordSlotBytes,
  type RecordView,
  targetLength,
  type Window,
  type WritableBatch,
} from "./codec.ts";
import { type Endpoint, transferred } from "./endpoint.ts";
import { errorOf } from "./native.ts";
import { openAttachedPort, type PoolLink } from "./pool.ts";
import { PooledReceiving } from "./pooled.ts";
import { bindRecords } from "./record_view.ts";
import { hasManyReceivers, type Relay, relayOf } from "./relay.ts";
import { isSlabCodec, slabCodecOfReceiver } from "./slab_layout.ts";

/** What `poll()` answers when the channel is closed and drained. */
export const ended = -1;

/**
 * Takes values out of the rings. `[released, index)` has been taken and not yet given back;
 * `[index, end)` is readable. Who stops taking for a while must call `settle()`.
 */
export abstract class Consumer<Value, Batch> {
  protected index = 0;
  protected end = 0;
  protected released = 0;
  /** Messages taken and not yet given back. */
  protected unsettled = 0;
  /** The layout's own code runs, or that of an array that is filled: it must not receive here. */
  isDecoding = false;
  /** See turn.ts. */
  isHeld = false;
  /** Of what was taken and not given back: what the program has handled, where receivers share. */
  protected handledSlots = 0;
  protected handledMessages = 0;
  /** Messages that lie in a pool, if the channel has one. */
  protected readonly pooled: PooledReceiving | undefined;
  /** Whether the capacity of a ring is a count of bytes. */
  abstract readonly countsBytes: boolean;
  /**
   * Whether receivers share the rings: what a dead one had not given back is offered to another, so
   * nothing is given back before the program has handled it.
   */
  readonly isShared: boolean;
  protected readonly endpoint: Endpoint;
  /** Counts the windows entered. */
  #windows = 0;
  readonly #relay: Relay | undefined;
  /** The most that is taken before it is given back, so that a full ring has room again soon. */
  readonly #settleSlots: number;

  constructor(endpoint: Endpoint, pooled: PooledReceiving | undefined) {
    this.endpoint = endpoint;
    this.pooled = pooled;
    this.isShared = hasManyReceivers(endpoint.info.kind);
    this.#relay = relayOf(endpoint);
    this.#settleSlots = Math.max(1, endpoint.info.capacity >>> 2);
  }

  /** Makes `[index, end)` of a ring what is read. */
  protected abstract enter(ring: number, end: number): void;

  /** Takes the next value; `poll()` must have been positive. */
  abstract take(): Value;

  /** The next value, which stays where it is; `poll()` must have been positive. */
  abstract peek(): Value;

  /** Takes up to `limit` values that are there, as a batch of their own, and gives them back. */
  abstract takeBatch(limit: number): Batch;

  /**
   * The same for a program that says when it has handled them. Where receivers share the rings they
   * are what is left of one claim at most, and not given back.
   */
  abstract takeToHandle(limit: number): Batch;

  /** Takes up to `out.length` values that are there. Returns how many. */
  abstract takeInto(out: WritableBatch<Value>): number;

  /** What is readable in one run, in place. Takes nothing. */
  abstract window(): { view: Window<Value> | Uint8Array[]; messages: number };

  /** Takes the first `messages` of the window without reading them. */
  abstract skip(messages: number): void;

  /**
   * A positive number when a value can be taken, 0 when there is none, `ended` when there never will
   * be. Where receivers share the rings, at most `limit` values are claimed; 0 is no bound.
   */
  poll(limit = 0): number {
    if (this.index < this.end) return this.end - this.index;
    return this.#next(limit, false);
  }

  /**
   * The same, and certain: 0 means that there was a moment at which nothing was there. Where receivers
   * share the rings, `poll()` may miss what moves while it looks.
   */
  pollSurely(limit = 0): number {
    if (this.index < this.end) return this.end - this.index;
    const there = this.#next(limit, false);
    return there === 0 && this.isShared ? this.#next(limit, true) : there;
  }

  #next(limit: number, isSure: boolean): number {
    this.checkNotDecoding();
    while (true) {
      this.settle();
      const { endpoint } = this;
      const { symbols, handle } = endpoint;
      const most = Math.min(limit, Limits.slots);
      const answer = this.#understand(
        isSure
          ? symbols.millrace_receiver_poll_surely(handle, most)
          : symbols.millrace_receiver_poll(handle, most),
      );
      if (answer <= 0) return answer;
      // Nothing is readable until the ring is entered: that can throw.
      this.end = this.index = this.released = endpoint.mailbox[1] as number;
      this.#windows++;
      this.enter(endpoint.mailbox[0] as number, this.index + answer);
      if (this.index < this.end) return answer;
    }
  }

  /** Rings what a native look asks for, and passes its answer through: 0, `ended`, or more than 0. */
  #understand(answer: number): number {
    const { endpoint } = this;
    this.wake(endpoint.mailbox[2] as number);
    if (answer >= 0) return answer;
    if (answer === Status.ended) return ended;
    if (answer === Status.corrupt) throw endpoint.corrupt("receive");
    throw errorOf(answer, "receive");
  }

  /** Rings the bells of other receivers that are wanted. */
  wake(bells: number): void {
    if (bells <= 0) return;
    this.endpoint.bells.ring(bells, 0);
    this.#relay?.start();
  }

  /**
   * What `poll()` would answer now. Where receivers share the rings nothing is claimed, and another may
   * be faster.
   */
  look(): number {
    if (this.index < this.end || !this.isShared) return this.poll();
    this.checkNotDecoding();
    this.settle();
    const { symbols, handle } = this.endpoint;
    return this.#understand(symbols.millrace_receiver_look(handle));
  }

  /**
   * Lets other receivers have what was claimed and not taken, for this one does not look for a while. The
   * next poll takes back what is still there.
   */
  offer(): void {
    const { endpoint } = this;
    if (this.isDecoding || endpoint.handle === 0) return;
    this.settle();
    if (!this.isShared || this.index === this.end) return;
    const answer = endpoint.symbols.millrace_receiver_offer(endpoint.handle);
    if (answer < 0) throw errorOf(answer, "receive");
    this.end = this.index;
    // What was shown in place is no longer this receiver's.
    this.#windows++;
    this.wake(answer);
  }

  /** Whether it has claimed what it has not taken. */
  get holds(): boolean {
    return this.index < this.end;
  }

  /** Refuses what the code of a layout that is decoding may not do. */
  protected checkNotDecoding(): void {
    if (this.isDecoding) throw this.decodingError();
  }

  /** The error of what the code of a layout that is decoding may not do. */
  decodingError(): Error {
    return new TypeError(
      "Cannot receive: the layout's own decode, or the array that is filled, uses the same receiver; " +
        "use another one there",
    );
  }

  /** Gives back what was taken, if it is enough to be worth a call. */
  settleSoon(): void {
    if (
      this.unsettled >= settleMessages || this.index - this.released >= this.#settleSlots ||
      this.pooled?.holds
    ) {
      this.settle();
    }
  }

  /**
   * Gives back what was taken. Not while it is decoded, for it lies there, unless the endpoint is about
   * to close: then nothing is read there any more, and what was taken is not to go to another.
   */
  settle(isClosing = false): void {
    const slots = this.index - this.released;
    if (slots === 0 || (this.isDecoding && !isClosing) || this.endpoint.handle === 0) return;
    this.#release(slots, this.unsettled);
    this.handledSlots = this.handledMessages = 0;
    if (this.pooled !== undefined) this.pooled.free();
  }

  #release(slots: number, messages: number): void {
    const { endpoint } = this;
    const answer = endpoint.symbols.millrace_receiver_release(endpoint.handle, slots, messages);
    if (answer < 0) throw errorOf(answer, "receive");
    this.released += slots;
    this.unsettled -= messages;
    if (answer !== 0) endpoint.bells.ring(answer, endpoint.mailbox[0] as number);
  }

  /** What has been taken by now, the program has handled: it asks for more. */
  markHandled(): void {
    this.handledSlots = this.index - this.released;
    this.handledMessages = this.unsettled;
  }

  /**
   * Gives back what the program has handled. Where receivers share the rings it keeps what the program
   * has in hand. (No pooled message is handled and not given back: settleSoon() sees to that.)
   */
  settleHandled(): void {
    if (!this.isShared) return this.settle();
    if (this.handledSlots === 0 || this.isDecoding || this.endpoint.handle === 0) return;
    this.#release(this.handledSlots, this.handledMessages);
    this.handledSlots = this.handledMessages = 0;
  }

  /** Where the consumer stands: two are equal if nothing was taken in between. */
  get place(): number {
    return this.#windows * placesPerWindow + this.index;
  }

  /** Whether all is taken of what the last poll found. */
  get isAtEnd(): boolean {
    return this.index === this.end;
  }

  /** Messages taken and not yet given back. */
  get unsettledMessages(): number {
    return this.unsettled;
  }
}

const settleMessages = 64;
/** More than a ring has slots. Together with a count of windows it stays a safe integer for ages. */
const placesPerWindow = 2 ** 31;

/** A consumer of one slot a value. */
export class FixedConsumer<Value, Batch> extends Consumer<Value, Batch> {
  readonly countsBytes = false;
  readonly #codec: FixedCodec<Value, Batch>;
  readonly #rings: { readonly memory: ArrayBuffer; readonly view: unknown }[] = [];
  #view: unknown;

  constructor(endpoint: Endpoint, codec: FixedCodec<Value, Batch>) {
    super(endpoint, undefined);
    this.#codec = codec;
  }

  protected enter(ring: number, end: number): void {
    this.#view = this.#viewOf(ring);
    this.end = end;
  }

  #viewOf(ring: number): unknown {
    const known = this.#rings[ring];
    if (known !== undefined) {
      if (known.memory.byteLength === 0) throw transferred();
      return known.view;
    }
    const memory = this.endpoint.mapRing(ring);
    const view = this.#codec.bind(memory);
    this.#rings[ring] = { memory, view };
    return view;
  }

  take(): Value {
    const value = this.#codec.read(this.#view, this.index);
    this.index++;
    this.unsettled++;
    return value;
  }

  peek(): Value {
    if (this.#codec.skip !== undefined) {
      throw new TypeError(
        "Cannot peek: a slab belongs to the receiver that looks at it; receive it, and free it or send it on",
      );
    }
    return this.#codec.read(this.#view, this.index);
  }

  takeBatch(limit: number): Batch {
    const batches: Batch[] = [];
    let taken = 0;
    while (taken < limit && this.pollSurely(limit - taken) > 0) {
      const count = Math.min(limit - taken, this.end - this.index);
      batches.push(this.#take(count));
      taken += count;
    }
    this.settle();
    return batches.length === 1 ? batches[0] as Batch : this.#codec.join(batches);
  }

  takeToHandle(limit: number): Batch {
    if (!this.isShared || this.poll(limit) <= 0) return this.takeBatch(limit);
    return this.#take(Math.min(limit, this.end - this.index));
  }

  #take(count: number): Batch {
    const batch = this.#codec.readMany(this.#view, this.index, count);
    this.#advance(count);
    return batch;
  }

  takeInto(out: WritableBatch<Value>): number {
    const length = targetLength(out);
    let taken = 0;
    while (taken < length && this.pollSurely(length - taken) > 0) {
      const count = Math.min(length - taken, this.end - this.index);
      // `out` can be a Proxy, whose code must not receive.
      this.isDecoding = true;
      try {
        this.#codec.readInto(this.#view, this.index, count, out, taken);
      } finally {
        this.isDecoding = false;
      }
      // It can have closed the receiver: then there was nothing to read any more.
      if (this.endpoint.handle === 0) return taken;
      this.#advance(count);
      taken += count;
    }
    this.settle();
    return taken;
  }

  #advance(count: number): void {
    this.index += count;
    this.unsettled += count;
  }

  window(): { view: Window<Value>; messages: number } {
    const messages = this.end - this.index;
    this.endpoint.expose();
    return { view: this.#codec.window(this.#view, this.index, messages), messages };
  }

  skip(messages: number): void {
    this.#codec.skip?.(this.#view, this.index, messages);
    this.#advance(messages);
  }
}

/** A consumer of records. */
export class RecordConsumer<Value> extends Consumer<Value, Value[]> {
  readonly countsBytes = true;
  readonly #codec: RecordCodec<Value>;
  readonly #views: RecordView[] = [];
  #view: RecordView | undefined;
  /** Where the record taken last begins. */
  #last = 0;

  constructor(
    endpoint: Endpoint,
    codec: RecordCodec<Value>,
    pooled: PooledReceiving | undefined,
  ) {
    super(endpoint, pooled);
    this.#codec = codec;
  }

  protected enter(ring: number, end: number): void {
    const view = this.#views[ring] ??= bindRecords(this.endpoint.mapRing(ring));
    if (view.memory.byteLength === 0) throw transferred();
    this.#view = view;
    this.end = end;
    view.textStart = view.textEnd = 0;
    this.#skipPadding(view);
  }

  /** A padding record stands only at a ring's end: it ends the window, and carries no message. */
  #skipPadding(view: RecordView): void {
    if (this.index < this.end && ((view.u32[this.index * 2 + 1] as number) & flagPadding) !== 0) {
      this.index = this.end;
    }
    view.windowEnd = this.end * recordSlotBytes;
  }

  /** The payload's bytes of the record at `index`, checked against what is readable. */
  #payloadBytes(view: RecordView, index: number): number {
    const length = view.u32[index * 2] as number;
    if (length > (this.end - index - 1) * recordSlotBytes) throw this.endpoint.corrupt("receive");
    return length;
  }

  take(): Value {
    const view = this.#view as RecordView;
    const { index } = this;
    this.checkNotDecoding();
    // Each word of the header is read once: it can change at any time.
    const length = this.#payloadBytes(view, index);
    const flags = view.u32[index * 2 + 1] as number;
    // Taken even if it cannot be decoded: a message that throws must not be met for ever.
    this.index = index + 1 + ((length + recordSlotBytes - 1) >>> 3);
    this.#last = index;
    this.unsettled++;
    try {
      return this.#decode(view, index, length, flags);
    } finally {
      this.#skipPadding(view);
    }
  }

  peek(): Value {
    const view = this.#view as RecordView;
    const { index } = this;
    const length = this.#payloadBytes(view, index);
    try {
      return this.#decode(view, index, length, view.u32[index * 2 + 1] as number);
    } finally {
      this.pooled?.letGo(index);
    }
  }

  #decode(view: RecordView, index: number, length: number, flags: number): Value {
    this.isDecoding = true;
    try {
      if ((flags & flagPooled) !== 0 && this.pooled !== undefined) {
        return this.pooled.decode(this.#codec, this.pooled.hold(view, index, length));
      }
      return this.#codec.decode(view, (index + 1) * recordSlotBytes, length, flags);
    } finally {
      this.isDecoding = false;
    }
  }

  takeBatch(limit: number): Value[] {
    const values: Value[] = [];
    this.#takeEach(limit, (value) => values.push(value));
    this.settle();
    return values;
  }

  takeToHandle(limit: number): Value[] {
    if (!this.isShared) return this.takeBatch(limit);
    const values: Value[] = [];
    if (this.poll(limit) > 0) {
      this.#takeEach(limit, (value) => values.push(value), () => this.index < this.end);
    }
    return values;
  }

  takeInto(out: WritableBatch<Value>): number {
    checkTarget(out);
    const taken = this.#takeEach(targetLength(out), (value, index) => {
      // `out` can be a Proxy, whose code must not receive.
      this.isDecoding = true;
      try {
        out[index] = value;
      } finally {
        this.isDecoding = false;
      }
    });
    this.settle();
    return taken;
  }

  #takeEach(
    limit: number,
    keep: (value: Value, index: number) => void,
    isThere = (most: number) => this.pollSurely(most) > 0,
  ): number {
    let taken = 0;
    while (taken < limit && isThere(limit - taken)) {
      let value: Value;
      try {
        value = this.take();
      } catch (error) {
        if (taken === 0) {
          this.settle();
          throw error;
        }
        // What was taken before is not lost: the next call meets the one that cannot be decoded.
        this.#untake();
        break;
      }
      try {
        keep(value, taken);
      } catch (error) {
        // The array does not take it: the next receive does.
        this.#untake();
        this.settle();
        throw error;
      }
      taken++;
      // The code of the layout, or of the array, can have closed the receiver.
      if (this.endpoint.handle === 0) break;
    }
    return taken;
  }

  /** The message taken last was not taken after all. */
  #untake(): void {
    if (this.endpoint.handle === 0) return;
    this.index = this.#last;
    this.unsettled--;
    this.pooled?.letGo(this.#last);
  }

  window(): { view: Uint8Array[]; messages: number } {
    const view = this.#view as RecordView;
    this.endpoint.expose();
    const payloads: Uint8Array[] = [];
    for (let index = this.index; index < this.end;) {
      const flags = view.u32[index * 2 + 1] as number;
      if ((flags & flagPadding) !== 0) break;
      const length = this.#payloadBytes(view, index);
      const offset = (index + 1) * recordSlotBytes;
      payloads.push(
        (flags & flagPooled) !== 0 && this.pooled !== undefined
          ? this.pooled.payload(view, offset, length)
          : view.u8.subarray(offset, offset + length),
      );
      index += 1 + ((length + recordSlotBytes - 1) >>> 3);
    }
    return { view: payloads, messages: payloads.length };
  }

  skip(messages: number): void {
    const view = this.#view as RecordView;
    for (let count = 0; count < messages; count++) {
      const length = this.#payloadBytes(view, this.index);
      const flags = view.u32[this.index * 2 + 1] as number;
      if ((flags & flagPooled) !== 0) this.pooled?.hold(view, this.index, length);
      this.index += 1 + ((length + recordSlotBytes - 1) >>> 3);
      this.unsettled++;
    }
    this.#skipPadding(view);
  }
}

/** The consumer that a codec calls for, and the pool of the endpoint's channel, if it has one. */
export function consumerOf<Value, Batch>(
  endpoint: Endpoint,
  codec: Codec<Value, Batch>,
  link: PoolLink | undefined,
): FixedConsumer<Value, Batch> | RecordConsumer<Value> {
  if (link === undefined) {
    return codec.kind === "fixed"
      ? new FixedConsumer(endpoint, codec)
      : new RecordConsumer(endpoint, codec, undefined);
  }
  const port = openAttachedPort(endpoint, link);
  endpoint.onClose(() => port.release());
  if (codec.kind === "fixed") {
    const bound = isSlabCodec(codec) ? slabCodecOfReceiver(port) : codec;
    return new FixedConsumer(endpoint, bound as FixedCodec<Value, Batch>);
  }
  const pooled = new PooledReceiving(port);
  return new RecordConsumer(endpoint, codec, pooled);
}
