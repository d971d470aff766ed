// The packages of package.json, at exactly the versions of package-lock.json. npm installs them; where
// there is no npm, Bun reads the same lockfile, and Deno runs npm itself.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { Failure } from "./failure.mjs";
import { NODE_MODULES, ROOT } from "./paths.mjs";
import { runSetup } from "./process.mjs";
import { baseEnvironment, findOnPath, forgetTools, link, packagedTool } from "./toolchain.mjs";

/** The npm that a machine with nothing but Deno installs with. */
const NPM_FOR_DENO = "npm:npm@11.19.1";

/** Installs the pinned packages unless they are installed already. */
export async function installPackages() {
  if (missingPackages().length === 0) return;
  await installIn(ROOT);
  const missing = missingPackages();
  if (missing.length > 0) {
    throw new Failure(`Cannot install packages: still missing or of another version: ${missing}`);
  }
  forgetTools();
  linkTools();
}

/** Installs what the package.json of a directory names, at the versions of its lockfile if it has one. */
export async function installIn(directory, isLocked = true) {
  const { command, args, env } = installer(isLocked);
  console.error(`Installing packages: ${[command, ...args].join(" ")}`);
  const code = await runSetup(command, args, { ...baseEnvironment(), ...env }, directory);
  if (code !== 0) {
    throw new Failure(`Cannot install packages: ${command} ended with exit code ${code}`);
  }
}

/**
 * Lets node_modules/.bin run deno, bun and zig where install scripts or the installer did not: their
 * entries are then stubs that need Node or fail, and `deno task` finds those before the user's Deno.
 */
function linkTools() {
  const bin = join(NODE_MODULES, ".bin");
  mkdirSync(bin, { recursive: true });
  for (const name of ["deno", "bun", "zig"]) {
    const target = packagedTool(name);
    if (target !== undefined) link(target, join(bin, name));
  }
}

/** The pins of package.json that node_modules does not meet, as `name@version`. */
function missingPackages() {
  const pins = readJson(join(ROOT, "package.json")).devDependencies;
  return Object.entries(pins)
    .filter(([name, version]) => {
      const file = join(NODE_MODULES, name, "package.json");
      return !existsSync(file) || readJson(file).version !== version;
    })
    .map(([name, version]) => `${name}@${version}`);
}

function installer(isLocked) {
  const npm = findOnPath("npm")[0];
  if (npm !== undefined && findOnPath("node").length > 0) {
    return { command: npm, args: isLocked ? ["ci"] : ["install", "--no-audit", "--no-fund"] };
  }
  const bun = process.versions.bun ? process.execPath : findOnPath("bun")[0];
  if (bun !== undefined) {
    return { command: bun, args: ["install", ...(isLocked ? ["--frozen-lockfile"] : [])] };
  }
  const deno = process.versions.deno ? process.execPath : findOnPath("deno")[0];
  if (deno !== undefined) {
    return {
      command: deno,
      args: [
        ...["run", "-A", "--no-config", "--no-lock", "--node-modules-dir=none", NPM_FOR_DENO],
        ...[isLocked ? "ci" : "install", "--ignore-scripts"],
      ],
      env: { DENO_NO_PACKAGE_JSON: "1" },
    };
  }
  throw new Failure("Cannot install packages: found none of npm, bun and deno on PATH");
}

function readJson(file) {
  return JSON.parse(readFileSync(file, "utf8"));
}
