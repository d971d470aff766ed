/**
 * Other processes, in every language, and what a process has open.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { native } from "../../src/native.ts";
import { until } from "./bounded.ts";
import { Workshop } from "./foreign.ts";
import { type Child, type Runtime, startChild, startProgram } from "./runtime.ts";

/** What the other process is written in; see process_peer.ts for what it can do. */
export type Language = Runtime | "c" | "zig";

/** More than any of these takes on a slow machine: only a hang reaches it. */
const limitMs = 90_000;

/** Starts other processes. They, their sockets and the programs compiled for them are gone at the end. */
export class Peers implements Disposable {
  readonly #workshop = new Workshop();
  readonly #programs = new Map<"c" | "zig", string>();
  readonly #children: Child[] = [];
  #addresses = 0;

  /** A path for a socket that is not there yet. */
  address(): string {
    return join(this.#workshop.directory, `${this.#addresses++}.sock`);
  }

  /** The files of sockets that are there. */
  sockets(): string[] {
    return readdirSync(this.#workshop.directory).filter((name) => name.endsWith(".sock"));
  }

  /** The program in C or Zig, compiled at the first use. */
  program(language: "c" | "zig"): string {
    const program = this.#programs.get(language) ??
      (language === "c"
        ? this.#workshop.compile("process_peer.c", "program")
        : this.#workshop.compileZig("process_peer.zig"));
    this.#programs.set(language, program);
    return program;
  }

  /** Starts a process that does a task. */
  start(
    language: Language,
    task: string,
    address: string,
    ...parameters: (string | number)[]
  ): Child {
    const all = [task, address, ...parameters.map(String)];
    const options = { limitMs, hasInput: true };
    const child = language === "c" || language === "zig"
      ? startProgram(this.program(language), all, options)
      : startChild("process_peer.ts", all, { ...options, runtime: language });
    this.#children.push(child);
    return child;
  }

  /** The numbers of all that were started. */
  pids(): (number | undefined)[] {
    return this.#children.map(({ pid }) => pid);
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill("SIGKILL");
    this.#workshop[Symbol.dispose]();
  }
}

/** The process says that it is there; fails if it ends before. */
export async function hasSaid(child: Child, text: string): Promise<void> {
  await child.said(text);
  if (child.output().includes(text)) return;
  const { code, signal, stdout, stderr } = await child.ended;
  assert.fail(`it never said "${text}": ${code ?? signal}, ${stdout}${stderr}`);
}

/** What a process said it did, as `sent COUNT SUM`; it must have ended well. */
export async function resultOf(
  child: Child,
  verb: "sent" | "received",
): Promise<{ count: number; sum: number }> {
  const { code, signal, stdout, stderr } = await child.ended;
  const [, count, sum] = new RegExp(`^${verb} (\\d+) (\\d+)$`, "m").exec(stdout) ?? [];
  assert.equal(code, 0, `${signal ?? ""} ${stdout}${stderr}`);
  assert.ok(sum !== undefined, `it has not ${verb}: ${stdout}${stderr}`);
  return { count: Number(count), sum: Number(sum) };
}

/** The sum of the sequences 0 … count - 1. */
export function sumOf(count: number): number {
  return count * (count - 1) / 2;
}

/** What a process has that must not grow. */
export interface Belongings {
  readonly descriptors: number;
  readonly mappings: number;
  readonly channels: number;
}

/** What this process has of descriptors, mappings of memfds, and channels. */
export function belongings(): Belongings {
  const maps = readFileSync("/proc/self/maps", "utf8");
  return {
    descriptors: descriptors().length,
    mappings: maps.split("\n").filter((line) => line.includes("/memfd:")).length,
    channels: native().symbols.millrace_channels_alive(),
  };
}

/** The descriptors that sharing and connecting open: sockets, memfds, pidfds. */
function descriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return /^(socket:|\/memfd:|anon_inode:\[pidfd\]|pidfd:)/.test(target) ? [target] : [];
    } catch {
      return []; // closed since, as that of the directory itself
    }
  });
}

/** Waits until this process has no more than it had; what closes does so soon, not at once. */
export async function assertNothingLeft(before: Belongings): Promise<void> {
  // Fewer is no leak: what other tests had left closes meanwhile.
  const isBack = () => {
    const { descriptors, mappings, channels } = belongings();
    return descriptors <= before.descriptors && mappings <= before.mappings &&
      channels <= before.channels;
  };
  await until(isBack, "everything is closed", 60_000).catch(() =>
    assert.deepEqual(belongings(), before)
  );
}

/** Whether a process is still there. */
export function isAlive(pid: number | undefined): boolean {
  return existsSync(`/proc/${pid}`);
}

/** Whether every thread of a process has come to the halt that a SIGSTOP asks for. */
export function isStopped(pid: number | undefined): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) =>
    // Behind the name, which may have brackets of its own.
    /\) T [^)]*$/.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8"))
  );
}
