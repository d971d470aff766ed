/** What the system refuses is told by an error of its own, and nothing of what was begun is left. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { Sender } from "../mod.ts";
import { rejects } from "./support/bounded.ts";
import { compile, compilers } from "./support/compiler.ts";
import { type ChildOptions, commandOf, startProgram, supportFile } from "./support/runtime.ts";

const limits = { timeout: 120_000 };
const directory = mkdtempSync(join(tmpdir(), "millrace-"));
after(() => rmSync(directory, { recursive: true }));

/** Plays a scene of child_limits.ts under limits of a shell's `ulimit`. */
function start(scene: string, limit: string, parameters: string[] = [], options?: ChildOptions) {
  return startProgram("sh", [
    "-c",
    `ulimit ${limit}; exec "$0" "$@"`,
    ...[...commandOf("child_limits.ts"), scene, ...parameters],
  ], { limitMs: 100_000, ...options });
}

async function linesOf(child: ReturnType<typeof startProgram>): Promise<string[]> {
  const { code, signal, stdout, stderr } = await child.ended;
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, stdout + stderr);
  return stdout.trim().split("\n");
}

const tooMany = "ConnectError TOO_MANY_DESCRIPTORS";

test(
  "without a descriptor left everything that needs one says TOO_MANY_DESCRIPTORS, and leaves none behind",
  limits,
  async () => {
    assert.deepEqual(await linesOf(start("descriptors", "-n 256")), [
      `channel: ${tooMany}`,
      `pool: ${tooMany}`,
      "private channel: ok",
      `eventfd: ${tooMany}`,
      `pair: ${tooMany}`,
      `share: ${tooMany}`,
      `connect: ${tooMany}, ok`,
      "channels: 0",
    ]);
  },
);

test(
  "connect() says TOO_MANY_DESCRIPTORS when the process that shares has none left",
  limits,
  async () => {
    const address = `@millrace-test-limits-${process.pid}`;
    const keeper = start("keeper", "-n 256", [address], { hasInput: true });
    await keeper.said("full");
    await rejects(Sender.connect(address, { timeout: 60_000 }), {
      name: "ConnectError",
      code: "TOO_MANY_DESCRIPTORS",
    });
    keeper.write("release\n");
    await keeper.said("free");
    const sender = await Sender.connect(address, { timeout: 60_000 });
    sender.close();
    keeper.end();
    assert.deepEqual(await linesOf(keeper), ["full", "free"]);
  },
);

test(
  "memory that is longer than the limit of files says FILE_SIZE_LIMIT, and the process lives",
  limits,
  async () => {
    assert.deepEqual(await linesOf(start("huge", `-f ${2 ** 21}`)), [
      "channel: ConnectError FILE_SIZE_LIMIT",
      "pool: ConnectError FILE_SIZE_LIMIT",
      "private channel: ok",
    ]);
  },
);

test("memory that no addresses are left for says OUT_OF_MEMORY", limits, async () => {
  assert.deepEqual(await linesOf(start("long", "-n 256")), [
    "pool: OutOfMemoryError OUT_OF_MEMORY",
    "private pool: OutOfMemoryError OUT_OF_MEMORY",
  ]);
});

for (const errno of ["EPERM", "ENOSYS"] as const) {
  test(`a sandbox without memfd_create (${errno}) says SHARED_MEMORY_REFUSED`, limits, async () => {
    const refuse = join(directory, `refuse-${errno}`);
    const { command } = compilers("c")[0] as { command: string[] };
    compile(command, ["-o", refuse, supportFile("refuse.c")]);
    const child = startProgram(refuse, [
      String(constants.errno[errno]),
      ...[...commandOf("child_limits.ts"), "shared"],
    ]);
    assert.deepEqual(await linesOf(child), [
      "channel: ConnectError SHARED_MEMORY_REFUSED",
      "pool: ConnectError SHARED_MEMORY_REFUSED",
      "private channel: ok",
    ]);
  });
}
