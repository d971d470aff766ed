/**
 * The suites by name, in the order they are run.
 *
 * @module
 */

import type { Suite } from "../harness.ts";

/** Imported when asked for: a suite's process knows no other suite. */
export const suites: Record<string, () => Promise<{ readonly suite: Suite }>> = {
  "stream-u32": () => import("./stream_u32.ts"),
  "single-u32": () => import("./single_u32.ts"),
  "batch-u32": () => import("./batch_u32.ts"),
  "struct": () => import("./struct.ts"),
  "utf8": () => import("./utf8.ts"),
  "json": () => import("./json.ts"),
  "mpsc-fanin": () => import("./mpsc_fanin.ts"),
  "spsc-stream": () => import("./spsc_stream.ts"),
  "spsc-single": () => import("./spsc_single.ts"),
  "spmc-fanout": () => import("./spmc_fanout.ts"),
  "mpmc-workers": () => import("./mpmc_workers.ts"),
  "mpmc-native": () => import("./mpmc_native.ts"),
  "pool-crossover": () => import("./pool_crossover.ts"),
  "poll-sparse": () => import("./poll_sparse.ts"),
  "numa-placement": () => import("./numa_placement.ts"),
  "notifier": () => import("./notifier.ts"),
  "bulk-copy": () => import("./bulk_copy.ts"),
  "wake-async-hot": () => import("./wake_async_hot.ts"),
  "wake-async-cold": () => import("./wake_async_cold.ts"),
  "wake-sync": () => import("./wake_sync.ts"),
  "wake-sync-block": () => import("./wake_sync_block.ts"),
  "ipc-stream": () => import("./ipc_stream.ts"),
  "ipc-batch": () => import("./ipc_batch.ts"),
  "ipc-latency": () => import("./ipc_latency.ts"),
  "ipc-setup": () => import("./ipc_setup.ts"),
  "ways-to-send": () => import("./ways_to_send.ts"),
  "capacity": () => import("./capacity.ts"),
  "wait-strategies": () => import("./wait_strategies.ts"),
  "wait-idle": () => import("./wait_idle.ts"),
  "poll-budget": () => import("./poll_budget.ts"),
  "idle": () => import("./idle.ts"),
  "startup": () => import("./startup.ts"),
};
