/**
 * Waits for an eventfd with what the runtime has: in Bun `read()` of `node:fs`; Deno's file API knows
 * only descriptors it has opened itself (and no path opens an eventfd again), so there it is `read` of
 * the C library, off the event loop. Each wait holds a thread of the runtime's pool: few, then.
 *
 * @module
 */

import { read } from "node:fs";

interface DenoForeign {
  dlopen(path: string, symbols: unknown): {
    readonly symbols: {
      readonly read: (fd: number, buffer: Uint8Array, size: bigint) => Promise<bigint>;
    };
  };
}

const deno = (globalThis as unknown as { Deno?: DenoForeign }).Deno;
const libc = deno?.dlopen("libc.so.6", {
  read: { parameters: ["i32", "buffer", "usize"], result: "isize", nonblocking: true },
}).symbols;

/** Waits until an eventfd is written to, and gives how often it was. */
export async function waitFor(fd: number): Promise<number> {
  const count = new BigUint64Array(1);
  const bytes = new Uint8Array(count.buffer);
  if (libc !== undefined) {
    if (Number(await libc.read(fd, bytes, 8n)) !== 8) throw new Error(`Cannot read ${fd}`);
  } else {
    await new Promise<void>((resolve, reject) => {
      read(fd, bytes, 0, 8, null, (error) => error ? reject(error) : resolve());
    });
  }
  return Number(count[0]);
}
