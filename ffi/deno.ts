/**
 * The foreign function interface of Deno.
 *
 * @module
 */

import { type Native, type NativeSymbols, symbols } from "./abi.ts";
import { LibraryError } from "./errors.ts";

// Only what is used of Deno's namespace, so that other type checkers need no types of it.
interface DenoForeign {
  dlopen(path: string, symbols: unknown): { symbols: NativeSymbols };
  UnsafePointer: { create(address: bigint): object | null };
  UnsafePointerView: { getArrayBuffer(pointer: object, bytes: number): ArrayBuffer };
}

/** Opens the library at `path` in Deno; needs `--allow-ffi`. */
export function openInDeno(path: string): Native {
  const deno = (globalThis as unknown as { Deno: DenoForeign }).Deno;
  const library = deno.dlopen(path, symbols);
  // Before anything is opened that could not be used.
  try {
    deno.UnsafePointer.create(1n);
  } catch (cause) {
    throw new LibraryError(
      "FFI_NOT_ALLOWED",
      `Cannot use the native library at ${path}: to map its memory needs all of --allow-ffi, ` +
        `received a permission for some paths: allow --allow-ffi without a path`,
      { cause },
    );
  }
  return {
    path,
    symbols: library.symbols,
    mapMemory(address, bytes) {
      const pointer = deno.UnsafePointer.create(address);
      if (pointer === null) {
        throw new RangeError("Cannot map memory: expected an address, received null");
      }
      return deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
    },
  };
}
