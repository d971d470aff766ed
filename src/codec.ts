/**
 * Codecs: the two ways in which a value is put into a ring and taken out of it.
 *
 * A fixed codec gives every value one slot of one size. A record codec gives a value as many slots
 * of 8 bytes as it needs, behind a header. Neither allocates per message beyond the value itself.
 *
 * @module
 */

import { checkInteger, wrongType } from "./check.ts";
import { withArticle } from "./describe.ts";
import { checkMemory, isTypedArray, lengthOf } from "./typed_array.ts";

/** One slot a value. `View` is whatever the codec wants to see the ring's memory through. */
export interface FixedCodec<Value, Batch, View = unknown> {
  readonly kind: "fixed";
  /** The stride of a slot. */
  readonly slotBytes: number;
  /** Whether `write` can run code of the value's own, as getters are: code that may send, too. */
  readonly runsUserCode: boolean;
  /** Views over the data of a ring. */
  bind(memory: ArrayBuffer): View;
  /**
   * For the batching writer, over one view (compilers take what a function closes over for
   * constants): puts a value at `place.index` and moves on, if that is below
   * `place.limit` and the value fits. False: it does not; nothing happened. Absent where values run
   * code of their own, which `write` must be guarded against.
   */
  bindStore?(view: View, place: StorePlace): (value: Value) => boolean;
  /** Puts a value into a slot. Throws `TypeError` or `RangeError`, and then the slot is not sent. */
  write(view: View, slot: number, value: Value): void;
  /**
   * Throws for a value that can never be sent. Absent where a `write` into other memory does that, and no
   * more.
   */
  check?(value: Value): void;
  /** Takes a value out of a slot. */
  read(view: View, slot: number): Value;
  /** Puts `count` values, from `values[from]` on, into contiguous slots. */
  writeMany(view: View, slot: number, values: ArrayLike<Value>, from: number, count: number): void;
  /** Copies `count` contiguous slots out. */
  readMany(view: View, slot: number, count: number): Batch;
  /** Copies `count` contiguous slots into `out`, from `out[at]` on. */
  readInto(view: View, slot: number, count: number, out: WritableBatch<Value>, at: number): void;
  /** Joins batches, when more than one run went into one. */
  join(batches: Batch[]): Batch;
  /** The memory of `count` contiguous slots itself, without a copy. */
  window(view: View, slot: number, count: number): Window<Value>;
  /** Passes over `count` slots that nobody will read. Absent where they hold nothing. */
  skip?(view: View, slot: number, count: number): void;
}

/**
 * What a producer has put into slots that are not published, and that is more than the bytes there:
 * slabs of a pool, which change their owner with the message.
 */
export interface Staging<Value> {
  /** The first slot with something that must not be published, because the program broke it. */
  lost?(): number | undefined;
  /** The slots have been published: what was staged is the receiver's. */
  publish(): void;
  /** The slots from `slot` on are not published: what was staged there goes back. */
  takeBackFrom(slot: number): void;
  /** What is staged, where it is the values themselves. */
  values?(): Value[];
}

/** Where the batching writer stands. */
export interface StorePlace {
  /** The slot of the next value. */
  index: number;
  /** Below it a store needs to look at nothing else. */
  readonly limit: number;
}

/** What `receiveBatch` fills: an array, or a typed array of the layout's element type. */
export interface WritableBatch<Value> {
  /** How many values it can take. */
  readonly length: number;
  /** The values. */
  [index: number]: Value;
}

/** Refuses a typed array as the target of values it would change; `elements` is the one that fits. */
export function checkTarget(out: unknown, elements?: string): void {
  if (!ArrayBuffer.isView(out)) return;
  const fitting = elements === undefined ? "an array" : `an array or ${withArticle(elements)}`;
  throw wrongType("receive a batch", "the target", fitting, out);
}

/** The most values a target takes. Its `length` is read once: a Proxy can say another one every time. */
export function targetLength(out: { readonly length: number }): number {
  const action = "receive a batch";
  if (!isTypedArray(out)) return checkInteger(action, "the length of the target", out.length, 0);
  checkMemory(action, out);
  return lengthOf(out);
}

/** Slots seen in place. A typed array for numbers, a {@linkcode StructWindow} for structs. */
export interface Window<Value> {
  /** How many values there are. */
  readonly length: number;
  /** The value at `index`, or `undefined` beyond the window. */
  at(index: number): Value | undefined;
}

/** A ring of records as a record codec sees it. */
export interface RecordView {
  readonly memory: ArrayBuffer;
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  /** The same bytes with Node's string methods. */
  readonly buffer: RecordBuffer;
  /** Set by `encode`: the flags of the record just encoded. */
  flags: number;
  /** Scratch for a decoder: text decoded ahead, and the bytes of the ring it stands for. */
  text: string;
  textStart: number;
  textEnd: number;
  /** The bytes of the ring that are readable now; what lies outside may change at any time. */
  windowEnd: number;
}

/** The string methods of Node's Buffer that are used, with offsets and so without subarrays. */
export interface RecordBuffer extends Uint8Array {
  utf8Write(text: string, offset: number, length: number): number;
  latin1Slice(start: number, end: number): string;
  utf8Slice(start: number, end: number): string;
  copy(target: RecordBuffer, targetStart: number, start: number, end: number): number;
}

/** A message of variable length: a header, then the payload. */
export interface RecordCodec<Value> {
  readonly kind: "record";
  /**
   * Puts a value's payload at byte `offset`, where `room` bytes are free (fewer than 0 where not
   * even the header fits), and sets `view.flags`.
   *
   * @returns The payload's bytes; or, when they are more than `room`, `-1 - bytes`, and nothing of
   *   use was written. Given so much room a second call must succeed.
   */
  encode(view: RecordView, offset: number, room: number, value: Value): number;
  /**
   * Takes a value out of `length` bytes at `offset`. Throws if they are not one. The bytes can change at
   * any time: each is read once, into private memory, before anything depends on it.
   */
  decode(view: RecordView, offset: number, length: number, flags: number): Value;
}

/** Either kind. */
export type Codec<Value, Batch> = FixedCodec<Value, Batch> | RecordCodec<Value>;

/** Bytes of a slot of a ring of records, and of a record's header. */
export const recordSlotBytes = 8;
/** A record that fills the end of a ring; it carries no message. */
export const flagPadding = 1;
/** The payload is ASCII. */
export const flagAscii = 2;
/** The payload is the handle of a slab, which holds the message. */
export const flagPooled = 4;
