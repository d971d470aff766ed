// The one command behind `npm run X`, `deno task X` and `bun run X`: installs what is missing, builds
// the native library when its sources are newer, then does X. It runs under Node 20, Deno and Bun and
// depends on nothing but their `node:` modules.

import process from "node:process";
import { buildIfStale, buildLibrary } from "./build.mjs";
import { Failure } from "./failure.mjs";
import { runForeground } from "./process.mjs";
import { installPackages } from "./setup.mjs";
import { ZIG_SOURCES } from "./stages.mjs";
import { check, listStages, test } from "./test.mjs";
import { runScriptWith, startedBy, tool, toolEnvironment, toolVersions } from "./toolchain.mjs";

const USAGE = `Usage: node tools/run.mjs <command> [arguments]

  demo   [--runtime deno|bun|both] [arguments of examples/ingest/main.ts]
  bench  [--runtime deno|bun] [--json] [--only NAME[,NAME]] [--quick] [--list]
  test   [--only STAGE[,STAGE]] [--filter TEXT] [--limit SECONDS] [--list] [test files]
  check  type check, lint and format check only
  fmt    format all sources
  build  build the release library
  setup  install the pinned packages and show the tools found
`;

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

async function main(argv) {
  const [command, ...rest] = argv;
  if (command === undefined || command === "help" || command === "--help" || command === "-h") {
    console.log(USAGE);
    return command === undefined ? 2 : 0;
  }
  if (!Object.hasOwn(COMMANDS, command)) {
    throw new Failure(
      `Unknown command "${command}", expected one of: ${Object.keys(COMMANDS).join(", ")}`,
    );
  }
  // `npm run X -- --flag` eats the `--`, `deno task X -- --flag` passes it on.
  const args = rest[0] === "--" ? rest.slice(1) : rest;
  if (command === "test" && args.includes("--list")) return listStages();
  await installPackages();
  return await COMMANDS[command](args);
}

/** Runs a TypeScript program of the project, its arguments passed through, and gives its exit code. */
async function runProgram(file, args, choices) {
  const { runtime, rest } = takeRuntime(args, choices);
  await buildIfStale();
  for (const name of runtime === "both" ? ["deno", "bun"] : [runtime]) {
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
    throw new Failure(`--runtime must be one of: ${choices.join(", ")}, received ${runtime}`);
  }
  return { runtime, rest };
}

function expectNoArguments(command, args) {
  if (args.length > 0) throw new Failure(`${command} takes no arguments, received: ${args[0]}`);
}

try {
  const code = await main(process.argv.slice(2));
  // A stopped test may have left a handle behind, so do not wait for an empty event loop; the empty
  // write is done when everything written before it is.
  process.stdout.write("", () => process.exit(code));
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}
