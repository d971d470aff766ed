/**
 * The foreign function interface of Deno.
 *
 * @module
 */

import { type Native, type NativeSymbols, symbols } from "./abi.ts";

// Only what is used of Deno's namespace, so that other type checkers need no types of it.
interface DenoForeign {
  dlopen(path: string, symbols: unknown): { symbols: NativeSymbols };
  UnsafePointer: { create(address: bigint): object | null };
  UnsafePointerView: { getArrayBuffer(pointer: object, bytes: number): ArrayBuffer };
}

/** Opens the library at `path` in Deno; needs `--allow-ffi`. */
export function openInDeno(path: string): Native {
  const deno = (globalThis as unknown as { Deno: DenoForeign }).Deno;
  return {
    path,
    symbols: deno.dlopen(path, symbols).symbols,
    mapMemory(address, bytes) {
      const pointer = deno.UnsafePointer.create(address);
      if (pointer === null) throw new RangeError("Cannot map memory: the address is null");
      return deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
    },
  };
}
