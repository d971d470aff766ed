import assert from "node:assert/strict";
import test from "node:test";
import { executableOf, runtime, startProgram, supportFile } from "./support/runtime.ts";

/** Runs one of the project's commands. */
function run(...parameters: string[]) {
  const flags = runtime === "deno" ? ["run", "-A"] : [];
  const command = [...flags, supportFile("../../tools/run.mjs"), ...parameters];
  return startProgram(executableOf(runtime), command, { limitMs: 110_000 }).ended;
}

test("every command tells its usage when it is asked for --help", async () => {
  const usages: [command: string, option: string][] = [
    ["bench", "--quick"],
    ["demo", "--senders N"],
    ["test", "--filter TEXT"],
    ["build", "bench"],
  ];
  for (const [command, option] of usages) {
    for (const flag of ["--help", "-h"]) {
      const { code, stdout, stderr } = await run(command, flag);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^Usage: /);
      assert.ok(stdout.includes(option), stdout);
      assert.ok(stdout.split("\n").every((line) => line.length <= 100), stdout);
    }
  }
  const list = await run("bench", "--list");
  assert.equal(list.code, 0, list.stderr);
  assert.match(list.stdout, /^stream-u32$/m);
});

test("a mistake in a command line is one line, and exit code 2", async () => {
  const mistakes = [
    ["bench", "--nothing-like-it"],
    ["bench", "--only", "nothing-like-it"],
    ["bench", "--runtime", "nothing-like-it"],
    ["demo", "--nothing-like-it"],
    ["test", "--nothing-like-it"],
    ["test", "--only", "nothing-like-it"],
    ["test", "nothing-like-it"],
    ["build", "nothing-like-it"],
    ["nothing-like-it"],
  ];
  for (const mistake of mistakes) {
    const { code, stdout, stderr } = await run(...mistake);
    assert.equal(code, 2, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, /^error: .*nothing-like-it.*\n$/, mistake.join(" "));
  }
});

test("test --filter loads the files only that can hold a test of that name", async () => {
  // In two parts, or this file would hold it, too.
  const name = "send() rejects with the " + "unsent value when closed";
  const { code, stdout, stderr } = await run("test", "--filter", name, "--only", runtime);
  assert.equal(code, 0, stdout + stderr);
  const [command = ""] = /^== .*$/m.exec(stdout) ?? [];
  const loaded: string[] = command.match(/[a-z]+\.test\.ts/g) ?? [];
  assert.ok(loaded.includes("sender.test.ts") && loaded.length <= 3, stdout);
  assert.match(stdout, /^1 passed, 0 failed$/m);
  // Names that are put together from parts are found, too.
  const part = "mpmc() is closed when the last " + "receiver is gone, and not before";
  const other = await run("test", "--filter", part, "--only", runtime);
  assert.match(other.stdout, /^== .*kinds\.test\.ts/m);
  assert.match(other.stdout, /^1 passed, 0 failed$/m, other.stdout + other.stderr);
});
