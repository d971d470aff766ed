/**
 * The functions of producer.c, in either runtime.
 *
 * @module
 */

/** The native producer. */
export interface Producer {
  /** Starts a thread that sends so many samples. 0: it runs. */
  producer_start(ticket: Uint8Array, count: number): number;
  /** Threads that run. */
  producer_running(): number;
}

// Only what is used of each runtime, so that one type checker needs no types of the other.
interface Foreign {
  dlopen(path: string, symbols: unknown): { symbols: Producer };
}

/** Opens the library at `path`. Its dependency, Millrace's own library, must be loaded before. */
export function openProducer(path: string): Producer {
  const { Deno: deno } = globalThis as unknown as { Deno?: Foreign };
  if (deno !== undefined) {
    return deno.dlopen(path, {
      producer_start: { parameters: ["buffer", "u32"], result: "i32" },
      producer_running: { parameters: [], result: "u32" },
    }).symbols;
  }
  const foreign = process.getBuiltinModule("bun:ffi") as unknown as Foreign;
  return foreign.dlopen(path, {
    producer_start: { args: ["ptr", "u32"], returns: "i32" },
    producer_running: { args: [], returns: "u32" },
  }).symbols;
}
