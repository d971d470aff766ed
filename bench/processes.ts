/**
 * Other processes of the same runtime that play a role of a suite, and the ways to talk with them.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Channel, ShareOptions } from "../mod.ts";
import { mismatch, runtime, type Transfer } from "./harness.ts";
import { type ByteStream, numbersOf, peer } from "./peers/byte_stream.ts";

/** What a process does: takes its setup, and stays until its standard input ends. */
// deno-lint-ignore no-explicit-any -- each suite knows what it tells its own roles
export type ProcessRole = (setup: any) => Promise<void> | void;

/** The command of a process that plays `role` of the suite in file `suite`. */
export function commandOf(suite: string, role: string, setup: unknown = null): string[] {
  return [
    process.execPath,
    ...(runtime === "deno" ? ["run", "-A", "--no-check"] : []),
    fileURLToPath(new URL("./process.ts", import.meta.url)),
    ...[suite, role, JSON.stringify(setup)],
  ];
}

/** A process that takes commands by lines, and may answer by lines. */
export interface Commanded {
  postMessage(command: unknown): void;
  /** The next line it writes. */
  answer(): Promise<unknown>;
}

/** Starts a process that plays a role and obeys: see {@linkcode obey}. */
export function startProcess(suite: string, role: string, setup?: unknown): Commanded {
  const [program = "", ...parameters] = commandOf(suite, role, setup);
  const child = spawn(program, parameters, { stdio: ["pipe", "pipe", "inherit"] });
  child.on("exit", (code, signal) => {
    console.error(`The process ${role} of ${suite} ended: ${signal ?? `exit code ${code}`}`);
    process.exit(1);
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    postMessage: (command) => void child.stdin.write(`${JSON.stringify(command)}\n`),
    async answer() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`The process ${role} of ${suite} has ended`);
      return JSON.parse(value);
    },
  };
}

/** In the process: does what each line says. */
export async function obey(act: (command: never) => unknown): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await act(JSON.parse(line) as never);
    if (answer !== undefined) process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

/** A directory for sockets, gone at the end of the process. */
export const socketDirectory: string = mkdtempSync(join(tmpdir(), "millrace-bench-"));
process.on("exit", () => rmSync(socketDirectory, { recursive: true, force: true }));

let shares = 0;

/** Shares a channel under a name of this process; gives the name. */
export function share(channel: Channel<number, Uint32Array>, options: ShareOptions): string {
  const path = join(socketDirectory, `share-${shares++}`);
  channel.share(path, options);
  return path;
}

/** Shares a channel with a process that plays `role`, which is told the name. */
export function shareWith(
  channel: Channel<number, Uint32Array>,
  options: ShareOptions,
  suite: string,
  role: string,
): Commanded {
  return startProcess(suite, role, share(channel, options));
}

/** The stream over a Unix socket to a process that plays `role`, which is told the path. */
export async function openSocket(suite: string, role: string): Promise<ByteStream> {
  const path = join(socketDirectory, role);
  const { accepted } = await peer.listen(path);
  startProcess(suite, role, path);
  return accepted;
}

/** The stream over the pipes of a process that plays `role`. */
export function openPipe(suite: string, role: string): ByteStream {
  return peer.spawn(commandOf(suite, role));
}

/** In the process: sends as many numbers as it is told by the number that arrives. */
export function sendOver(stream: ByteStream, batch: number): Promise<void> {
  const values = new Uint32Array(batch);
  const bytes = new Uint8Array(values.buffer);
  const send = async (count: number) => {
    for (let next = 0; next < count; next += batch) {
      for (let index = 0; index < batch; index++) values[index] = next + index;
      const pending = stream.write(bytes);
      if (pending !== undefined) await pending;
    }
  };
  stream.onData = numbersOf(([count = 0]) => void send(count));
  return ended(stream);
}

/** In the process: sends back what arrives. */
export function echoOver(stream: ByteStream): Promise<void> {
  const values = new Uint32Array(1);
  const bytes = new Uint8Array(values.buffer);
  stream.onData = numbersOf(([ping = 0]) => {
    values[0] = ping;
    void stream.write(bytes);
  });
  return ended(stream);
}

function ended(stream: ByteStream): Promise<void> {
  return new Promise((resolve) => stream.onEnd = resolve);
}

/** Receives what {@linkcode sendOver} sends at the other end. */
export function streamTransfer(name: string, stream: ByteStream, step: number): Transfer {
  const command = new Uint32Array(1);
  return {
    name,
    step,
    run(count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      let next = 0;
      stream.onData = numbersOf((values) => {
        for (let index = 0; index < values.length; index++) {
          if (values[index] !== next) mismatch(next, values[index]);
          next++;
        }
        if (next === count) resolve();
      });
      command[0] = count;
      void stream.write(new Uint8Array(command.buffer));
      return promise;
    },
  };
}

/** Makes round trips with {@linkcode echoOver} at the other end. */
export async function streamRoundTrips(stream: ByteStream, tookMs: Float64Array): Promise<void> {
  const values = new Uint32Array(1);
  const bytes = new Uint8Array(values.buffer);
  let pong: (value: number) => void;
  stream.onData = numbersOf(([value = 0]) => pong(value));
  for (let ping = 0; ping < tookMs.length; ping++) {
    const startMs = performance.now();
    const received = await new Promise<number>((resolve) => {
      pong = resolve;
      values[0] = ping;
      void stream.write(bytes);
    });
    tookMs[ping] = performance.now() - startMs;
    if (received !== ping) mismatch(ping, received);
  }
}
