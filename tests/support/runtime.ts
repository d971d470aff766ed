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

/**
 * Runs a script of this directory in a child process of the same runtime, and waits for its end. One
 * that takes longer than `limitMs` is killed, which `signal` then says.
 */
export function runChild(
  script: string,
  parameters: readonly string[] = [],
  { environment = {}, limitMs = 30_000, permissions = ["-A"] }: {
    environment?: Record<string, string>;
    limitMs?: number;
    /** Flags of Deno. */
    permissions?: readonly string[];
  } = {},
): Promise<ChildResult> {
  const command = runtime === "deno"
    ? ["run", "--no-check", "--no-prompt", ...permissions]
    : ["run"];
  const child = spawn(process.execPath, [...command, supportFile(script), ...parameters], {
    env: { ...process.env, ...environment, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { promise, resolve, reject } = Promise.withResolvers<ChildResult>();
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => stdout += chunk);
  child.stderr.on("data", (chunk) => stderr += chunk);
  const limit = setTimeout(() => child.kill("SIGKILL"), limitMs);
  child.on("error", reject);
  child.on("close", (code, signal) => {
    clearTimeout(limit);
    resolve({ code, signal, stdout, stderr });
  });
  return promise;
}
