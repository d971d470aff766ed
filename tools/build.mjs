// The release build of the native library.

import { existsSync, readdirSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "./failure.mjs";
import { ZIG_DIR } from "./paths.mjs";
import { runSetup } from "./process.mjs";
import { tool, toolEnvironment } from "./toolchain.mjs";

const LIBRARY = join(ZIG_DIR, "zig-out", "lib", "libmillrace.so");

/** What the library is not made of. */
const NOT_SOURCES = new Set([".zig-cache", "zig-out", "models"]);

/** The arguments of the release build; run in `zig/`. */
export const BUILD_ARGS = ["build", "-Doptimize=ReleaseFast"];

/** Builds the library when it is missing or older than a file it is made of. */
export async function buildIfStale() {
  if (!existsSync(LIBRARY) || newestMs(ZIG_DIR) > statSync(LIBRARY).mtimeMs) await buildLibrary();
}

/** Builds the library; a build that changes nothing is short. */
export async function buildLibrary() {
  if (!existsSync(join(ZIG_DIR, "build.zig"))) {
    throw new Failure("Cannot build the library: zig/build.zig is missing");
  }
  const startMs = performance.now();
  console.error(`Building the library: zig ${BUILD_ARGS.join(" ")}`);
  const startedAt = new Date();
  const code = await runSetup(tool("zig"), BUILD_ARGS, toolEnvironment(), ZIG_DIR);
  if (code !== 0) throw new Failure(`Cannot build the library: zig ended with exit code ${code}`);
  if (!existsSync(LIBRARY)) {
    throw new Failure("Cannot build the library: zig did not write zig/zig-out/lib/libmillrace.so");
  }
  // Zig gives the library the time of its cache entry, which may be older than its sources are.
  utimesSync(LIBRARY, startedAt, startedAt);
  console.error(`Built the library in ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
}

function newestMs(directory) {
  let newest = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (NOT_SOURCES.has(entry.name)) continue;
    const path = join(directory, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestMs(path) : statSync(path).mtimeMs);
  }
  return newest;
}
