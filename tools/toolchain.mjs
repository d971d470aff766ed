// Where deno, bun and zig are: the running one, else one on PATH whose version fits, else the one of
// node_modules. The latter is taken from its platform package when the package's install script, which
// puts it where node_modules/.bin expects it, has not run.

import { spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { delimiter, dirname, join, relative } from "node:path";
import process from "node:process";
import { Failure } from "./failure.mjs";
import { CACHE, NODE_MODULES, ROOT, ZIG_DIR } from "./paths.mjs";

const ARCH = process.arch;

const TOOLS = {
  deno: {
    wanted: ">= 2.8",
    fits: (major, minor) => major > 2 || (major === 2 && minor >= 8),
    versionArgs: ["--version"],
    packaged: [`@deno/linux-${ARCH}-glibc/deno`, "deno/deno"],
  },
  bun: {
    wanted: ">= 1.4",
    fits: (major, minor) => major > 1 || (major === 1 && minor >= 4),
    versionArgs: ["--version"],
    packaged: [
      `@oven/bun-linux-${ARCH === "arm64" ? "aarch64" : ARCH}/bin/bun`,
      `@oven/bun-linux-${ARCH === "arm64" ? "aarch64" : ARCH}-musl/bin/bun`,
      "bun/bin/bun.exe",
    ],
  },
  zig: {
    wanted: "0.16",
    fits: (major, minor) => major === 0 && minor === 16,
    versionArgs: ["version"],
    packaged: [`@zigc/linux-${ARCH}/bin/zig`],
  },
};

const found = new Map();

/** The path of `deno`, `bun` or `zig`. */
export function tool(name) {
  return locate(name).path;
}

/** Paths and versions of all three tools. */
export function toolVersions() {
  return Object.fromEntries(Object.keys(TOOLS).map((name) => [name, locate(name)]));
}

/** Looks for the tools anew: what is installed has changed. */
export function forgetTools() {
  found.clear();
}

/** The command that runs a TypeScript program with a given runtime. */
export function runScriptWith(runtime) {
  return runtime === "deno" ? [tool("deno"), "run", "-A"] : [tool("bun"), "run"];
}

/** The command that runs a plain JavaScript file with the runtime we are running on. */
export function runScriptHere() {
  // Bun lends its executable the name `node`; under its own name it behaves as Bun.
  const self = realpathSync(process.execPath);
  return process.versions.deno ? [self, "run", "-A"] : [self];
}

/** The runtime whose user started us: Bun for `bun run`, else Deno. */
export function startedBy() {
  const agent = process.env.npm_config_user_agent ?? "";
  return process.versions.bun || agent.startsWith("bun/") ? "bun" : "deno";
}

/** The environment for programs that need no tool: a HOME that can be written to, whatever ours is. */
export function baseEnvironment() {
  const env = { ...process.env };
  if (!isWritableDirectory(env.HOME)) {
    env.HOME = join(CACHE, "home");
    mkdirSync(env.HOME, { recursive: true });
    // An npm that runs us has set this to a place in the HOME that is none.
    delete env.npm_config_cache;
  }
  return env;
}

/** The environment for everything else: `deno`, `bun` and `zig` on PATH are the ones found here. */
export function toolEnvironment() {
  const bin = join(CACHE, "bin");
  mkdirSync(bin, { recursive: true });
  for (const name of Object.keys(TOOLS)) {
    link(tool(name), join(bin, name));
  }
  const env = baseEnvironment();
  return {
    ...env,
    PATH: [bin, env.PATH].filter(Boolean).join(delimiter),
    ZIG_GLOBAL_CACHE_DIR: env.ZIG_GLOBAL_CACHE_DIR ?? join(ZIG_DIR, ".zig-cache", "global"),
    ZIG_LOCAL_CACHE_DIR: join(ZIG_DIR, ".zig-cache"),
  };
}

/** Makes `path` a symbolic link to `target`, whatever it was; a relative one within the checkout. */
export function link(target, path) {
  if (existsSync(path) && realpathSync(path) === realpathSync(target)) return;
  rmSync(path, { force: true });
  symlinkSync(target.startsWith(ROOT) ? relative(dirname(path), target) : target, path);
}

/** The executables of this name on PATH, those that packages of ours put there left out. */
export function findOnPath(name) {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .filter((directory) => directory !== "" && !directory.includes("node_modules"))
    .filter((directory) => !directory.startsWith(CACHE))
    .map((directory) => join(directory, name))
    .filter(isExecutable);
}

/** The executable of this name in a node_modules; undefined when none runs here. */
export function packagedTool(name, directory = NODE_MODULES) {
  return packagedPaths(name, directory).find((path) => versionOf(name, path) !== undefined);
}

function locate(name) {
  let result = found.get(name);
  if (result === undefined) {
    result = search(name);
    found.set(name, result);
  }
  return result;
}

function search(name) {
  const { wanted, fits } = TOOLS[name];
  const running = process.versions[name] ? [realpathSync(process.execPath)] : [];
  const candidates = [
    ...running.filter((path) => !path.startsWith(NODE_MODULES)),
    ...findOnPath(name),
    ...packagedPaths(name),
  ];
  const rejected = [];
  for (const candidate of candidates) {
    const path = realpathSync(candidate);
    const version = versionOf(name, path);
    const [major, minor] = (version ?? "").split(".").map(Number);
    if (version !== undefined && fits(major, minor)) return { path, version };
    rejected.push(`${path} (${version ?? "does not run"})`);
  }
  throw new Failure(
    `Cannot find ${name} ${wanted} for ${process.platform}-${ARCH} on PATH or in node_modules` +
      (rejected.length > 0 ? `, only: ${rejected.join(", ")}` : ""),
  );
}

function packagedPaths(name, directory = NODE_MODULES) {
  return TOOLS[name].packaged.map((path) => join(directory, path)).filter(isExecutable);
}

/** The version a tool tells of itself; undefined when it does not run here. */
function versionOf(name, path) {
  const run = spawnSync(path, TOOLS[name].versionArgs, {
    encoding: "utf8",
    env: baseEnvironment(),
  });
  return run.status === 0 ? /\d+\.\d+\.\d+\S*/.exec(run.stdout)?.[0] : undefined;
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function isWritableDirectory(path) {
  if (!path) return false;
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}
