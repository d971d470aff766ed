/** What the runtimes ask of a library, or do to it, apart from running it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { runtime, startProgram, supportFile } from "./support/runtime.ts";
import process from "node:process";

const limits = { timeout: 120_000 };
const testInDeno: typeof test | (() => void) = runtime === "deno" ? test : () => {};

testInDeno(
  "tests that close everything, and tests on which nothing waits any more, pass Deno's sanitizers",
  limits,
  async () => {
    const { ended } = startProgram(process.execPath, [
      ...["test", "-A", "--no-check", "--no-prompt"],
      supportFile("sanitized.ts"),
    ], { limitMs: 100_000 });
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /\b26 passed \| 0 failed/);
  },
);
