/**
 * Layouts of a user's own codec.
 *
 * @module
 */

import type { RecordCodec } from "./codec.ts";
import { describe } from "./describe.ts";
import { defineLayout, type Layout } from "./layout.ts";
import { copyPrivately, releaseCopy } from "./private_copy.ts";
import { checkMemory, isUint8Array, lengthOf } from "./typed_array.ts";

/** A user's codec for messages of variable length. */
export interface CustomCodec<Value> {
  /** The name under which both sides register it; it travels in tickets. */
  readonly name: string;
  /** Turns a value into bytes. What it throws, the send throws, and nothing is sent. */
  encode(value: Value): Uint8Array;
  /**
   * Turns bytes into a value. `bytes` is a copy that no one else can change, in memory that is used
   * again: it is good only during the call, so copy what is to be kept.
   */
  decode(bytes: Uint8Array): Value;
}

const registered = new Map<string, Layout<unknown>>();

/**
 * Registers a codec of your own and returns its layout. A ticket carries only the name, so a Worker
 * must call `custom()` with the same name before it opens one. Registering a name again replaces
 * the codec for channels made later.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { custom, mpsc } from "millrace";
 *
 * const date = custom<Date>({
 *   name: "date",
 *   encode: (value) => new Uint8Array(new Float64Array([value.getTime()]).buffer),
 *   decode: (bytes) => new Date(new Float64Array(bytes.slice().buffer)[0] ?? 0),
 * });
 * using channel = mpsc(date, { capacity: 1024 });
 * const sender = channel.sender();
 * const receiver = channel.receiver();
 * sender.trySend(new Date(0));
 * assert((await receiver.receive()).getTime() === 0);
 * ```
 *
 * @throws {TypeError} If the name is not a non-empty string or a function is missing.
 */
export function custom<Value>(codec: CustomCodec<Value>): Layout<Value> {
  const { name, encode, decode } = codec ?? {};
  if (typeof name !== "string" || name === "") {
    throw new TypeError(
      `Cannot make a custom layout: name must be a non-empty string, received ${describe(name)}`,
    );
  }
  if (typeof encode !== "function" || typeof decode !== "function") {
    throw new TypeError(
      `Cannot make the custom layout ${
        describe(name)
      }: expected the functions encode and decode, ` +
        `received ${describe(encode)} and ${describe(decode)}`,
    );
  }
  const encodeChecked = (value: Value): Uint8Array => {
    const encoded = codec.encode(value);
    if (isUint8Array(encoded)) {
      if (lengthOf(encoded) === 0) checkMemory(`send as ${describe(name)}`, encoded);
      return encoded;
    }
    throw new TypeError(
      `Cannot send as ${describe(name)}: encode() must return a Uint8Array, received ${
        describe(encoded)
      }`,
    );
  };
  const records: RecordCodec<Value> = {
    kind: "record",
    encode(view, offset, room, value) {
      const encoded = encodeChecked(value);
      const length = lengthOf(encoded);
      if (length > room) return -1 - length;
      view.flags = 0;
      view.u8.set(encoded, offset);
      return length;
    },
    decode(view, offset, length) {
      const copy = copyPrivately(view, offset, length);
      try {
        return codec.decode(copy.u8.subarray(0, length));
      } finally {
        releaseCopy(copy);
      }
    },
  };
  const layout = defineLayout<Value, Value[]>({ kind: "custom", name }, records);
  registered.set(name, layout as Layout<unknown>);
  return layout;
}

/** The layout registered under `name`, if any. */
export function customByName(name: string): Layout<unknown> | undefined {
  return registered.get(name);
}
