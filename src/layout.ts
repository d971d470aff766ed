/**
 * Layouts: how a value lies in a ring. A layout is what a channel is made of and what its tickets
 * carry; the codec behind it is found from its spec, on either side.
 *
 * @module
 */

import type { Codec } from "./codec.ts";
import { copyHere, otherCopy, sign } from "./copies.ts";
import { describe } from "./describe.ts";

/**
 * What a batch of values is received as, if no more is known than what a value is: of numbers and bigints
 * a typed array or an array, of anything else an array. So a `Sender<number>` is a sender of any layout of
 * numbers.
 */
export type BatchOf<Value> = [Value] extends [number] ? number[] | NumberArray
  : [Value] extends [bigint] ? bigint[] | BigInt64Array | BigUint64Array
  : Value[];

/** The typed arrays of numbers that layouts have. */
export type NumberArray =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Float32Array
  | Float64Array;

/**
 * Describes how values of type `Value` lie in memory, and that a batch of them is a `Batch`.
 * Made by {@linkcode u32} and its kin, {@linkcode struct}, {@linkcode bytes}, {@linkcode utf8},
 * {@linkcode json} and {@linkcode custom}.
 *
 * @typeParam Value What is sent and received.
 * @typeParam Batch What a batch of values is received as: a typed array for numbers, else an array.
 */
export interface Layout<Value, Batch = Value[]> {
  /** What travels in a ticket: enough to find the same layout on the other side. */
  readonly spec: LayoutSpec;
  /** Only for the type checker: nothing is stored here. */
  readonly types?: readonly [Value, Batch];
}

/** The type of the values of a layout. */
export type ValueOf<L> = L extends Layout<infer Value, infer _> ? Value : never;

/** The names of the scalar layouts. */
export type ScalarName =
  | "u8"
  | "i8"
  | "u16"
  | "i16"
  | "u32"
  | "i32"
  | "f32"
  | "f64"
  | "u64"
  | "i64";

/** A layout as plain data, as it travels in a ticket. */
export type LayoutSpec =
  | { readonly kind: ScalarName | "bytes" | "utf8" | "json" | "slab" }
  | { readonly kind: "struct"; readonly fields: readonly (readonly [string, LayoutSpec])[] }
  | { readonly kind: "custom"; readonly name: string };

const codecs = new WeakMap<object, Codec<unknown, unknown>>();

/** Makes a layout of a spec and its codec. */
export function defineLayout<Value, Batch>(
  spec: LayoutSpec,
  codec: Codec<Value, Batch>,
): Layout<Value, Batch> {
  const layout = Object.freeze(sign({ spec: Object.freeze(spec) }));
  codecs.set(layout, codec as Codec<unknown, unknown>);
  return layout;
}

/** Lets another object stand for a layout. */
export function aliasLayout<Alias extends object>(
  alias: Alias,
  layout: object,
): Alias {
  codecs.set(alias, codecs.get(layout) as Codec<unknown, unknown>);
  return Object.freeze(sign(alias));
}

/** The codec of a layout. Throws a `TypeError` for what is not a layout. */
export function codecOf<Value, Batch>(layout: Layout<Value, Batch>): Codec<Value, Batch> {
  const isObject = (typeof layout === "object" && layout !== null) || typeof layout === "function";
  const codec = isObject ? codecs.get(layout) : undefined;
  if (codec === undefined) {
    const other = isObject ? otherCopy(layout) : undefined;
    if (other !== undefined) {
      throw new TypeError(
        `Cannot use a layout: expected one of this copy of Millrace (${copyHere}), received one of ` +
          `another copy (${other}); import both from the same one`,
      );
    }
    throw new TypeError(
      `Cannot use a layout: expected one of u8 … i64, struct(), bytes, utf8, json or custom(), ` +
        `received ${describe(layout)}`,
    );
  }
  return codec as Codec<Value, Batch>;
}
