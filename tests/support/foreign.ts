/**
 * Shared libraries of the tests' own: compiled from C, and opened in either runtime.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { libraryPath } from "../../mod.ts";
import { compile, zigCompiler } from "./compiler.ts";
import { runtime, supportFile } from "./runtime.ts";

type Parameter = "buffer" | "u32";
type Signature = { readonly parameters: readonly Parameter[]; readonly result: "i32" | "u32" };

/** Functions of a library: numbers and byte arrays in, a number out. */
export type Foreign<Table extends Record<string, Signature>> = {
  readonly [Name in keyof Table]: (...parameters: (Uint8Array | number)[]) => number;
};

// Only what is used of each runtime's interface, so that other type checkers need no types of it.
interface DenoForeign {
  dlopen(path: string, symbols: unknown): { symbols: unknown };
  UnsafePointer: { of(buffer: Uint8Array): object; value(pointer: object): bigint };
}
interface BunForeign {
  dlopen(path: string, symbols: unknown): { symbols: unknown };
  ptr(buffer: Uint8Array): number;
}

/** Where a buffer's bytes are. It must be kept for as long as that is used. */
export function addressOf(buffer: Uint8Array): bigint {
  if (runtime === "deno") {
    const { UnsafePointer } = (globalThis as unknown as { Deno: DenoForeign }).Deno;
    return UnsafePointer.value(UnsafePointer.of(buffer));
  }
  return BigInt((process.getBuiltinModule("bun:ffi") as unknown as BunForeign).ptr(buffer));
}

/** Opens a shared library. */
export function openForeign<Table extends Record<string, Signature>>(
  path: string,
  table: Table,
): Foreign<Table> {
  if (runtime === "deno") {
    const deno = (globalThis as unknown as { Deno: DenoForeign }).Deno;
    return deno.dlopen(path, table).symbols as Foreign<Table>;
  }
  const foreign = process.getBuiltinModule("bun:ffi") as unknown as BunForeign;
  const symbols = Object.fromEntries(
    Object.entries(table).map(([name, { parameters, result }]) => [
      name,
      { args: parameters.map((type) => type === "buffer" ? "ptr" : type), returns: result },
    ]),
  );
  return foreign.dlopen(path, symbols).symbols as Foreign<Table>;
}

/** A directory for what is compiled, gone at the end. */
export class Workshop implements Disposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), "millrace-native-"));

  /** Compiles a C file against the header and the library of this checkout. Gives the path. */
  compile(source: string, kind: "library" | "program"): string {
    const output = join(
      this.directory,
      `${basename(source, ".c")}${kind === "library" ? ".so" : ""}`,
    );
    const library = dirname(libraryPath());
    compile(zigCompiler(), [
      ...["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"],
      ...(kind === "library" ? ["-shared", "-fPIC", "-Wl,-z,nodelete"] : []),
      ...["-I", supportFile("../../zig/include"), supportFile(source), "-o", output],
      ...["-L", library, "-lmillrace", `-Wl,-rpath,${library}`],
    ]);
    return output;
  }

  /** Compiles a Zig program that uses the C header. Gives the path. */
  compileZig(source: string): string {
    // There may be a program in C of that name.
    const output = join(this.directory, `${basename(source, ".zig")}_zig`);
    const library = dirname(libraryPath());
    compile([zigCompiler()[0] ?? "zig"], [
      ...["build-exe", supportFile(source), "-lc", `-femit-bin=${output}`],
      ...["-I", supportFile("../../zig/include"), "-L", library, "-lmillrace", "-rpath", library],
      ...["--cache-dir", join(this.directory, "cache")],
    ]);
    return output;
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true });
  }
}

/** The native producer of examples/native/producer. */
export const producerTable = {
  producer_start: { parameters: ["buffer", "u32"], result: "i32" },
  producer_running: { parameters: [], result: "u32" },
  producer_sent: { parameters: [], result: "u32" },
  producer_refused: { parameters: [], result: "u32" },
} as const;
