// Child processes: three ways to run one. All work in the root of the checkout unless told otherwise.

import { spawn } from "node:child_process";
import { constants } from "node:os";
import process from "node:process";
import { isatty } from "node:tty";
import { Failure } from "./failure.mjs";
import { ROOT } from "./paths.mjs";

/** How long to wait for the pipes of a process that is gone: a grandchild may hold them open. */
const PIPE_GRACE_MS = 2_000;

/** The same signal twice within this time is one request: npm forwards what the group got already. */
const SAME_SIGNAL_MS = 500;

/**
 * Runs a program in the foreground with the terminal as its own, and gives its exit code (128 + n when
 * signal n killed it). SIGINT reaches the program exactly once and never ends this process first, so a
 * program that drains on Ctrl-C is waited for.
 */
export function runForeground(command, args, env) {
  // In a terminal the child shares our process group and gets Ctrl-C from the terminal itself. Without
  // one it gets a group of its own, so that a signal sent to our group reaches it once, through us.
  const terminal = isatty(0);
  const child = spawn(command, args, { cwd: ROOT, env, stdio: "inherit", detached: !terminal });
  const lastMs = {};
  const forward = (signal) => {
    if (signal === "SIGINT" && terminal) return;
    const nowMs = performance.now();
    if (nowMs - (lastMs[signal] ?? -Infinity) >= SAME_SIGNAL_MS) child.kill(signal);
    lastMs[signal] = nowMs;
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, forward);
  return new Promise((resolve, reject) => {
    child.on("error", (error) => reject(cannotStart(command, error)));
    child.on("exit", (code, signal) => {
      for (const signal of signals) process.off(signal, forward);
      resolve(exitCodeOf(code, signal));
    });
  });
}

/**
 * Runs a program of the set-up (an installer, a compiler) with its output on stderr, so that the output
 * of what follows stays clean, and gives its exit code.
 */
export function runSetup(command, args, env, cwd = ROOT) {
  const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.on("data", (chunk) => process.stderr.write(chunk));
  child.stderr.on("data", (chunk) => process.stderr.write(chunk));
  return new Promise((resolve, reject) => {
    child.on("error", (error) => reject(cannotStart(command, error)));
    child.on("close", (code, signal) => resolve(exitCodeOf(code, signal)));
  });
}

/**
 * Runs a program, hands its output to `write` as it comes and keeps it. The program and all it started
 * are killed when `limitMs` has passed or `abort` fires.
 *
 * @returns {Promise<{ code: number | null, signal: string | null, stopped: "limit" | "interrupt" |
 * null, output: string }>}
 */
export function runCaptured(command, args, { env, cwd = ROOT, limitMs, abort, write }) {
  // A group of its own, so that everything it started can be killed with it.
  const child = spawn(command, args, {
    cwd,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  let stopped = null;
  const decoders = [child.stdout, child.stderr].map((pipe) => {
    const decoder = new TextDecoder();
    pipe.on("data", (chunk) => {
      output += decoder.decode(chunk, { stream: true });
      write(chunk);
    });
    return decoder;
  });
  const stop = (why) => {
    stopped ??= why;
    killGroup(child.pid);
  };
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => stop("limit"), limitMs);
    const onAbort = () => stop("interrupt");
    abort?.addEventListener("abort", onAbort);
    if (abort?.aborted) onAbort();
    let grace;
    const settle = (code, signal) => {
      clearTimeout(limit);
      clearTimeout(grace);
      abort?.removeEventListener("abort", onAbort);
      killGroup(child.pid);
      child.stdout.destroy();
      child.stderr.destroy();
      for (const decoder of decoders) output += decoder.decode();
      resolve({ code, signal, stopped, output });
    };
    child.on("error", (error) => {
      clearTimeout(limit);
      reject(cannotStart(command, error));
    });
    child.on("exit", (code, signal) => {
      clearTimeout(limit);
      grace = setTimeout(() => settle(code, signal), PIPE_GRACE_MS);
    });
    child.on("close", settle);
  });
}

/** The name of the signal that ended a process, whether it says so itself or its parent shell does. */
export function fatalSignal({ code, signal }) {
  if (signal !== null) return signal;
  const number = (code ?? 0) - 128;
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return found?.[0] ?? null;
}

function killGroup(pid) {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The group is gone, which is what was asked for.
  }
}

function exitCodeOf(code, signal) {
  return code ?? 128 + (constants.signals[signal] ?? 0);
}

function cannotStart(command, error) {
  return new Failure(`Cannot start ${command}: ${error.message}`);
}
