/**
 * The reason a channel was closed with, carried through its control block.
 *
 * @module
 */

import { CloseState, Limits } from "../ffi/abi.ts";
import type { Endpoint } from "./endpoint.ts";
import {
  ChannelClosedError,
  ConnectError,
  CorruptSegmentError,
  DeadlockError,
  HugePagesError,
  LayoutError,
  LibraryError,
  MillraceError,
  NumaError,
  OutOfMemoryError,
  ReceiverTakenError,
  SlabError,
  TicketError,
  TimeoutError,
  TooManyError,
  WrongThreadError,
} from "./errors.ts";

/** A reason, boxed: it can be any value, undefined too. */
export interface ClosingReason {
  readonly reason: unknown;
}

/** What is carried of an error. */
interface ErrorFields {
  name: string;
  message: string;
  /** Its `code`, if that is a string. */
  code?: string;
  /** Its `cause`, described as a reason is. */
  cause?: Described;
  /** A DOMException: its class does not follow from its name. */
  dom?: true;
}

/** An error, a value, or (neither) undefined. It travels as JSON. */
type Described = { error?: ErrorFields; value?: unknown };

const encoder = new TextEncoder();
const ellipsis = "…";
const ellipsisBytes = 3;
/** The longest name and code; what stands for an error must leave room for its message. */
const nameBytesMax = 128;
/** With less room than this a cause is not begun. */
const causeBytesMin = 192;

/**
 * Turns a reason into the bytes the control block holds. Errors keep name, message, `code` and causes,
 * other values travel as JSON. What does not fit is cut, and ends with "…".
 */
export function encodeReason(reason: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(describeReason(reason, Limits.reasonBytes)));
}

function bytesOf(described: unknown): number {
  return encoder.encode(JSON.stringify(described)).length;
}

/** Describes any value, in so many bytes of JSON. Its own code can throw: that must not keep a close back. */
function describeReason(reason: unknown, room: number): Described {
  if (reason === undefined) return {};
  try {
    if (isError(reason)) return { error: describeError(reason, room - bytesOf({ error: 0 })) };
  } catch {
    // A proxy, perhaps.
  }
  if (typeof reason !== "string") {
    const text = toJson(reason);
    if (text !== undefined) {
      const described = { value: JSON.parse(text) };
      if (bytesOf(described) <= room) return described;
      return { value: cut(text, room - bytesOf({ value: "" })) };
    }
  }
  return { value: cut(toText(reason), room - bytesOf({ value: "" })) };
}

function describeError(error: Error, room: number): ErrorFields {
  const nameRoom = Math.min(nameBytesMax, room >>> 2);
  const fields: ErrorFields = { name: cut(textOf(error, "name"), nameRoom), message: "" };
  const code = valueOf(error, "code");
  if (typeof code === "string") fields.code = cut(code, nameRoom);
  if (isDomException(error)) fields.dom = true;
  fields.message = cut(textOf(error, "message"), room - bytesOf(fields));
  const cause = valueOf(error, "cause");
  const left = room - bytesOf(fields) - ',"cause":'.length;
  if (cause !== undefined && left >= causeBytesMin) fields.cause = describeReason(cause, left);
  return fields;
}

/** The beginning of a text, of so many bytes as a string of JSON without its quotes. */
function cut(text: string, room: number): string {
  let used = 0;
  let kept = 0;
  let keptWithEllipsis = 0;
  for (const character of text) {
    used += bytesOf(character) - 2;
    if (used > room) return text.slice(0, keptWithEllipsis) + ellipsis;
    kept += character.length;
    if (used <= room - ellipsisBytes) keptWithEllipsis = kept;
  }
  return text;
}

function toJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}

function toText(reason: unknown): string {
  try {
    return String(reason);
  } catch {
    return "a reason that cannot be shown";
  }
}

function valueOf(error: Error, key: string): unknown {
  try {
    return (error as unknown as Record<string, unknown>)[key];
  } catch {
    return undefined;
  }
}

function textOf(error: Error, key: "name" | "message"): string {
  return toText(valueOf(error, key));
}

/** Of any realm. */
function isError(value: unknown): value is Error {
  return value instanceof Error || Object.prototype.toString.call(value) === "[object Error]";
}

function isDomException(error: Error): boolean {
  return typeof DOMException === "function" && error instanceof DOMException;
}

/** The reason the endpoint's channel was closed with, or undefined if it was closed without. */
export function readReason(endpoint: Endpoint): ClosingReason | undefined {
  if (endpoint.handle === 0) return undefined;
  // A copy: another process may be writing there.
  const buffer = new Uint8Array(Limits.reasonBytes);
  const length = endpoint.symbols.millrace_endpoint_reason(endpoint.handle, buffer, buffer.length);
  if (length <= 0) return undefined;
  const text = new TextDecoder().decode(buffer.subarray(0, length));
  return { reason: reviveText(text) };
}

