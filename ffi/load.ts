/**
 * Finds the native library, opens it and checks that it is the one this module speaks to.
 *
 * @module
 */

import { abiVersion, type Native } from "./abi.ts";
import { openInBun } from "./bun.ts";
import { openInDeno } from "./deno.ts";
import { LibraryError } from "./errors.ts";
import { elfMachines, type Platform, platformOf } from "./platform.ts";

const libraryName = "libmillrace.so";
const environmentVariable = "MILLRACE_LIB";

interface Candidate {
  origin: string;
  path: string;
}

/** Which runtime and platform this is. */
function platform(): Platform {
  const host = globalThis as {
    Deno?: { version?: { deno?: string } };
    Bun?: { version?: string };
    process?: NodeJS.Process;
  };
  return platformOf({
    ...(host.Deno !== undefined && { deno: host.Deno.version?.deno ?? "" }),
    ...(host.Bun !== undefined && { bun: host.Bun.version ?? "" }),
    system: host.process?.platform ?? "unknown",
    architecture: host.process?.arch ?? "unknown",
  });
}

function packageFile(path: string): string {
  return decodeURIComponent(new URL(`../${path}`, import.meta.url).pathname);
}

function environment(name: string): string | undefined {
  try {
    return process.env[name];
  } catch {
    return undefined; // Deno without --allow-env
  }
}

/** Where the library is looked for, in order. */
function candidates(architecture: string): Candidate[] {
  const named = environment(environmentVariable);
  // A path that was asked for is the only one: falling back would hide the mistake in it.
  if (named) return [{ origin: `the environment variable ${environmentVariable}`, path: named }];
  return [
    {
      origin: "the packaged binary",
      path: packageFile(`prebuilt/linux-${architecture}/${libraryName}`),
    },
    {
      origin: "a local build (zig build -Doptimize=ReleaseFast, in zig/)",
      path: packageFile(`zig/zig-out/lib/${libraryName}`),
    },
  ];
}

/** What stands in the way of opening `path`, found without opening it; undefined when nothing. */
function inspect(path: string, architecture: string): "absent" | string | undefined {
  const fs = process.getBuiltinModule("node:fs");
  const header = new Uint8Array(20);
  try {
    const file = fs.openSync(path, "r");
    try {
      fs.readSync(file, header, 0, header.length, 0);
    } finally {
      fs.closeSync(file);
    }
  } catch (error) {
    const code = (error as { code?: string }).code;
    // Not allowed to look (Deno without --allow-read): opening it will tell.
    return code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR" ? "absent" : undefined;
  }
  const isElf = header[0] === 0x7f && header[1] === 0x45 && header[2] === 0x4c &&
    header[3] === 0x46;
  if (!isElf) return "is not a shared library (no ELF header)";
  const machine = (header[18] ?? 0) | ((header[19] ?? 0) << 8);
  if (machine === elfMachines[architecture]) return undefined;
  const found = Object.entries(elfMachines).find(([, number]) => number === machine)?.[0] ??
    `ELF machine ${machine}`;
  return `is built for ${found}, this is ${architecture}`;
}

/**
 * Finds and opens the native library: the file named by the environment variable `MILLRACE_LIB`,
 * else the packaged binary for this platform, else the local build in `zig/zig-out/lib`.
 *
 * @throws {UnsupportedPlatformError} If this runtime, its version, the system or the processor is not
 *   supported.
 * @throws {LibraryError} If no library was found, or it is for another processor, or its ABI
 *   version differs. The message names what was looked for and where.
 */
export function loadLibrary(): Native {
  const { runtime, architecture } = platform();
  const looked = candidates(architecture);
  for (const { origin, path } of looked) {
    const obstacle = inspect(path, architecture);
    if (obstacle === "absent") continue;
    if (obstacle !== undefined) {
      throw new LibraryError(
        "LIBRARY_WRONG_ARCHITECTURE",
        `Cannot load the native library from ${origin}: ${path} ${obstacle}; build it here, or name ` +
          `another with ${environmentVariable}`,
      );
    }
    try {
      return open(runtime, origin, path);
    } catch (error) {
      // Where looking is not allowed, a file that is not there shows only now.
      if (!isAbsent(error)) throw error;
    }
  }
  const places = looked.map(({ origin, path }) => `${path} (${origin})`).join(", then ");
  throw new LibraryError(
    "LIBRARY_NOT_FOUND",
    `Cannot find the native library ${libraryName}: looked for ${places}; build it with npm run build, or name it ` +
      `with ${environmentVariable}`,
  );
}

function isAbsent(error: unknown): boolean {
  return error instanceof LibraryError && error.code === "LIBRARY_NOT_FOUND" &&
    /no such file/i.test(error.message);
}

function open(runtime: Platform["runtime"], origin: string, path: string): Native {
  let native: Native;
  try {
    native = runtime === "deno" ? openInDeno(path) : openInBun(path);
  } catch (cause) {
    // Deno says NotCapable when --allow-ffi is missing: that is the user's answer as it stands.
    if ((cause as Error).name === "NotCapable" || cause instanceof LibraryError) throw cause;
    const missing = /symbol|undefined/i.test(String((cause as Error).message));
    throw new LibraryError(
      missing ? "LIBRARY_ABI_MISMATCH" : "LIBRARY_NOT_FOUND",
      missing
        ? `Cannot use the native library from ${origin}: ${path} lacks a function of ABI version ${abiVersion}: ${
          (cause as Error).message
        }; build it again`
        : `Cannot open the native library from ${origin}: ${path}: ${(cause as Error).message}; ` +
          "build it again",
      { cause },
    );
  }
  const version = native.symbols.millrace_abi_version();
  if (version !== abiVersion) {
    throw new LibraryError(
      "LIBRARY_ABI_MISMATCH",
      `Cannot use the native library from ${origin}: ${path} has ABI version ${version}, ` +
        `this module needs ${abiVersion}; build it again`,
    );
  }
  return native;
}
