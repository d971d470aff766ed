/**
 * Which runtimes, systems and processors the native library can be used on.
 *
 * @module
 */

import { UnsupportedPlatformError } from "./errors.ts";

// ELF e_machine, https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
export const elfMachines: Record<string, number> = { x64: 62, arm64: 183 };

/** The oldest versions that have what is used here. */
const oldest = { deno: [2, 8], bun: [1, 4] } as const;

/** A platform the library can be used on. */
export interface Platform {
  readonly runtime: "deno" | "bun";
  readonly architecture: string;
}

/** What is known of the process. */
export interface Host {
  /** The version of Deno or of Bun; undefined where it is another runtime. */
  readonly deno?: string;
  readonly bun?: string;
  readonly system: string;
  readonly architecture: string;
}

/**
 * The platform of a process.
 *
 * @throws {UnsupportedPlatformError} If it is another than those, or its runtime is too old. The message
 *   names what was found and what is needed.
 */
export function platformOf({ deno, bun, system, architecture }: Host): Platform {
  const runtime = bun !== undefined ? "bun" : deno !== undefined ? "deno" : undefined;
  const version = bun ?? deno ?? "";
  const isKnown = system === "linux" && elfMachines[architecture] !== undefined;
  if (runtime !== undefined && isKnown && isRecent(version, oldest[runtime])) {
    return { runtime, architecture };
  }
  const found = runtime === undefined ? "another runtime" : `${runtime} ${version}`;
  throw new UnsupportedPlatformError(
    `Cannot load Millrace: it needs Deno ${oldest.deno.join(".")} or Bun ${
      oldest.bun.join(".")
    }, or later, on Linux, x86-64 or arm64; found ${found} on ${system}, ${architecture}`,
  );
}

/** Whether a version like `2.9.6` or `1.4.0-canary.1` is at least that; one that says nothing is. */
function isRecent(version: string, [major, minor]: readonly [number, number]): boolean {
  const [, foundMajor, foundMinor] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  if (foundMajor === undefined || foundMinor === undefined) return true;
  return Number(foundMajor) > major ||
    (Number(foundMajor) === major && Number(foundMinor) >= minor);
}
