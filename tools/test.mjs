// The test command: every stage in order, one table, and one last line `N passed, N failed`.

import { Buffer } from "node:buffer";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { stripVTControlCharacters } from "node:util";
import { buildIfStale } from "./build.mjs";
import { summary } from "./counts.mjs";
import { Failure, UsageError } from "./failure.mjs";
import { filesWithTest } from "./named.mjs";
import { ROOT } from "./paths.mjs";
import { fatalSignal, runCaptured } from "./process.mjs";
import { STAGES, STEPS } from "./stages.mjs";
import { toolEnvironment } from "./toolchain.mjs";

/** A stage that takes longer hangs. */
const STAGE_LIMIT_S = 1500;

/**
 * All stages together, in CI, where what runs too long is cut off without a word. They take twelve minutes
 * on two quiet cores.
 */
const CI_LIMIT_S = 2400;

const startMs = performance.now();

/** Runs the tests and gives the exit code. */
export async function test(args) {
  return await runStages(narrow(parseOptions(args)));
}

/** Runs the checks alone. */
export async function check(args) {
  if (args.length > 0) fail(`check takes no arguments, received: ${args[0]}`);
  return await runStages({ ...parseOptions(["--only=check"]) });
}

/** Prints the stages. */
export function listStages() {
  for (const [name, { about }] of Object.entries(STAGES)) console.log(`${name.padEnd(8)}${about}`);
  return 0;
}

function parseOptions(args) {
  const options = { stages: undefined, files: [], filter: undefined, limitS: STAGE_LIMIT_S };
  for (let i = 0; i < args.length; i++) {
    const [flag, inline] = splitFlag(args[i]);
    const value = () => inline ?? args[++i] ?? fail(`${flag} needs a value`);
    if (flag === "--only") options.stages = value().split(",");
    else if (flag === "--filter") options.filter = value();
    else if (flag === "--limit") options.limitS = Number(value());
    else if (flag.startsWith("-")) fail(`Unknown option ${flag} of test`);
    else options.files.push(args[i]);
  }
  for (const file of options.files) {
    if (!existsSync(join(ROOT, file)) && !existsSync(file)) fail(`No such test file: ${file}`);
  }
  const unknown = options.stages?.find((name) => !Object.hasOwn(STAGES, name));
  if (unknown !== undefined) {
    fail(`Unknown stage "${unknown}", expected one of: ${Object.keys(STAGES).join(", ")}`);
  }
  if (!(options.limitS > 0)) fail("--limit must be a positive number of seconds");
  return options;
}

/** Leaves out what cannot hold a test of the name that is asked for, and the stages that take no names. */
function narrow({ stages, files, filter, ...others }) {
  if (files.length > 0) {
    // A file is a test of tests/, which two stages run.
    return { ...others, filter, files, stages: stages ?? ["deno", "bun"] };
  }
  if (filter === undefined) return { ...others, filter, files, stages };
  const named = filesWithTest(filter, "tests", ".test.ts");
  const inZig = filesWithTest(filter, "zig/src", ".zig");
  // A name that is put together from parts is nowhere: then all of them are looked through.
  const isNowhere = named.length === 0 && inZig.length === 0;
  stages ??= [
    ...(inZig.length > 0 || isNowhere ? ["zig"] : []),
    ...(named.length > 0 || isNowhere ? ["deno", "bun"] : []),
  ];
  // The machine of the stage `numa` has tests of its own unless files are named.
  return { ...others, filter, files: stages.includes("numa") ? [] : named, stages };
}

async function runStages({ stages = Object.keys(STAGES), files, filter, limitS }) {
  // Stages that load the library need it also when the stage that builds it was not asked for.
  const needLibrary = ["doc", "deno", "bun", "oldest", "numa"];
  if (!stages.includes("build") && stages.some((name) => needLibrary.includes(name))) {
    await buildIfStale();
  }
  const interrupt = new AbortController();
  const onSignal = () => interrupt.abort();
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, onSignal);

  const env = { ...toolEnvironment(), NO_COLOR: "1" };
  const results = {};
  let unbuilt = false;
  const runInOrder = async (names, write) => {
    for (const name of names) {
      if (unbuilt || interrupt.signal.aborted) {
        const note = unbuilt ? "not run: there is no library" : "not run: interrupted";
        results[name] = { name, passed: 0, failed: 0, skipped: 0, seconds: 0, notes: [note] };
        continue;
      }
      const run = { env, limitS, abort: interrupt.signal, write };
      results[name] = await runStage(name, { files, filter }, run);
      unbuilt ||= name === "build" && results[name].failed > 0;
    }
  };
  const unplaced = stages.filter((name) => !STEPS.flat(2).includes(name));
  if (unplaced.length > 0) throw new Failure(`STEPS lacks the stage ${unplaced.join(", ")}`);
  for (const step of STEPS) {
    const lanes = step.map((lane) => lane.filter((name) => stages.includes(name)))
      .filter((lane) => lane.length > 0);
    if (lanes.length < 2) await runInOrder(lanes.flat(), writeAtOnce);
    else await Promise.all(lanes.map((lane) => runInOrder(lane, writeAtEnd())));
  }
  const total = report(
    Object.keys(STAGES).filter((name) => name in results).map((name) => results[name]),
  );
  if (interrupt.signal.aborted) return 130;
  return total.failed > 0 ? 1 : 0;
}

