/**
 * The runtime the tests run under, and child processes of it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Which runtime this is. */
export const runtime: "deno" | "bun" = process.versions.bun === undefined ? "deno" : "bun";

/** How a child process ended, and what it printed. */
export interface ChildResult {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The path of a file beside this one. */
export function supportFile(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** A runtime. */
export type Runtime = "deno" | "bun";

/** Where the other runtime is: on PATH, else in node_modules, whose install script may not have run. */
function otherRuntime(name: Runtime): string {
  const architecture = process.arch === "arm64" ? "aarch64" : process.arch;
  const packages = name === "deno"
    ? ["deno/deno", `@deno/linux-${process.arch}-glibc/deno`]
    : ["bun/bin/bun.exe", `@oven/bun-linux-${architecture}/bin/bun`];
  const paths = packages.map((path) => supportFile(`../../node_modules/${path}`));
  const found = [name, ...paths].find((path) => spawnSync(path, ["--version"]).status === 0);
  if (found === undefined) throw new Error(`there is no ${name} on PATH or in node_modules`);
  return found;
}

const executables = new Map<Runtime, string>([[runtime, process.execPath]]);

/** The executable of a runtime. */
export function executableOf(name: Runtime): string {
  const path = executables.get(name) ?? otherRuntime(name);
  executables.set(name, path);
  return path;
}

/** How a child process is started. */
export interface ChildOptions {
  readonly environment?: Record<string, string>;
  /** One that takes longer is killed, which `signal` of its result then says. */
  readonly limitMs?: number;
  /** Flags of Deno. */
  readonly permissions?: readonly string[];
  /** Another runtime than this one. */
  readonly runtime?: Runtime;
  /** Whether it has a standard input, that stays open until `end()`. */
  readonly hasInput?: boolean;
  /** A descriptor that the child has as its descriptor 3. */
  readonly inherited?: number;
}

/** Runs a script of this directory in a child process of the same runtime, and waits for its end. */
export function runChild(
  script: string,
  parameters: readonly string[] = [],
  options: ChildOptions = {},
): Promise<ChildResult> {
  return startChild(script, parameters, options).ended;
}

/** Plays a scene of child_ringers.ts to its good end. */
export function runRingers(scene: string, library = ""): Promise<void> {
  return playScene("child_ringers.ts", scene, library);
}

/** Plays a scene of child_unwatched.ts to its good end. */
export function runUnwatched(scene: string, library = ""): Promise<void> {
  return playScene("child_unwatched.ts", scene, library);
}

async function playScene(script: string, scene: string, library: string): Promise<void> {
  const { code, signal, stdout, stderr } = await runChild(script, [scene, library], {
    limitMs: 110_000,
  });
  assert.equal(code, 0, `${signal ?? ""} ${stdout}${stderr}`);
  assert.match(stdout, /^as expected$/m);
}

/** A child process that runs. */
export interface Child {
  readonly pid: number | undefined;
  /** Sends it a signal, unless it has ended. */
  kill(signal: "SIGCONT" | "SIGINT" | "SIGKILL" | "SIGSTOP" | "SIGTERM"): void;
  /** Resolves when `text` has been on its standard output, or it has ended. */
  said(text: string): Promise<void>;
  /** What has been on its standard output. */
  output(): string;
  /** Writes to its standard input. */
  write(text: string): void;
  /** Ends its standard input. */
  end(): void;
  readonly ended: Promise<ChildResult>;
}

/** Starts a script of this directory in a child process, of the same runtime unless told. */
export function startChild(
  script: string,
  parameters: readonly string[] = [],
  options: ChildOptions = {},
): Child {
  const { permissions, runtime: name } = options;
  const [program = "", ...command] = commandOf(script, name, permissions);
  return startProgram(program, [...command, ...parameters], options);
}

/** What runs a script of this directory. */
export function commandOf(
  script: string,
  name: Runtime = runtime,
  permissions: readonly string[] = ["-A"],
): string[] {
  const flags = name === "deno" ? ["run", "--no-check", "--no-prompt", ...permissions] : ["run"];
  return [executableOf(name), ...flags, supportFile(script)];
}

/** Starts a program in a child process. */
export function startProgram(
  program: string,
  parameters: readonly string[],
  { environment = {}, limitMs = 100_000, hasInput = false, inherited }: ChildOptions = {},
): Child {
  const child = spawn(program, parameters, {
    env: { ...process.env, ...environment, NO_COLOR: "1" },
    stdio: ["pipe", "pipe", "pipe", ...(inherited === undefined ? [] : [inherited])],
  });
  const { stdin, stdout: out, stderr: err } = child;
  assert.ok(stdin !== null && out !== null && err !== null);
  const { promise: ended, resolve, reject } = Promise.withResolvers<ChildResult>();
  let stdout = "";
  let stderr = "";
  let onStdout = () => {};
  out.on("data", (chunk) => {
    stdout += chunk;
    onStdout();
  });
  err.on("data", (chunk) => stderr += chunk);
  // One that has ended does not read it.
  stdin.on("error", () => {});
  if (!hasInput) stdin.end();
  const limit = setTimeout(() => child.kill("SIGKILL"), limitMs);
  child.on("error", reject);
  let hasEnded = false;
  child.on("exit", () => hasEnded = true);
  child.on("close", (code, signal) => {
    clearTimeout(limit);
    resolve({ code, signal, stdout, stderr });
  });
  return {
    pid: child.pid,
    ended,
    // Not child.kill(): after that Deno's tells the signal as the end, whatever the end was.
    kill(signal) {
      if (child.pid !== undefined && !hasEnded) process.kill(child.pid, signal);
    },
    async said(text) {
      const said = new Promise<void>((resolve) => {
        onStdout = () => stdout.includes(text) && resolve();
        onStdout();
      });
      await Promise.race([said, ended]);
    },
    output: () => stdout,
    write: (text) => void stdin.write(text),
    end: () => void stdin.end(),
  };
}
