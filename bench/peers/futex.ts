/**
 * A bare futex: the system call itself, as any native program would wait and wake.
 *
 * @module
 */

const futexNumbers: Record<string, number> = { x64: 202, arm64: 98 };
const waitPrivate = 128;
const wakePrivate = 129;

type Syscall = (
  number: number,
  word: Int32Array,
  operation: number,
  value: number,
  timeout: null,
  word2: null,
  value3: number,
) => number | bigint;

/** Of the foreign function interfaces only what is used, so that type checkers agree on it. */
interface Foreign {
  dlopen(path: string, symbols: unknown): { symbols: { syscall: Syscall } };
}

function loadSyscall(): Syscall {
  const { Deno: deno } = globalThis as unknown as { Deno?: Foreign };
  const integer = "i64";
  const open = (path: string): Syscall => {
    if (deno !== undefined) {
      const parameters = [integer, "buffer", integer, integer, "pointer", "pointer", integer];
      return deno.dlopen(path, { syscall: { parameters, result: integer } }).symbols.syscall;
    }
    const bun = process.getBuiltinModule("bun:ffi") as unknown as Foreign;
    const args = [integer, "ptr", integer, integer, "ptr", "ptr", integer];
    return bun.dlopen(path, { syscall: { args, returns: integer } }).symbols.syscall;
  };
  try {
    return open("libc.so.6");
  } catch {
    return open(`libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`);
  }
}

/** One word to sleep on. */
export class FutexWord {
  readonly #word: Int32Array;
  readonly #syscall = loadSyscall();
  readonly #number: number;

  /** The word of `index` in shared memory. */
  constructor(memory: SharedArrayBuffer, index: number) {
    const number = futexNumbers[process.arch];
    if (number === undefined) throw new Error(`No futex number for ${process.arch}`);
    this.#number = number;
    // Words 128 bytes apart, so that the two sides do not share a cache line.
    this.#word = new Int32Array(memory, index * 128, 1);
  }

  /** Stores `value` and wakes who sleeps on the word. */
  wake(value: number): void {
    Atomics.store(this.#word, 0, value);
    this.#syscall(this.#number, this.#word, wakePrivate, 1, null, null, 0);
  }

  /** Sleeps until the word is `value`. */
  waitFor(value: number): void {
    for (let seen; (seen = Atomics.load(this.#word, 0)) !== value;) {
      this.#syscall(this.#number, this.#word, waitPrivate, seen, null, null, 0);
    }
  }
}