/** What is not as JavaScript writes it is the text that native code gave. */
function reviveText(text: string): unknown {
  try {
    const described: unknown = JSON.parse(text);
    return isDescribed(described) ? revive(described) : text;
  } catch {
    return text;
  }
}

function isDescribed(value: unknown): value is Described {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const keys = Object.keys(value);
  return keys.length === 0 || (keys.length === 1 && (keys[0] === "error" || keys[0] === "value"));
}

function revive({ error, value }: Described): unknown {
  if (error === undefined) return value;
  // Whatever wrote it: nothing is what it should be until it has been looked at.
  const { name, message, code, cause, dom } = (error ?? {}) as {
    readonly [Key in keyof ErrorFields]?: unknown;
  };
  const revived = errorOfName(
    String(name),
    String(message),
    typeof code === "string" ? code : undefined,
    dom === true,
  );
  if (isDescribed(cause)) define(revived, "cause", revive(cause));
  return revived;
}

const builtIns = new Map(Object.entries({
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
}));

/** Millrace's, all of which are made of a code and a message. */
const ownClasses = new Map(Object.entries({
  MillraceError,
  ChannelClosedError,
  ConnectError,
  CorruptSegmentError,
  DeadlockError,
  HugePagesError,
  LayoutError,
  LibraryError,
  NumaError,
  OutOfMemoryError,
  ReceiverTakenError,
  SlabError,
  TicketError,
  TimeoutError,
  TooManyError,
  WrongThreadError,
}));

/** An error of the same class, if that is a known one; else an `Error` of that name. */
function errorOfName(
  name: string,
  message: string,
  code: string | undefined,
  isDom: boolean,
): Error {
  if (isDom && typeof DOMException === "function") return new DOMException(message, name);
  const own = code === undefined ? undefined : ownClasses.get(name);
  let revived: Error;
  if (own !== undefined) {
    revived = new own(code as string, message);
  } else {
    revived = new (builtIns.get(name) ?? Error)(message);
    if (revived.name !== name) define(revived, "name", name);
    if (code !== undefined) define(revived, "code", code, true);
  }
  // Where it was made cannot be told, and where it was revived helps no one.
  define(revived, "stack", `${name}: ${message}`);
  return revived;
}

function define(error: Error, key: string, value: unknown, isEnumerable = false): void {
  const enumerable = isEnumerable;
  Object.defineProperty(error, key, { value, enumerable, writable: true, configurable: true });
}

/** Gives an error the reason as its `cause`, if there is one. */
export function withCause<Failure extends Error>(
  error: Failure,
  closing: ClosingReason | undefined,
): Failure {
  if (closing !== undefined) define(error, "cause", closing.reason);
  return error;
}

/** The error of a channel whose other side, in another process, is gone. */
function peerDied(action: string, unsent: [value: unknown] | []): ChannelClosedError {
  return new ChannelClosedError(
    "PEER_DIED",
    `Cannot ${action}: the process at the other side of the channel is gone; use another channel`,
    ...unsent,
  );
}

/**
 * The error of an operation on a channel that is closed; the reason it was closed with is the `cause`.
 * `state` completes "Cannot … : the channel is".
 */
export function closedError(
  endpoint: Endpoint,
  action: string,
  state: "closed" | "closed and drained",
  ...unsent: [value: unknown] | []
): ChannelClosedError {
  const { handle, symbols } = endpoint;
  if (handle !== 0 && symbols.millrace_endpoint_close_state(handle) === CloseState.peerDied) {
    return peerDied(action, unsent);
  }
  const closing = readReason(endpoint);
  const because = closing === undefined ? "" : `, because of ${brief(closing.reason)}`;
  const message = `Cannot ${action}: the channel is ${state}${because}`;
  return withCause(new ChannelClosedError("CHANNEL_CLOSED", message, ...unsent), closing);
}

/**
 * The error that a receiver ends with, if the end is no clean one: the channel was closed with a reason,
 * or the process at its other side has died.
 */
export function failureOf(endpoint: Endpoint): ChannelClosedError | undefined {
  const error = closedError(endpoint, "receive", "closed and drained");
  return "cause" in error || error.code === "PEER_DIED" ? error : undefined;
}

const briefCharacters = 200;

/** A reason as part of a sentence. */
function brief(reason: unknown): string {
  const text = reason instanceof Error
    ? `${reason.name}: ${reason.message}`
    : toJson(reason) ?? toText(reason);
  return text.length > briefCharacters ? text.slice(0, briefCharacters) + ellipsis : text;
}
