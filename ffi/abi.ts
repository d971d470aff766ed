/**
 * The one table of native symbols, for both runtimes. A test holds it equal to the exports of the
 * library and to the declarations of `zig/include/millrace.h`.
 *
 * @module
 */

/** The native types in use: an endpoint handle and every count is a `u32`, every answer an `i32`. */
export type NativeType = "u32" | "i32" | "buffer";

/** The version of the C ABI this module speaks; the library must answer the same. */
export const abiVersion = 4;

/** Name, parameters (each with its C name) and result of every function the library exports. */
export const symbols = {
  millrace_abi_version: { parameters: [], result: "u32" },
  millrace_channels_alive: { parameters: [], result: "u32" },
  millrace_thread_yield: { parameters: [], result: "i32" },
  millrace_thread_pause: {
    parameters: ["u32"], // uint32_t hints
    result: "i32",
  },
  millrace_channel_create: {
    parameters: [
      "buffer", // const millrace_channel_options *options
    ],
    result: "i32",
  },
  millrace_channel_close: {
    parameters: [
      "u32", // uint32_t channel
      "buffer", // const uint8_t *reason
      "u32", // uint32_t reason_bytes
    ],
    result: "i32",
  },
  millrace_channel_dispose: {
    parameters: ["u32"], // uint32_t channel
    result: "i32",
  },
  millrace_channel_arm_drain: {
    parameters: ["u32"], // uint32_t channel
    result: "i32",
  },
  millrace_ticket_issue: {
    parameters: [
      "u32", // uint32_t channel
      "u32", // uint32_t role
      "buffer", // millrace_ticket *ticket
    ],
    result: "i32",
  },
  millrace_ticket_revoke: {
    parameters: [
      "u32", // uint32_t channel
      "buffer", // const millrace_ticket *ticket
    ],
    result: "i32",
  },
  millrace_endpoint_open: {
    parameters: [
      "buffer", // const millrace_ticket *ticket
      "u32", // uint32_t role
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_endpoint_open_on: {
    parameters: [
      "u32", // uint32_t channel
      "u32", // uint32_t role
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_endpoint_close: {
    parameters: ["u32"], // uint32_t endpoint
    result: "i32",
  },
  millrace_endpoint_expose: {
    parameters: ["u32"], // uint32_t endpoint
    result: "i32",
  },
  millrace_endpoint_quarantine: {
    parameters: ["u32"], // uint32_t endpoint
    result: "i32",
  },
  millrace_endpoint_ring: {
    parameters: [
      "u32", // uint32_t endpoint
      "u32", // uint32_t ring
      "buffer", // uint64_t place[2]
    ],
    result: "i32",
  },
  millrace_endpoint_orphans: {
    parameters: ["u32"], // uint32_t endpoint
    result: "i32",
  },
  millrace_endpoint_close_state: {
    parameters: ["u32"], // uint32_t endpoint
    result: "i32",
  },
  millrace_endpoint_reason: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // uint8_t *reason
      "u32", // uint32_t reason_bytes
    ],
    result: "i32",
  },
  millrace_endpoint_statistics: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // millrace_statistics *statistics
    ],
    result: "i32",
  },
  millrace_sender_reserve: {
    parameters: [
      "u32", // uint32_t sender
      "u32", // uint32_t slots_min
    ],
    result: "i32",
  },
  millrace_sender_commit: {
    parameters: [
      "u32", // uint32_t sender
      "u32", // uint32_t slots
      "u32", // uint32_t messages
    ],
    result: "i32",
  },
  millrace_sender_wait: {
    parameters: [
      "u32", // uint32_t sender
      "u32", // uint32_t slots_min
      "u32", // uint32_t strategy
      "u32", // uint32_t timeout_us
    ],
    result: "i32",
  },
  millrace_sender_arm: {
    parameters: [
      "u32", // uint32_t sender
      "u32", // uint32_t slots_min
    ],
    result: "i32",
  },
  millrace_sender_disarm: {
    parameters: ["u32"], // uint32_t sender
    result: "i32",
  },
  millrace_receiver_poll: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_release: {
    parameters: [
      "u32", // uint32_t receiver
      "u32", // uint32_t slots
      "u32", // uint32_t messages
    ],
    result: "i32",
  },
  millrace_receiver_wait: {
    parameters: [
      "u32", // uint32_t receiver
      "u32", // uint32_t strategy
      "u32", // uint32_t timeout_us
    ],
    result: "i32",
  },
  millrace_receiver_arm: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_disarm: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_mark: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_reached_mark: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
} as const satisfies Record<string, { parameters: readonly NativeType[]; result: NativeType }>;

type Argument<Type> = Type extends "buffer" ? Uint8Array | Uint32Array | BigUint64Array : number;
type Arguments<Types extends readonly NativeType[]> = {
  -readonly [Index in keyof Types]: Argument<Types[Index]>;
};

/** The library's functions, as both runtimes present them. */
export type NativeSymbols = {
  readonly [Name in keyof typeof symbols]: (
    ...parameters: Arguments<(typeof symbols)[Name]["parameters"]>
  ) => number;
};

/** What a runtime's foreign function interface gives: the functions, and views of native memory. */
export interface Native {
  /** The functions of the library. */
  readonly symbols: NativeSymbols;
  /** An ArrayBuffer over native memory, which it does not own. */
  mapMemory(address: bigint, bytes: number): ArrayBuffer;
}

/** What a negative answer means: `millrace_status` of the C header. */
export const Status = {
  ok: 0,
  invalidHandle: -1,
  wrongThread: -2,
  tooManyEndpoints: -3,
  outOfMemory: -4,
  invalidArgument: -5,
  channelClosed: -6,
  tooManySenders: -7,
  receiverTaken: -8,
  ticketForeign: -9,
  ticketForged: -10,
  ticketUsed: -11,
  ticketFreed: -12,
  ticketRole: -13,
  ended: -14,
  corrupt: -15,
} as const;

/** Bits of the answers of commit, release and close: which bells the caller has to ring. */
export const Bells = {
  receiver: 1,
  sender: 2,
  drain: 4,
  all: 8,
} as const;

/** `millrace_role`. */
export const Role = { sender: 0, receiver: 1 } as const;

/** Sizes, in bytes, of the structs that cross the boundary. */
export const StructBytes = {
  channelOptions: 20,
  ticket: 32,
  endpointInfo: 24,
  statistics: 104,
  mailbox: 64,
} as const;

/** Limits the library enforces; kept here so that messages can name them before it is loaded. */
export const Limits = {
  slots: 2 ** 30,
  senders: 4096,
  ringBytes: 2 ** 32,
  reasonBytes: 1024,
} as const;
