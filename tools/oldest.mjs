// Runs tests in the oldest runtimes that are promised: every verb, every way to wait, and Workers. The
// rest of tests/ runs in those of package.json. They are installed in .cache/ when this is run: nothing else
// needs them, and they are large.
//
//   oldest.mjs [--filter TEXT] [test files]

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { countBun, countDeno, summary } from "./counts.mjs";
import { Failure } from "./failure.mjs";
import { CACHE } from "./paths.mjs";
import { runCaptured } from "./process.mjs";
import { installIn } from "./setup.mjs";
import { bunTest, denoTest } from "./stages.mjs";
import { packagedTool } from "./toolchain.mjs";

/** What ffi/platform.ts and package.json promise; tests/load.test.ts holds them equal. */
const OLDEST = { deno: "2.8.0", bun: "1.4.0" };

const INSTALLED = join(CACHE, "oldest");
const LIMIT_MS = 300_000;

const FILES = ["channel", "kinds", "receiver", "run", "runtimes", "sender", "timers", "worker"]
  .map((name) => `tests/${name}.test.ts`);

const RUNNERS = {
  deno: { commandOf: denoTest, count: countDeno },
  bun: { commandOf: bunTest, count: countBun },
};

/** The executable of a runtime at exactly this version; undefined if it is not installed. */
function find(name, version) {
  const path = packagedTool(name, join(INSTALLED, "node_modules"));
  if (path === undefined) return undefined;
  const { stdout } = spawnSync(path, ["--version"], { encoding: "utf8" });
  return stdout.split(/\s/).includes(version) ? path : undefined;
}

/** The packages of the executables alone, and those of this processor. */
async function install() {
  mkdirSync(INSTALLED, { recursive: true });
  const dependencies = {
    [`@deno/linux-${process.arch}-glibc`]: OLDEST.deno,
    [`@oven/bun-linux-${process.arch === "arm64" ? "aarch64" : process.arch}`]: OLDEST.bun,
  };
  writeFileSync(
    join(INSTALLED, "package.json"),
    JSON.stringify({ private: true, type: "module", dependencies }),
  );
  await installIn(INSTALLED, false);
}

async function main() {
  const { values: { filter }, positionals } = parseArgs({
    options: { filter: { type: "string" } },
    allowPositionals: true,
  });
  const files = positionals.length > 0 ? positionals : FILES;
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const [name, { commandOf, count }] of Object.entries(RUNNERS)) {
    const version = OLDEST[name];
    if (find(name, version) === undefined) await install();
    const path = find(name, version);
    if (path === undefined) throw new Failure(`Cannot install ${name} ${version}`);
    const [program, ...args] = commandOf(path, files, filter);
    // Later versions have another way to it: tests/support/garbage.ts.
    if (name === "deno") args.splice(1, 0, "--v8-flags=--expose-gc");
    console.log(`-- ${name} ${version}`);
    const { code, output } = await runCaptured(program, args, {
      env: process.env,
      limitMs: LIMIT_MS,
      write: (chunk) => process.stdout.write(chunk),
    });
    const counts = count(stripVTControlCharacters(output)) ?? { passed: 0, failed: 0, skipped: 0 };
    if (code !== 0 && counts.failed === 0) counts.failed = 1;
    for (const key of Object.keys(total)) total[key] += counts[key];
  }
  console.log(`\n${summary(total)}`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}
