/**
 * Typed arrays as they are, not as they say they are: whichever realm made them (the context of a
 * `node:vm`, a test runner), whatever a subclass overrides, and whether their memory is still there.
 *
 * @module
 */

import { withArticle } from "./describe.ts";

/** Any typed array. */
export interface TypedArray extends ArrayBufferView<ArrayBufferLike> {
  readonly length: number;
}

// The getters cost 20 to 40 ns in Bun: those of this realm are told by their class, and by isView(), for a
// prototype alone makes no array.
const { isView } = ArrayBuffer;
const AnyTypedArray: new () => TypedArray = Object.getPrototypeOf(Uint8Array);
const prototype = AnyTypedArray.prototype;
const { at } = prototype as { at(index: number): unknown };
const nameGetter = getterOf(prototype, Symbol.toStringTag);
const lengthGetter = getterOf(prototype, "length");
const sharedLengthGetter = getterOf(SharedArrayBuffer.prototype, "byteLength");

/** The getters of the language read internal slots: no property of a value can lie to them. */
function getterOf(of: object, name: PropertyKey): () => unknown {
  return Object.getOwnPropertyDescriptor(of, name)?.get as () => unknown;
}

/** The name of the constructor, as "Uint8Array"; undefined for what is no typed array. */
export function typedArrayName(value: unknown): string | undefined {
  return nameGetter.call(value) as string | undefined;
}

/** Whether it is any typed array. */
export function isTypedArray(value: unknown): value is TypedArray {
  return isView(value) && (value instanceof AnyTypedArray || typedArrayName(value) !== undefined);
}

/** Whether it is a Uint8Array, or of a class derived from it. */
export function isUint8Array(value: unknown): value is Uint8Array {
  return isView(value) && (value instanceof Uint8Array || typedArrayName(value) === "Uint8Array");
}

/** Whether it is what this constructor makes, in any realm. */
export function isOf<Elements extends TypedArray>(
  value: unknown,
  constructor: { readonly name: string; new (length: number): Elements },
): value is Elements {
  return isView(value) &&
    (value instanceof constructor || typedArrayName(value) === constructor.name);
}

/** Whether it is a BigUint64Array of so many elements. */
export function isBigUint64Array(value: unknown, length: number): value is BigUint64Array {
  return typedArrayName(value) === "BigUint64Array" && lengthOf(value as BigUint64Array) === length;
}

/** A private copy of a BigUint64Array of so many elements; undefined if it is none. */
export function copyOfWords(value: unknown, length: number): BigUint64Array | undefined {
  return isBigUint64Array(value, length) ? new BigUint64Array(value) : undefined;
}

/** How many elements it has now: 0 also when its memory is gone. */
export function lengthOf(array: TypedArray): number {
  return lengthGetter.call(array) as number;
}

/**
 * Throws a `TypeError` if the memory of a typed array is gone: transferred away, or its resizable buffer has
 * become too short for it. Such an array has length 0, and would pass for an empty one.
 */
export function checkMemory(action: string, array: TypedArray): void {
  if (lengthOf(array) !== 0) return;
  try {
    at.call(array, 0);
  } catch {
    throw new TypeError(
      `Cannot ${action}: expected a typed array with its memory, received ${
        withArticle(typedArrayName(array) ?? "typed array")
      } whose buffer was transferred away or has become too short`,
    );
  }
}

/** Whether it is a SharedArrayBuffer. */
export function isSharedArrayBuffer(value: unknown): value is SharedArrayBuffer {
  try {
    sharedLengthGetter.call(value);
    return true;
  } catch {
    return false;
  }
}
