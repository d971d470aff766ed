/**
 * The foreign function interface of Bun.
 *
 * @module
 */

import { type Native, type NativeSymbols, type NativeType, symbols } from "./abi.ts";

// Only what is used of bun:ffi, so that other type checkers need no types of it.
interface BunForeign {
  dlopen(path: string, symbols: Record<string, unknown>): { symbols: NativeSymbols };
  toArrayBuffer(address: number, offset: number, bytes: number): ArrayBuffer;
}

function bunType(type: NativeType): string {
  return type === "buffer" ? "ptr" : type;
}

/** Opens the library at `path` in Bun. */
export function openInBun(path: string): Native {
  const foreign = process.getBuiltinModule("bun:ffi") as unknown as BunForeign;
  const table = Object.fromEntries(
    Object.entries(symbols).map(([name, { parameters, result }]) => [
      name,
      { args: parameters.map(bunType), returns: bunType(result) },
    ]),
  );
  return {
    path,
    symbols: foreign.dlopen(path, table).symbols,
    mapMemory: (address, bytes) => foreign.toArrayBuffer(Number(address), 0, bytes),
  };
}
