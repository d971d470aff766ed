/**
 * Runs the benchmarks: each suite in a process of its own, so that what one taught the compiler
 * does not slow another.
 *
 * `--help` tells the options.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { efforts, type Line, measure, runtime } from "./harness.ts";
import { suites } from "./suites/mod.ts";
import { heading, row } from "./table.ts";

/** A suite that takes longer hangs. */
const limitMs = { quick: 60_000, full: 240_000 };

const usage = `Usage: npm run bench -- [--runtime deno|bun] [--only NAME[,NAME]] [--quick] [--json]

Measures what the library does beside what else can be used, each suite in a process of its own.

  --runtime deno|bun   the runtime; the one that started this unless given
  --only NAMES         these suites only, separated by commas
  --quick              fewer and shorter runs
  --json               one JSON object a line
  --here               in this process, for a profiler
  --list               show the names of the suites
  --help               show this

Exit code: 0 all suites ran, 1 one of them failed, 2 wrong arguments.`;

/** A mistake in the command line. */
class UsageError extends Error {}

interface Options {
  readonly names: readonly string[];
  readonly json: boolean;
  readonly quick: boolean;
  readonly list: boolean;
  readonly here: boolean;
  readonly help: boolean;
}

function readOptions(): Options {
  const values = parse(process.argv.slice(2));
  const names = values.only?.split(",") ?? Object.keys(suites);
  const unknown = names.find((name) => !Object.hasOwn(suites, name));
  if (unknown !== undefined) {
    throw new UsageError(
      `Unknown suite "${unknown}", expected one of: ${Object.keys(suites).join(", ")}`,
    );
  }
  const { json, quick, list, here, help } = values;
  return { names, json, quick, list, here, help };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      // `deno task bench -- --quick` passes the `--` on.
      args: args.filter((argument) => argument !== "--"),
      options: {
        json: { type: "boolean", default: false },
        only: { type: "string" },
        quick: { type: "boolean", default: false },
        list: { type: "boolean", default: false },
        here: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }).values;
  } catch (error) {
    // What follows the first sentence is about positional arguments, of which there are none.
    const [problem = ""] = (error as Error).message.split(". ");
    throw new UsageError(`${problem}; --help tells the options`);
  }
}

async function runHere(name: string, isQuick: boolean, print: (line: Line) => void): Promise<void> {
  const loaded = await suites[name]?.();
  if (loaded === undefined) throw new RangeError(`Unknown suite "${name}"`);
  for (const line of await measure(loaded.suite, isQuick ? efforts.quick : efforts.full)) {
    print(line);
  }
}

/** Runs a suite in a process of its own. Returns whether it ended well. */
async function runApart(
  name: string,
  isQuick: boolean,
  print: (line: Line) => void,
): Promise<boolean> {
  const child = spawn(process.execPath, [
    ...(runtime === "deno" ? ["run", "-A"] : []),
    fileURLToPath(import.meta.url),
    "--here",
    "--json",
    ...(isQuick ? ["--quick"] : []),
    "--only",
    name,
  ], { stdio: ["ignore", "pipe", "inherit"] });
  const exit = new Promise<string>((resolve) => {
    child.on(
      "exit",
      (code, signal) => resolve(code === 0 ? "" : `${signal ?? `exit code ${code}`}`),
    );
  });
  const limit = setTimeout(() => child.kill("SIGKILL"), isQuick ? limitMs.quick : limitMs.full);
  for await (const text of createInterface({ input: child.stdout })) {
    print(JSON.parse(text) as Line);
  }
  const failure = await exit;
  clearTimeout(limit);
  if (failure !== "") console.error(`${name} failed: ${failure}`);
  return failure === "";
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options.help) {
    console.log(usage);
    return 0;
  }
  if (options.list) {
    console.log(Object.keys(suites).join("\n"));
    return 0;
  }
  const print = (line: Line) => console.log(options.json ? JSON.stringify(line) : row(line));
  let failures = 0;
  for (const name of options.names) {
    if (!options.json) console.log(heading(name, (await suites[name]?.())?.suite.about ?? ""));
    if (options.here) await runHere(name, options.quick, print);
    else if (!(await runApart(name, options.quick, print))) failures++;
  }
  return failures === 0 ? 0 : 1;
}

try {
  const code = await main();
  // Workers that wait for more work would keep the process alive.
  process.stdout.write("", () => process.exit(code));
} catch (error) {
  console.error(error instanceof UsageError ? `error: ${error.message}` : error);
  process.exit(error instanceof UsageError ? 2 : 1);
}
