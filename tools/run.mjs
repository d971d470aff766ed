// The one command behind `npm run X`, `deno task X` and `bun run X`: installs what is missing, builds
// the native library when its sources are newer, then does X. It runs under Node 20, Deno and Bun and
// depends on nothing but their `node:` modules.

import process from "node:process";
import { buildIfStale, buildLibrary } from "./build.mjs";
import { Failure, UsageError } from "./failure.mjs";
import { runForeground } from "./process.mjs";
import { installPackages } from "./setup.mjs";
import { ZIG_SOURCES } from "./stages.mjs";
import { check, listStages, test } from "./test.mjs";
import { runScriptWith, startedBy, tool, toolEnvironment, toolVersions } from "./toolchain.mjs";

const USAGE = `Usage: node tools/run.mjs <command> [arguments]

  demo   examples/ingest: files through a channel, compared with postMessage
  bench  the benchmarks
  test   every test and check, or some of them
  check  type check, lint and format check only
  fmt    format all sources
  build  build the release library
  setup  install the pinned packages and show the tools found

demo, bench and test take --help.`;

const TEST_USAGE =
  `Usage: npm test -- [--only STAGE[,STAGE]] [--filter TEXT] [--limit SECONDS] [FILE...]

Runs every test and check; the last line is "N passed, N failed".

  FILE...           run these test files only, under Deno and Bun
  --filter TEXT     run the tests whose name contains TEXT only
  --only STAGES     run these stages only, separated by commas
  --limit SECONDS   stop a stage that takes longer; 1500 unless given
  --list            show the stages
  --help            show this

Exit code: 0 all passed, 1 something failed, 2 wrong arguments, 130 interrupted.`;

const isHelp = (argument) => argument === "--help" || argument === "-h";

const COMMANDS = {
  demo: (args) => runProgram("examples/ingest/main.ts", args, ["deno", "bun", "both"]),
  bench: (args) => runProgram("bench/main.ts", args, ["deno", "bun"]),
  test,
  check,
  fmt: async (args) => {
    expectNoArguments("fmt", args);
    const commands = [[tool("deno"), "fmt"], [tool("zig"), "fmt", ...ZIG_SOURCES]];
    for (const [command, ...options] of commands) {
      const code = await runForeground(command, options, toolEnvironment());
      if (code !== 0) return code;
    }
    return 0;
  },
  build: async (args) => {
    expectNoArguments("build", args);
    await buildLibrary();
    return 0;
  },
  setup: (args) => {
    expectNoArguments("setup", args);
    for (const [tool, found] of Object.entries(toolVersions())) {
      console.log(`${tool} ${found.version}  ${found.path}`);
    }
    return 0;
  },
};

/** Commands whose program tells its options itself. */
const PROGRAMS = new Set(["demo", "bench"]);

async function main(argv) {
  const [command, ...rest] = argv;
  if (command === undefined || command === "help" || isHelp(command)) {
    console.log(USAGE);
    return command === undefined ? 2 : 0;
  }
  if (!Object.hasOwn(COMMANDS, command)) {
    throw new UsageError(
      `Unknown command "${command}", expected one of: ${Object.keys(COMMANDS).join(", ")}`,
    );
  }
  // `npm run X -- --flag` eats the `--`, `deno task X -- --flag` passes it on.
  const args = rest[0] === "--" ? rest.slice(1) : rest;
  if (command === "test" && args.includes("--list")) return listStages();
  if (args.some(isHelp) && !PROGRAMS.has(command)) {
    console.log(command === "test" ? TEST_USAGE : USAGE);
    return 0;
  }
  await installPackages();
  return await COMMANDS[command](args);
}

/** Runs a TypeScript program of the project, its arguments passed through, and gives its exit code. */
async function runProgram(file, args, choices) {
  const { runtime, rest } = takeRuntime(args, choices);
  // What only tells about itself needs no library, and tells it once.
  const isAsked = rest.some((argument) => isHelp(argument) || argument === "--list");
  if (!isAsked) await buildIfStale();
  for (const name of runtime === "both" ? (isAsked ? ["deno"] : ["deno", "bun"]) : [runtime]) {
    const [command, ...options] = runScriptWith(name);
    const code = await runForeground(command, [...options, file, ...rest], toolEnvironment());
    if (code !== 0) return code;
  }
  return 0;
}

/** Takes `--runtime NAME` or `--runtime=NAME` out of the arguments. */
function takeRuntime(args, choices) {
  let runtime = startedBy();
  const rest = [];
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--runtime") runtime = args[++i];
    else if (args[i].startsWith("--runtime=")) runtime = args[i].slice("--runtime=".length);
    else rest.push(args[i]);
  }
  if (!choices.includes(runtime)) {
    throw new UsageError(
      `--runtime must be one of: ${choices.join(", ")}, received ${runtime ?? "nothing"}`,
    );
  }
  return { runtime, rest };
}

function expectNoArguments(command, args) {
  if (args.length > 0) throw new UsageError(`${command} takes no arguments, received: ${args[0]}`);
}

try {
  const code = await main(process.argv.slice(2));
  // A stopped test may have left a handle behind, so do not wait for an empty event loop; the empty
  // write is done when everything written before it is.
  process.stdout.write("", () => process.exit(code));
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`error: ${error.message}`);
  process.exitCode = error.exitCode;
}
