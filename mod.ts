/**
 * Millrace: message channels between Workers at the speed of memory, for Deno and Bun.
 *
 * @example
 * ```ts
 * import { mpsc, utf8 } from "millrace";
 *
 * await using channel = mpsc(utf8);
 * const receiver = channel.receiver();
 * using sender = channel.sender();
 * await sender.send("water");
 * console.assert((await receiver.receive()) === "water");
 * ```
 *
 * @module
 */

export {
  Channel,
  type ChannelOptions,
  type PoolUse,
  type ReceiversOptions,
  type SendersOptions,
} from "./src/channel.ts";
export type { Window, WritableBatch } from "./src/codec.ts";
export type { ConnectOptions } from "./src/connect.ts";
export type { ConnectPlace, PoolConnectOptions } from "./src/dial.ts";
export { custom, type CustomCodec } from "./src/custom.ts";
export {
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
  UnsupportedPlatformError,
  WrongThreadError,
} from "./src/errors.ts";
export type { EventFd } from "./src/event_fd.ts";
export type {
  BatchOf,
  Layout,
  LayoutSpec,
  NumberArray,
  ScalarName,
  ValueOf,
} from "./src/layout.ts";
export { mpmc } from "./src/mpmc.ts";
export { mpsc } from "./src/mpsc.ts";
export { libraryPath } from "./src/native.ts";
export {
  currentCpu,
  currentNode,
  numa,
  type NumaInformation,
  type NumaMode,
  type NumaNode,
  type NumaTopology,
  type PinOptions,
  pinThread,
  type PlaceOptions,
  type TopologyOptions,
  unpin,
} from "./src/numa.ts";
export type { Placement, RegionPlacement, RingPlacement } from "./src/placement.ts";
export {
  Pool,
  pool,
  type PoolLink,
  type PoolOptions,
  type PoolStatistics,
  type PoolTicket,
} from "./src/pool.ts";
export type { ReadableOptions } from "./src/readable_stream.ts";
export {
  type Readable,
  type ReceiveOptions,
  Receiver,
  type ReceiveResult,
} from "./src/receiver.ts";
export { bytes, json, type JsonLayout, type JsonValue, utf8 } from "./src/record.ts";
export { Run, type RunHandler, type RunOptions, type RunSummary } from "./src/run.ts";
export { f32, f64, i16, i32, i64, i8, u16, u32, u64, u8 } from "./src/scalar.ts";
export {
  after,
  Deadline,
  select,
  type Selectable,
  type Selected,
  type SelectedOf,
  type SelectOptions,
  selectSync,
  type SelectSyncOptions,
} from "./src/select.ts";
export {
  type Room,
  type RoomSetter,
  type SendAllOptions,
  Sender,
  type SendOptions,
} from "./src/sender.ts";
export { type PoolShareOptions, Share, type ShareOptions, type SharePlace } from "./src/share.ts";
export { closeFd, receiveFd, sendFd, socketPair } from "./src/sockets.ts";
export { spmc } from "./src/spmc.ts";
export { spsc } from "./src/spsc.ts";
export { Slab, type SlabHandle } from "./src/slab.ts";
export type { LatencyBucket, Quantiles } from "./src/histogram.ts";
export type {
  CounterName,
  IntervalStatistics,
  StatisticsOptions,
  StatisticsSince,
} from "./src/interval.ts";
export type { LatencyStatistics, RingStatistics, Statistics } from "./src/statistics.ts";
export { struct, type StructFields, type StructValue, StructWindow } from "./src/struct.ts";
export type { ReceiverTicket, SenderTicket, Terms, Ticket } from "./src/ticket.ts";
export type { NodeWorker, TicketOptions, WebWorker } from "./src/ticket_worker.ts";
export type { PollBudget } from "./src/waiter.ts";
export { WeakSender } from "./src/weak_sender.ts";
export type { WritableOptions } from "./src/writable_stream.ts";
export type { WaitLimits } from "./src/pending.ts";
export type { WaitOptions, WaitStrategy } from "./src/wait_strategy.ts";
export { Writer, type WriterOptions } from "./src/writer.ts";
