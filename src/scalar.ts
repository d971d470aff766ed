/**
 * The layouts of single numbers: one slot, one element of a typed array.
 *
 * @module
 */

import { checkTarget, type FixedCodec, type WritableBatch } from "./codec.ts";
import { describe } from "./describe.ts";
import { defineLayout, type Layout, type ScalarName } from "./layout.ts";
import { isOf, lengthOf, type TypedArray } from "./typed_array.ts";

/** A typed array as the codecs below need it. */
interface NumberArray<Value> extends WritableBatch<Value> {
  readonly BYTES_PER_ELEMENT: number;
  at(index: number): Value | undefined;
  set(values: ArrayLike<Value>, offset?: number): void;
  slice(from?: number, to?: number): this;
  subarray(from?: number, to?: number): this;
}

interface NumberArrayConstructor<Value, Batch> {
  readonly BYTES_PER_ELEMENT: number;
  readonly name: string;
  readonly prototype: Batch;
  new (
    memory: ArrayBufferLike | number,
    byteOffset?: number,
    length?: number,
  ): Batch & NumberArray<Value>;
}

/** What the elements of a scalar layout can be. */
interface Range {
  /** Completes "expected …". */
  readonly expected: string;
  /** A value of another type is a `TypeError`. */
  readonly isBigint: boolean;
  fits(value: unknown): boolean;
}

function rejected(name: ScalarName, range: Range, value: unknown): Error {
  const message = `Cannot send as ${name}: expected ${range.expected}, received ${describe(value)}`;
  const isOfType = range.isBigint ? typeof value === "bigint" : typeof value === "number";
  return isOfType ? new RangeError(message) : new TypeError(message);
}

/** The codec of one scalar. Its `write` stays a check and a store once the compiler inlined it. */
function scalarCodec<Value, Batch extends object>(
  name: ScalarName,
  Elements: NumberArrayConstructor<Value, Batch>,
): FixedCodec<Value, Batch, Batch & NumberArray<Value>> {
  type View = Batch & NumberArray<Value>;
  const range = ranges[name];
  const { fits } = range;
  const write = (view: View, slot: number, value: Value) => {
    if (!fits(value)) throw rejected(name, range, value);
    view[slot] = value;
  };
  const Own = Elements as unknown as new (length: number) => View & TypedArray;
  /** A subarray() of a subclass can be anything. */
  const partOf = ({ buffer, byteOffset }: TypedArray, from: number, count: number) =>
    new Elements(buffer, byteOffset + from * Elements.BYTES_PER_ELEMENT, count);
  return {
    kind: "fixed",
    slotBytes: Elements.BYTES_PER_ELEMENT,
    // A value whose valueOf() was called is no number: it is refused, and nothing is stored.
    runsUserCode: false,
    bind: (memory) => new Elements(memory),
    write,
    bindStore: (view, place) => (value) => {
      const { index } = place;
      if (index < place.limit && fits(value)) {
        view[index] = value;
        place.index = index + 1;
        return true;
      }
      return false;
    },
    read: (view, slot) => view[slot] as Value,
    writeMany(view, slot, values, from, count) {
      // The same element type needs no check of each value, and is one copy.
      const length = isOf(values, Own) ? lengthOf(values) : -1;
      if (from + count <= length) {
        const own = values as View & TypedArray;
        view.set(count === length ? own : partOf(own, from, count), slot);
        return;
      }
      for (let index = 0; index < count; index++) {
        write(view, slot + index, values[from + index] as Value);
      }
    },
    readMany: (view, slot, count) => view.slice(slot, slot + count),
    readInto(view, slot, count, out, at) {
      if (isOf(out, Own)) {
        // By the language's own set(): a subclass may have another.
        view.set.call(out, view.subarray(slot, slot + count), at);
        return;
      }
      checkTarget(out, Elements.name);
      for (let index = 0; index < count; index++) out[at + index] = view[slot + index] as Value;
    },
    join(batches) {
      const parts = batches as View[];
      const joined = new Elements(parts.reduce((length, part) => length + part.length, 0));
      let at = 0;
      for (const part of parts) {
        joined.set(part, at);
        at += part.length;
      }
      return joined;
    },
    window: (view, slot, count) => view.subarray(slot, slot + count),
  };
}

