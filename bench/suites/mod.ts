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
  "wake-async-hot": () => import("./wake_async_hot.ts"),
  "wake-async-cold": () => import("./wake_async_cold.ts"),
  "wake-sync": () => import("./wake_sync.ts"),
  "wake-sync-block": () => import("./wake_sync_block.ts"),
  "idle": () => import("./idle.ts"),
  "startup": () => import("./startup.ts"),
};
