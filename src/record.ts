/**
 * The layouts of messages of variable length: bytes, text and JSON.
 *
 * @module
 */

import type { RecordCodec } from "./codec.ts";
import { describe } from "./describe.ts";
import { aliasLayout, defineLayout, type Layout } from "./layout.ts";
import { decodeText, encodeText } from "./text.ts";
import { checkMemory, isUint8Array, lengthOf } from "./typed_array.ts";

const bytesCodec: RecordCodec<Uint8Array> = {
  kind: "record",
  encode(view, offset, room, value) {
    if (!isUint8Array(value)) {
      throw new TypeError(
        `Cannot send as bytes: expected a Uint8Array, received ${describe(value)}`,
      );
    }
    const length = lengthOf(value);
    if (length === 0) checkMemory("send as bytes", value);
    if (length > room) return -1 - length;
    view.flags = 0;
    view.u8.set(value, offset);
    return length;
  },
  // One pass over the ring, of a length known before.
  decode: (view, offset, length) => view.u8.slice(offset, offset + length),
};

/**
 * Byte strings of any length. What is received is a copy of its own; `readable()` gives views.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { bytes, mpsc } from "millrace";
 *
 * using channel = mpsc(bytes, { capacity: 4096 });
 * const sender = channel.sender();
 * const receiver = channel.receiver();
 * sender.trySend(new Uint8Array([1, 2, 3]));
 * assert((await receiver.receive()).length === 3);
 * ```
 */
export const bytes: Layout<Uint8Array> = defineLayout({ kind: "bytes" }, bytesCodec);

const utf8Codec: RecordCodec<string> = {
  kind: "record",
  encode(view, offset, room, value) {
    if (typeof value !== "string") {
      throw new TypeError(`Cannot send as utf8: expected a string, received ${describe(value)}`);
    }
    return encodeText(view, offset, room, value);
  },
  decode: decodeText,
};

/**
 * Strings, as UTF-8. A lone surrogate arrives as U+FFFD, as everywhere in UTF-8.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, utf8 } from "millrace";
 *
 * using channel = mpsc(utf8, { capacity: 4096 });
 * const sender = channel.sender();
 * const receiver = channel.receiver();
 * sender.trySend("Grüße");
 * assert((await receiver.receive()) === "Grüße");
 * ```
 */
export const utf8: Layout<string> = defineLayout({ kind: "utf8" }, utf8Codec);

function stringify(value: unknown): string {
  const text = JSON.stringify(value);
  if (text === undefined) {
    throw new TypeError(
      `Cannot send as json: expected a value JSON can express, received ${describe(value)}`,
    );
  }
  return text;
}

const jsonCodec: RecordCodec<unknown> = {
  kind: "record",
  encode: (view, offset, room, value) => encodeText(view, offset, room, stringify(value)),
  decode: (view, offset, length, flags) => JSON.parse(decodeText(view, offset, length, flags)),
};

/** What JSON can express. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined };

/**
 * The layout of JSON: a layout as it stands, and a function that gives it the type of your values.
 */
export interface JsonLayout extends Layout<JsonValue> {
  /** The same layout, for values of type `Value`; JSON is not checked against it. */
  <Value>(): Layout<Value>;
}

const jsonLayout: Layout<JsonValue> = defineLayout(
  { kind: "json" },
  jsonCodec as RecordCodec<JsonValue>,
);

/**
 * Any value JSON can express: `json`, or with the type of what you send, `json<Order>()`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { json, mpsc } from "millrace";
 *
 * using channel = mpsc(json<{ id: number }>(), { capacity: 4096 });
 * const sender = channel.sender();
 * const receiver = channel.receiver();
 * sender.trySend({ id: 1 });
 * assert((await receiver.receive()).id === 1);
 * ```
 */
export const json: JsonLayout = aliasLayout(
  Object.assign(<Value>() => jsonLayout as Layout<unknown> as Layout<Value>, {
    spec: jsonLayout.spec,
  }),
  jsonLayout,
);