type Fits = (value: unknown) => boolean;

function integers(least: number, greatest: number, fits: Fits): Range {
  return { expected: `an integer from ${least} to ${greatest}`, isBigint: false, fits };
}

function bigints(least: bigint, greatest: bigint): Range {
  return {
    expected: `a bigint from ${least}n to ${greatest}n`,
    isBigint: true,
    fits: (value) => typeof value === "bigint" && value >= least && value <= greatest,
  };
}

const ranges = {
  u8: integers(0, 0xff, (value) => typeof value === "number" && (value & 0xff) === value),
  i8: integers(
    -0x80,
    0x7f,
    (value) => typeof value === "number" && ((value << 24) >> 24) === value,
  ),
  u16: integers(0, 0xffff, (value) => typeof value === "number" && (value & 0xffff) === value),
  i16: integers(
    -0x8000,
    0x7fff,
    (value) => typeof value === "number" && ((value << 16) >> 16) === value,
  ),
  u32: integers(0, 0xffff_ffff, (value) => typeof value === "number" && (value >>> 0) === value),
  i32: integers(
    -0x8000_0000,
    0x7fff_ffff,
    (value) => typeof value === "number" && (value | 0) === value,
  ),
  f32: {
    expected: "a number that a 32-bit float can hold",
    isBigint: false,
    fits: (value) =>
      typeof value === "number" && (!Number.isFinite(value) || Number.isFinite(Math.fround(value))),
  },
  f64: { expected: "a number", isBigint: false, fits: (value) => typeof value === "number" },
  u64: bigints(0n, 2n ** 64n - 1n),
  i64: bigints(-(2n ** 63n), 2n ** 63n - 1n),
} satisfies Record<ScalarName, Range>;

function define<Value, Batch extends object>(
  name: ScalarName,
  Elements: NumberArrayConstructor<Value, Batch>,
): Layout<Value, Batch> {
  return defineLayout({ kind: name }, scalarCodec(name, Elements));
}

/** Unsigned 8-bit integers. */
export const u8: Layout<number, Uint8Array> = define("u8", Uint8Array);

/** Signed 8-bit integers. */
export const i8: Layout<number, Int8Array> = define("i8", Int8Array);

/** Unsigned 16-bit integers. */
export const u16: Layout<number, Uint16Array> = define("u16", Uint16Array);

/** Signed 16-bit integers. */
export const i16: Layout<number, Int16Array> = define("i16", Int16Array);

/**
 * Unsigned 32-bit integers.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, u32 } from "millrace";
 *
 * using channel = mpsc(u32, { capacity: 8 });
 * const sender = channel.sender();
 * const receiver = channel.receiver();
 * sender.sendBatch([1, 2, 3]);
 * const batch: Uint32Array = receiver.receiveBatch(8);
 * assert(batch.join() === "1,2,3");
 * ```
 */
export const u32: Layout<number, Uint32Array> = define("u32", Uint32Array);

/** Signed 32-bit integers. */
export const i32: Layout<number, Int32Array> = define("i32", Int32Array);

/** 32-bit floats: a number is rounded to the nearest one; one beyond their range is refused. */
export const f32: Layout<number, Float32Array> = define("f32", Float32Array);

/** 64-bit floats: every JavaScript number. */
export const f64: Layout<number, Float64Array> = define("f64", Float64Array);

/** Unsigned 64-bit integers, as bigint. */
export const u64: Layout<bigint, BigUint64Array> = define("u64", BigUint64Array);

/** Signed 64-bit integers, as bigint. */
export const i64: Layout<bigint, BigInt64Array> = define("i64", BigInt64Array);

/** Every scalar layout by its name. */
export const scalars: Record<ScalarName, Layout<number, object> | Layout<bigint, object>> = {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  f64,
  u64,
  i64,
};

/** Whether `value` may be sent as the scalar `name`; throws what is wrong with it. */
export function checkScalar(name: ScalarName, value: unknown): void {
  if (!ranges[name].fits(value)) throw rejected(name, ranges[name], value);
}