/** Shows output as it comes. */
function writeAtOnce(chunk) {
  process.stdout.write(chunk);
}

/** Keeps the output of a command together, where several run at once. */
function writeAtEnd() {
  let chunks = [];
  return (chunk, isEnd) => {
    chunks.push(Buffer.from(chunk));
    if (!isEnd) return;
    process.stdout.write(Buffer.concat(chunks));
    chunks = [];
  };
}

async function runStage(name, selection, { env, limitS, abort, write }) {
  const result = { name, passed: 0, failed: 0, skipped: 0, seconds: 0, notes: [] };
  const stageStartMs = performance.now();
  let stageLimitMs = limitS * 1000;
  if (process.env.CI) {
    stageLimitMs = Math.min(stageLimitMs, CI_LIMIT_S * 1000 - (stageStartMs - startMs));
  }

  for (const { name: commandName, command, cwd, count } of STAGES[name].commands(selection)) {
    write(`\n== ${commandName}: ${readable(command)}\n`);
    const commandStartMs = performance.now();
    const limitMs = Math.max(1, stageLimitMs - (commandStartMs - stageStartMs));
    const options = { env, cwd, limitMs, abort, write };
    const run = await runCaptured(command[0], command.slice(1), options);
    const counts = judge(run, limitMs, count);
    result.passed += counts.passed;
    result.failed += counts.failed;
    result.skipped += counts.skipped;
    for (const note of counts.notes) {
      result.notes.push(commandName === name ? note : `${commandName}: ${note}`);
    }
    const seconds = (performance.now() - commandStartMs) / 1000;
    // What crashes leaves its last line open.
    const opening = /(^|\n)$/.test(run.output) ? "" : "\n";
    write(`${opening}-- ${commandName}: ${summary(counts)} in ${seconds.toFixed(1)} s\n`, true);
  }
  result.seconds = (performance.now() - stageStartMs) / 1000;
  return result;
}

/** What a finished command means: its own counts, and a failure for whatever they do not tell. */
function judge(run, limitMs, count) {
  const notes = [];
  const signal = fatalSignal(run);
  if (run.stopped === "limit") notes.push(`hangs: stopped after ${(limitMs / 1000).toFixed(0)} s`);
  else if (run.stopped === "interrupt") notes.push("interrupted");
  else if (signal !== null) notes.push(`crashed with ${signal}`);

  if (count === undefined) {
    if (notes.length === 0 && run.code !== 0) notes.push("failed");
    const failed = notes.length > 0 ? 1 : 0;
    return { passed: 1 - failed, failed, skipped: 0, notes };
  }
  const counts = count(stripVTControlCharacters(run.output)) ??
    { passed: 0, failed: 0, skipped: 0 };
  let { failed } = counts;
  if (notes.length > 0) failed++;
  else if (run.code !== 0 && failed === 0) {
    notes.push(`exit code ${run.code}, though no test failed`);
    failed++;
  } else if (counts.passed + failed + counts.skipped === 0) {
    notes.push("ran no tests");
    failed++;
  }
  if (counts.note !== undefined) notes.push(counts.note);
  return { passed: counts.passed, failed, skipped: counts.skipped, notes };
}

function report(results) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  console.log("\nstage     passed  failed  skipped     time");
  for (const { name, passed, failed, skipped, seconds, notes } of results) {
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped;
    console.log(
      name.padEnd(8) + String(passed).padStart(8) + String(failed).padStart(8) +
        String(skipped).padStart(9) + `${seconds.toFixed(1)} s`.padStart(9) +
        (notes.length > 0 ? `  ${notes.join("; ")}` : ""),
    );
  }
  console.log();
  console.log(summary(total));
  return total;
}

/** A command as one would type it in the root of the checkout. */
function readable(command) {
  return command
    .map((word) => word.startsWith(ROOT) ? word.slice(ROOT.length) : word)
    .map((word) => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`)
    .join(" ");
}

function splitFlag(arg) {
  const match = /^(--[\w-]+)=(.*)$/s.exec(arg);
  return match ? [match[1], match[2]] : [arg, undefined];
}

function fail(message) {
  throw new UsageError(message);
}
