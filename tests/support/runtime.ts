/**
 * The runtime the tests run under, and child processes of it.
 *
 * @module
 */

import { spawn } from "node:child_process";
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

/** How a child process is started. */
export interface ChildOptions {
  readonly environment?: Record<string, string>;
  /** One that takes longer is killed, which `signal` of its result then says. */
  readonly limitMs?: number;
  /** Flags of Deno. */
  readonly permissions?: readonly string[];
}

/** Runs a script of this directory in a child process of the same runtime, and waits for its end. */
export function runChild(
  script: string,
  parameters: readonly string[] = [],
  options: ChildOptions = {},
): Promise<ChildResult> {
  return startChild(script, parameters, options).ended;
}

/** A child process that runs. */
export interface Child {
  /** Sends it a signal, unless it has ended. */
  kill(signal: "SIGINT" | "SIGTERM"): void;
  /** Resolves when `text` has been on its standard output, or it has ended. */
  said(text: string): Promise<void>;
  readonly ended: Promise<ChildResult>;
}

/** Starts a script of this directory in a child process of the same runtime. */
export function startChild(
  script: string,
  parameters: readonly string[] = [],
  { environment = {}, limitMs = 30_000, permissions = ["-A"] }: ChildOptions = {},
): Child {
  const command = runtime === "deno"
    ? ["run", "--no-check", "--no-prompt", ...permissions]
    : ["run"];
  const child = spawn(process.execPath, [...command, supportFile(script), ...parameters], {
    env: { ...process.env, ...environment, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { promise: ended, resolve, reject } = Promise.withResolvers<ChildResult>();
  let stdout = "";
  let stderr = "";
  let onStdout = () => {};
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
    onStdout();
  });
  child.stderr.on("data", (chunk) => stderr += chunk);
  const limit = setTimeout(() => child.kill("SIGKILL"), limitMs);
  child.on("error", reject);
  let hasEnded = false;
  child.on("exit", () => hasEnded = true);
  child.on("close", (code, signal) => {
    clearTimeout(limit);
    resolve({ code, signal, stdout, stderr });
  });
  return {
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
  };
}
