/**
 * The reason a channel was closed with, carried through its control block.
 *
 * @module
 */

import { CloseState, Limits } from "../ffi/abi.ts";
import type { Endpoint } from "./endpoint.ts";
import { ChannelClosedError, MillraceError } from "./errors.ts";

/** A reason, boxed: it can be any value, undefined too. */
export interface ClosingReason {
  readonly reason: unknown;
}

/** The longest message that is carried; with the name and JSON around it, it fits the control block. */
const messageCharactersMax = 128;

/**
 * Turns a reason into the bytes the control block holds. Errors keep name and message, other values
 * travel as JSON, and what does not fit as its first characters.
 */
export function encodeReason(reason: unknown): Uint8Array {
  const encoder = new TextEncoder();
  let encoded = encoder.encode(JSON.stringify(describeReason(reason)));
  if (encoded.length > Limits.reasonBytes) {
    encoded = encoder.encode(
      JSON.stringify({ value: toText(reason).slice(0, messageCharactersMax) }),
    );
  }
  return encoded;
}

/** Text for any value: a reason that cannot be turned into a string must not keep a close back. */
function toText(reason: unknown): string {
  try {
    return String(reason);
  } catch {
    return "a reason that cannot be shown";
  }
}

function describeReason(reason: unknown): { error: [string, string] } | { value?: unknown } {
  try {
    if (reason === undefined) return {};
    if (reason instanceof Error) {
      const [name, message] = [toText(reason.name), toText(reason.message)];
      return {
        error: [name.slice(0, messageCharactersMax), message.slice(0, messageCharactersMax)],
      };
    }
    const text = JSON.stringify(reason);
    return { value: text === undefined ? toText(reason) : JSON.parse(text) };
  } catch {
    return { value: toText(reason) };
  }
}

/** The error of a channel whose other side, in another process, is gone. */
export function peerDied(
  action: "send" | "receive",
  ...unsent: [value: unknown] | []
): ChannelClosedError {
  return new ChannelClosedError(
    "PEER_DIED",
    `Cannot ${action}: the process at the other side of the channel is gone`,
    ...unsent,
  );
}

/** The reason the endpoint's channel was closed with, or undefined if it was closed without. */
export function readReason(endpoint: Endpoint): ClosingReason | undefined {
  if (endpoint.handle === 0) return undefined;
  if (endpoint.symbols.millrace_endpoint_close_state(endpoint.handle) === CloseState.peerDied) {
    return { reason: peerDied("receive") };
  }
  const buffer = new Uint8Array(Limits.reasonBytes);
  const length = endpoint.symbols.millrace_endpoint_reason(endpoint.handle, buffer, buffer.length);
  if (length <= 0) return undefined;
  try {
    const { error, value } = JSON.parse(new TextDecoder().decode(buffer.subarray(0, length)));
    if (error === undefined) return { reason: value };
    const [name, message] = error;
    const revived = new MillraceError("CHANNEL_CLOSED", String(message));
    revived.name = String(name);
    return { reason: revived };
  } catch {
    return undefined;
  }
}
