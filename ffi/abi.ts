/**
 * The one table of native symbols, for both runtimes. A test holds it equal to the exports of the
 * library and to the declarations of `zig/include/millrace.h`.
 *
 * @module
 */

/**
 * The native types in use: an endpoint handle and every count is a `u32`, every answer an `i32`, a time
 * an `f64`.
 */
export type NativeType = "u32" | "i32" | "f64" | "buffer";

/** The version of the C ABI this module speaks; the library must answer the same. */
export const abiVersion = 11;

/** Name, parameters (each with its C name) and result of every function the library exports. */
export const symbols = {
  millrace_abi_version: { parameters: [], result: "u32" },
  millrace_channels_alive: { parameters: [], result: "u32" },
  millrace_now_ms: { parameters: [], result: "f64" },
  millrace_process_reloads: { parameters: [], result: "i32" },
  millrace_process_once: { parameters: [], result: "i32" },
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
  millrace_endpoint_open_weak: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_endpoint_is_alone: {
    parameters: ["u32"], // uint32_t endpoint
    result: "i32",
  },
  millrace_endpoint_abandon: {
    parameters: ["u32"], // uint32_t handle
    result: "i32",
  },
  millrace_channel_forget: {
    parameters: ["u32"], // uint32_t channel
    result: "i32",
  },
  millrace_channel_receivers: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // uint32_t *here
      "u32", // uint32_t here_max
    ],
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
  millrace_ticket_take_back: {
    parameters: [
      "buffer", // const millrace_ticket *ticket
    ],
    result: "i32",
  },
  millrace_ticket_is_outstanding: {
    parameters: [
      "buffer", // const millrace_ticket *ticket
    ],
    result: "i32",
  },
  millrace_endpoint_open_at: {
    parameters: [
      "buffer", // const millrace_ticket *ticket
      "u32", // uint32_t role
      "buffer", // const millrace_place *place
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_endpoint_open_on_at: {
    parameters: [
      "u32", // uint32_t channel
      "u32", // uint32_t role
      "buffer", // const millrace_place *place
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
  millrace_endpoint_poison: {
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
  millrace_endpoint_close_with_reason: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // const uint8_t *reason
      "u32", // uint32_t reason_bytes
    ],
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
  millrace_endpoint_rings: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // millrace_ring_statistics *rings
      "u32", // uint32_t rings_max
    ],
    result: "i32",
  },
  millrace_endpoint_histogram: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // millrace_latency *latency
      "buffer", // millrace_bucket *buckets
      "u32", // uint32_t buckets_max
    ],
    result: "i32",
  },
  millrace_endpoint_placement: {
    parameters: [
      "u32", // uint32_t endpoint
      "u32", // uint32_t ring
      "buffer", // millrace_placement *placement
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
  millrace_sender_force: {
    parameters: [
      "u32", // uint32_t sender
      "u32", // uint32_t slots_min
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
    parameters: [
      "u32", // uint32_t receiver
      "u32", // uint32_t messages_max
    ],
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
  millrace_receivers_wait: {
    parameters: [
      "buffer", // const uint32_t *receivers
      "buffer", // uint32_t *bells
      "u32", // uint32_t count
      "u32", // uint32_t strategy
      "u32", // uint32_t timeout_us
    ],
    result: "i32",
  },
  millrace_receiver_arm: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_event_fd: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_arm_event_fd: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_disarm: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_poll_surely: {
    parameters: [
      "u32", // uint32_t receiver
      "u32", // uint32_t messages_max
    ],
    result: "i32",
  },
  millrace_receiver_look: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_offer: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_mark_seen: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_receiver_pass_on: {
    parameters: ["u32"], // uint32_t receiver
    result: "i32",
  },
  millrace_endpoint_wake_another: {
    parameters: ["u32"], // uint32_t endpoint
    result: "i32",
  },
  millrace_receiver_give_up: {
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
  millrace_numa_topology: {
    parameters: [
      "buffer", // const char *root
      "buffer", // millrace_topology *topology
    ],
    result: "i32",
  },
  millrace_thread_pin_cpu: {
    parameters: ["u32"], // uint32_t cpu
    result: "i32",
  },
  millrace_thread_pin_node: {
    parameters: ["u32"], // uint32_t node
    result: "i32",
  },
  millrace_thread_unpin: { parameters: [], result: "i32" },
  millrace_thread_cpu: { parameters: [], result: "i32" },
  millrace_thread_node: { parameters: [], result: "i32" },
  millrace_ringers_alive: { parameters: [], result: "u32" },
  millrace_ringer_create: { parameters: [], result: "i32" },
  millrace_ringer_register: {
    parameters: [
      "u32", // uint32_t ringer
      "u32", // uint32_t channel
    ],
    result: "i32",
  },
  millrace_ringer_watch: {
    parameters: [
      "u32", // uint32_t ringer
      "u32", // uint32_t endpoint
    ],
    result: "i32",
  },
  millrace_ringer_wait: {
    parameters: [
      "u32", // uint32_t ringer
      "u32", // uint32_t posts_handled
      "u32", // uint32_t timeout_us
      "buffer", // millrace_ring_request *request
    ],
    result: "i32",
  },
  millrace_ringer_close: {
    parameters: [
      "u32", // uint32_t ringer
      "u32", // uint32_t only_if_idle
    ],
    result: "i32",
  },
  millrace_pool_create: {
    parameters: [
      "u32", // uint32_t slab_bytes
      "u32", // uint32_t count
      "u32", // uint32_t is_shared
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_pool_open: {
    parameters: [
      "buffer", // const millrace_ticket *ticket
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_pool_open_attached: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_channel_attach_pool: {
    parameters: [
      "u32", // uint32_t channel
      "u32", // uint32_t pool
    ],
    result: "i32",
  },
  millrace_pool_id: {
    parameters: [
      "u32", // uint32_t pool
      "buffer", // uint64_t *id
    ],
    result: "i32",
  },
  millrace_pool_slab: {
    parameters: [
      "u32", // uint32_t pool
      "u32", // uint32_t index
      "buffer", // millrace_slab_place *place
    ],
    result: "i32",
  },
  millrace_pool_alloc: {
    parameters: ["u32"], // uint32_t pool
    result: "i32",
  },
  millrace_pool_free: {
    parameters: [
      "u32", // uint32_t pool
      "u32", // uint32_t index
      "u32", // uint32_t generation
    ],
    result: "i32",
  },
  millrace_pool_retire: {
    parameters: [
      "u32", // uint32_t pool
      "u32", // uint32_t index
      "u32", // uint32_t generation
    ],
    result: "i32",
  },
  millrace_pool_stage: {
    parameters: [
      "u32", // uint32_t pool
      "u32", // uint32_t index
      "u32", // uint32_t generation
      "u32", // uint32_t sender
      "u32", // uint32_t position
    ],
    result: "i32",
  },
  millrace_pool_claim: {
    parameters: [
      "u32", // uint32_t pool
      "u32", // uint32_t index
      "u32", // uint32_t generation
    ],
    result: "i32",
  },
  millrace_pool_drop: {
    parameters: [
      "u32", // uint32_t pool
      "u32", // uint32_t index
      "u32", // uint32_t generation
    ],
    result: "i32",
  },
  millrace_pool_wait: {
    parameters: [
      "u32", // uint32_t pool
      "u32", // uint32_t strategy
      "u32", // uint32_t timeout_us
    ],
    result: "i32",
  },
  millrace_pool_arm: {
    parameters: ["u32"], // uint32_t pool
    result: "i32",
  },
  millrace_pool_statistics: {
    parameters: [
      "u32", // uint32_t pool
      "buffer", // millrace_pool_counts *counts
    ],
    result: "i32",
  },
  millrace_share: {
    parameters: [
      "u32", // uint32_t channel
      "buffer", // const millrace_share_options *options
      "buffer", // const uint8_t *address
      "u32", // uint32_t address_bytes
      "buffer", // const uint8_t *descriptor
      "u32", // uint32_t descriptor_bytes
    ],
    result: "i32",
  },
  millrace_share_is_open: {
    parameters: ["u32"], // uint32_t share
    result: "i32",
  },
  millrace_share_connections: {
    parameters: ["u32"], // uint32_t share
    result: "i32",
  },
  millrace_channel_await_receivers: {
    parameters: ["u32"], // uint32_t channel
    result: "i32",
  },
  millrace_connect_begin: {
    parameters: [
      "buffer", // const millrace_connect_options *options
      "buffer", // const uint8_t *address
      "u32", // uint32_t address_bytes
    ],
    result: "i32",
  },
  millrace_connect_poll: {
    parameters: ["u32"], // uint32_t connection
    result: "i32",
  },
  millrace_connect_descriptor: {
    parameters: [
      "u32", // uint32_t connection
      "buffer", // uint8_t *buffer
      "u32", // uint32_t buffer_bytes
    ],
    result: "i32",
  },
  millrace_connect_finish_at: {
    parameters: [
      "u32", // uint32_t connection
      "buffer", // const millrace_place *place
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_socket_pair: {
    parameters: ["buffer"], // int32_t pair[2]
    result: "i32",
  },
  millrace_send_fd: {
    parameters: [
      "i32", // int32_t socket
      "i32", // int32_t descriptor
    ],
    result: "i32",
  },
  millrace_receive_fd: {
    parameters: ["i32"], // int32_t socket
    result: "i32",
  },
  millrace_close_fd: {
    parameters: ["i32"], // int32_t descriptor
    result: "i32",
  },
} as const satisfies Record<string, { parameters: readonly NativeType[]; result: NativeType }>;

/** What the library exports for native code alone: this module does not open it. */
export const nativeSymbols = {
  millrace_endpoint_latency: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // millrace_latency *latency
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
  millrace_send: {
    parameters: [
      "u32", // uint32_t sender
      "buffer", // const void *message
      "u32", // uint32_t message_bytes
      "u32", // uint32_t timeout_us
    ],
    result: "i32",
  },
  millrace_send_many: {
    parameters: [
      "u32", // uint32_t sender
      "buffer", // const void *messages
      "u32", // uint32_t count
      "u32", // uint32_t timeout_us
    ],
    result: "i32",
  },
  millrace_receive: {
    parameters: [
      "u32", // uint32_t receiver
      "buffer", // void *buffer
      "u32", // uint32_t buffer_bytes
      "buffer", // uint32_t *message_bytes
      "u32", // uint32_t timeout_us
    ],
    result: "i32",
  },
  millrace_receive_many: {
    parameters: [
      "u32", // uint32_t receiver
      "buffer", // void *buffer
      "u32", // uint32_t buffer_bytes
      "u32", // uint32_t timeout_us
    ],
    result: "i32",
  },
  millrace_connect_finish: {
    parameters: [
      "u32", // uint32_t connection
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_connect: {
    parameters: [
      "buffer", // const millrace_connect_options *options
      "buffer", // const uint8_t *address
      "u32", // uint32_t address_bytes
      "u32", // uint32_t timeout_us
      "buffer", // millrace_endpoint_info *info
    ],
    result: "i32",
  },
  millrace_close: {
    parameters: ["u32"], // uint32_t handle
    result: "i32",
  },
  millrace_close_with_reason: {
    parameters: [
      "u32", // uint32_t endpoint
      "buffer", // const uint8_t *reason
      "u32", // uint32_t reason_bytes
    ],
    result: "i32",
  },
  millrace_ring: {
    parameters: [
      "u32", // uint32_t endpoint
      "i32", // int32_t answer
    ],
    result: "i32",
  },
} as const satisfies Record<string, { parameters: readonly NativeType[]; result: NativeType }>;

type Argument<Type> = Type extends "buffer" ? Uint8Array | Int32Array | Uint32Array | BigUint64Array
  : number;
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
  /** The file the library was opened from. */
  readonly path: string;
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
  tooManyReceivers: -16,
  wouldBlock: -17,
  tooSmall: -18,
  slabStale: -20,
  slabForeign: -21,
  slabNotOwned: -22,
  poolEmpty: -23,
  noSuchNode: -30,
  nodeNotAllowed: -31,
  nodeOutOfMemory: -32,
  numaRefused: -33,
  numaUnsupported: -34,
  noSuchCpu: -35,
  cpuNotAllowed: -36,
  hugePagesUnavailable: -37,
  connectionRefused: -40,
  noSuchPath: -41,
  notPermitted: -42,
  roleRefused: -43,
  notASegment: -44,
  wrongVersion: -45,
  truncated: -46,
  unsealed: -47,
  wrongLayout: -48,
  notUnderstood: -49,
  addressInUse: -50,
  peerDied: -51,
  tooManyDescriptors: -52,
  systemRefused: -53,
  sharedMemoryRefused: -54,
  fileSizeLimit: -55,
} as const;

/**
 * Bits of the answers of commit, release and close: which bells the caller has to ring. The place of
 * the receiver among the receivers stands from bit `receiverShift` on.
 */
export const Bells = {
  receiver: 1,
  sender: 2,
  drain: 4,
  all: 8,
  receiverShift: 8,
} as const;

/** Bits of `millrace_share_options.roles`. */
export const ShareRoles = { senders: 1, receivers: 2, pools: 4 } as const;

/** `millrace_kind`. */
export const Kind = { mpsc: 0, spsc: 1, spmc: 2, mpmc: 3 } as const;

/** Why a channel is closed, as `millrace_endpoint_close_state` tells it. */
export const CloseState = {
  open: 0,
  closed: 1,
  sendersGone: 2,
  receiverGone: 3,
  corrupt: 4,
  peerDied: 5,
} as const;

/** `millrace_role`. */
export const Role = { sender: 0, receiver: 1, pool: 2 } as const;

/** `millrace_numa`. */
export const Numa = { off: 0, prefer: 1, require: 2 } as const;

/** `millrace_huge_pages`. */
export const HugePages = { system: 0, off: 1, try: 2, require: 3 } as const;

/** Stands for the node of the calling thread: `MILLRACE_NODE_LOCAL`. */
export const nodeLocal = 2 ** 32 - 1;
/** Stands for the pages that receivers write: `MILLRACE_RING_SHARED`. */
export const ringShared = 2 ** 32 - 1;

/** Sizes, in bytes, of the structs that cross the boundary. */
export const StructBytes = {
  channelOptions: 48,
  topology: 71688,
  topologyNode: 1112,
  placement: 1064,
  ticket: 32,
  endpointInfo: 32,
  statistics: 192,
  ringStatistics: 56,
  latency: 56,
  bucket: 16,
  mailbox: 64,
  ringRequest: 20,
  slabPlace: 16,
  poolStatistics: 40,
  shareOptions: 144,
  connectOptions: 148,
} as const;

/** Limits the library enforces; kept here so that messages can name them before it is loaded. */
export const Limits = {
  slots: 2 ** 30,
  senders: 4096,
  receivers: 64,
  ringBytes: 2 ** 32,
  reasonBytes: 2048,
  nodesTold: 64,
  cpus: 8192,
  slabs: 2 ** 20,
  slabBytes: 2 ** 30,
  users: 32,
  addressBytes: 107,
  descriptorBytes: 2 ** 16,
  buckets: 4608,
} as const;
