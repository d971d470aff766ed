/**
 * The C and C++ compilers of this machine: gcc and g++, else those that come with Zig.
 *
 * @module
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { supportFile } from "./runtime.ts";

/** A language and the compilers to try for it. */
const commands = {
  c: [["gcc"], ["cc"], ["zig", "cc"]],
  "c++": [["g++"], ["c++"], ["zig", "c++"]],
} as const;

const packagedZig = supportFile(`../../node_modules/@zigc/linux-${process.arch}/bin/zig`);

/** Compilers found, each by name. */
export function compilers(
  language: keyof typeof commands,
  programs?: readonly string[],
): { name: string; command: string[] }[] {
  const found: { name: string; command: string[] }[] = [];
  for (const [program, ...parameters] of commands[language]) {
    if (programs !== undefined && !programs.includes(program)) continue;
    for (const path of program === "zig" ? ["zig", packagedZig] : [program]) {
      if (spawnSync(path, program === "zig" ? ["version"] : ["--version"]).status !== 0) continue;
      found.push({
        name: [program, ...parameters].join(" "),
        command: [path, ...parameters],
      });
      break;
    }
  }
  return found;
}

/** The C compiler that comes with Zig: it is always there. */
export function zigCompiler(): string[] {
  return compilers("c", ["zig"])[0]?.command ?? assert.fail("there is no Zig");
}

/** Compiles; throws with what the compiler said. */
export function compile(command: readonly string[], parameters: readonly string[]): void {
  const [program = "", ...first] = command;
  const run = spawnSync(program, [...first, ...parameters], { encoding: "utf8" });
  if (run.status !== 0) throw new Error(`${command.join(" ")}: ${run.stderr}${run.error ?? ""}`);
}
