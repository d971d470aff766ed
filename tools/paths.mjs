import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The root of the checkout. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What the tools keep between runs; ignored by git. */
export const CACHE = join(ROOT, ".cache");

export const ZIG_DIR = join(ROOT, "zig");

export const NODE_MODULES = join(ROOT, "node_modules");
