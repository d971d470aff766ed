// What `test` runs, in this order.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { BUILD_ARGS } from "./build.mjs";
import { countBun, countDeno, countSummary, countZig } from "./counts.mjs";
import { NODE_MODULES, ROOT, ZIG_DIR } from "./paths.mjs";
import { runScriptHere, tool } from "./toolchain.mjs";

/** The default limit of one test under Bun, which would otherwise be 5 s. Deno has none of its own. */
const BUN_TEST_LIMIT_MS = 120_000;

/** Directories with TypeScript of ours; those that are there are type checked. */
const SOURCES = ["mod.ts", "src", "ffi", "tests", "bench", "examples"];

/** What a program can import. */
const ENTRY_POINTS = ["mod.ts", "src/prometheus.ts", "src/opentelemetry.ts"];

/** Every link in the docstrings and the README leads somewhere. */
const TYPEDOC_OPTIONS = [
  ...ENTRY_POINTS.flatMap((path) => ["--entryPoints", path]),
  ...["--tsconfig", "tsconfig.json", "--emit", "none"],
  ...["--excludePrivate", "--disableSources", "--treatWarningsAsErrors"],
  // The constructors that only the library calls take what is not public.
  ...["--validation.notExported", "false"],
];

/** What `zig fmt` formats. */
export const ZIG_SOURCES = [
  "build.zig",
  "zig/build.zig",
  "zig/src",
  "zig/bench",
  "examples/native/zig",
];

/**
 * A stage is a list of commands. A command that has `count` runs many tests and prints how they went;
 * one that has not is itself the test.
 *
 * @typedef {{ name: string, command: string[], cwd?: string,
 *   count?: (output: string) => import("./counts.mjs").Counts | undefined }} Command
 * @typedef {{ files: string[], filter?: string }} Selection
 */

/** @type {Record<string, { about: string, commands: (selection: Selection) => Command[] }>} */
export const STAGES = {
  build: {
    about: "the release library",
    commands: () => [{ name: "build", command: [tool("zig"), ...BUILD_ARGS], cwd: ZIG_DIR }],
  },
  check: { about: "types, lint, format and documentation", commands: checks },
  zig: {
    about: "the Zig tests",
    commands: ({ filter }) => [zigTest("zig", [], filter)],
  },
  tsan: {
    about: "the threaded Zig tests under ThreadSanitizer",
    commands: ({ filter }) => [zigTest("tsan", ["-Dtsan"], filter)],
  },
  models: {
    about: "the Promela models of the protocols",
    commands: () => [{
      name: "models",
      command: [...runScriptHere(), "zig/models/check.mjs"],
      count: countSummary,
    }],
  },
  doc: {
    about: "the examples in the docstrings, the README and docs/",
    commands: () => [{
      name: "doc",
      command: [tool("deno"), "test", "-A", "--doc", "mod.ts", "src/", "README.md", "docs/"],
      count: countDeno,
    }],
  },
  deno: {
    about: "tests/ under Deno",
    commands: ({ files, filter }) => [{
      name: "deno",
      command: denoTest(tool("deno"), files, filter),
      count: countDeno,
    }],
  },
  bun: {
    about: "tests/ under Bun",
    commands: ({ files, filter }) => [{
      name: "bun",
      command: bunTest(tool("bun"), files, filter),
      count: countBun,
    }],
  },
  oldest: {
    about: "some of tests/ under the oldest Deno and Bun that are promised",
    commands: ({ files, filter }) => [{
      name: "oldest",
      command: [
        ...[...runScriptHere(), "tools/oldest.mjs"],
        ...(filter === undefined ? [] : [`--filter=${filter}`]),
        ...files,
      ],
      count: countSummary,
    }],
  },
  numa: {
    about: "tests/numa.test.ts and the Zig tests of it on two NUMA nodes, in a virtual machine",
    commands: ({ files, filter }) => [{
      name: "numa",
      command: [
        ...[...runScriptHere(), "tests/numa/machine.mjs"],
        ...(filter === undefined ? [] : [`--filter=${filter}`]),
        ...files,
      ],
      count: countSummary,
    }],
  },
};

/**
 * In what order the stages run. The lanes of a step run side by side: the tests in a runtime wait more
 * than they work, and do not keep two cores busy.
 */
export const STEPS = [
  [["build"]],
  [["check", "zig"]],
  [["deno"], ["tsan", "models", "doc", "bun"]],
  [["oldest"]],
  [["numa"]],
];

/** The command that runs test files, or all of them, under a Deno. */
export function denoTest(deno, files, filter) {
  return [
    ...[deno, "test", "-A", "--no-check"],
    ...(filter === undefined ? [] : [`--filter=${filter}`]),
    ...(files.length > 0 ? files : ["tests/"]),
  ];
}

/** The same under a Bun. */
export function bunTest(bun, files, filter) {
  return [
    ...[bun, "test", `--timeout=${BUN_TEST_LIMIT_MS}`],
    ...(filter === undefined ? [] : [`--test-name-pattern=${escapePattern(filter)}`]),
    ...(files.length > 0 ? files : ["tests/"]).map(asPath),
  ];
}

function checks() {
  const deno = tool("deno");
  const sources = SOURCES.filter((path) => existsSync(join(ROOT, path)));
  const tsc = join(NODE_MODULES, "typescript", "lib", "tsc.js");
  const typedoc = join(NODE_MODULES, "typedoc", "bin", "typedoc");
  return [
    { name: "deno check", command: [deno, "check", ...sources] },
    { name: "deno lint", command: [deno, "lint"] },
    { name: "deno fmt", command: [deno, "fmt", "--check"] },
    { name: "deno doc", command: [deno, "doc", "--quiet", "--lint", ...ENTRY_POINTS] },
    { name: "tsc", command: [...runScriptHere(), tsc, "--noEmit", "--pretty", "false"] },
    { name: "typedoc", command: [...runScriptHere(), typedoc, ...TYPEDOC_OPTIONS] },
    { name: "zig fmt", command: [tool("zig"), "fmt", "--check", ...ZIG_SOURCES] },
  ];
}

function zigTest(name, options, filter) {
  if (filter !== undefined) options = [...options, `-Dtest-filter=${filter}`];
  return {
    name,
    command: [tool("zig"), "build", "test", ...options, "--summary", "all", "--color", "off"],
    cwd: ZIG_DIR,
    count: countZig,
  };
}

/** Bun takes a bare name for a pattern; a path begins with a dot or a slash. */
function asPath(file) {
  return /^\.{0,2}\//.test(file) ? file : `./${file}`;
}

export function escapePattern(text) {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
