// Model-checks the wake protocol and the end of a channel with spin: the protocol must hold over
// every interleaving, and must break as soon as one of its fences or checks is taken away.
// Runs under node, deno (run -A) and bun.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const parallel = 2;
const memoryMegabytes = 900;
const secondsAllowed = 300;

const oneSender = { SENDERS: 1, RINGS: 1 };
const futex = { RECEIVER_SLEEPS: "FUTEX", SENDER_SLEEPS: "FUTEX" };
const bell = { RECEIVER_SLEEPS: "BELL", SENDER_SLEEPS: "BELL" };

// `large` ones are worth the time an optimizing compiler takes. `longest` ones, searches of millions of
// states, are made by `--all` only: others show the same in smaller.
const sound = [
  { model: "wake", what: "2 senders, futex receiver", defines: { ...futex } },
  { model: "wake", what: "2 senders, bell receiver", defines: { ...bell }, longest: true },
  {
    model: "wake",
    what: "2 senders that wait for room, futexes",
    defines: { MESSAGES: 2, ...futex },
    longest: true,
  },
  {
    model: "wake",
    what: "1 sender, ring of 1, futex and bell by turns, the receiver gives up",
    defines: { ...oneSender, MESSAGES: 3, GIVE_UPS: 1 },
  },
  {
    model: "wake",
    what: "1 sender, ring of 2, futex and bell by turns, the receiver gives up",
    defines: { ...oneSender, MESSAGES: 4, CAPACITY: 2, GIVE_UPS: 1 },
  },
  {
    model: "wake",
    what: "1 sender, the receiver closes",
    defines: { ...oneSender, MESSAGES: 2, RECEIVER_MAY_CLOSE: 1 },
  },
  { model: "wake", what: "every run ends", defines: { ...oneSender, MESSAGES: 2 }, ends: true },
  {
    model: "close",
    what: "2 senders, a third thread closes, futexes",
    defines: { ...futex, STAYS_OPEN: 1 },
    longest: true,
  },
  {
    model: "close",
    what: "1 sender that waits for room and closes itself, a third thread closes",
    defines: { ...oneSender, MESSAGES: 2 },
  },
  { model: "close", what: "every run ends", defines: { ...oneSender, ...bell }, ends: true },
  {
    model: "death",
    what: "a sender or the receiver dies, futex and bell by turns",
    defines: { ...oneSender, MESSAGES: 2, DEATHS: 1 },
  },
  {
    model: "death",
    what: "both may die, bells",
    defines: { ...oneSender, MESSAGES: 2, DEATHS: 2, ...bell },
  },
  {
    model: "death",
    what: "one of 2 senders dies, bell receiver",
    defines: { DEATHS: 1, ONLY_FIRST_SENDER_DIES: 1, STAYS_OPEN: 1, ...bell },
  },
  {
    model: "death",
    what: "a sender, the receiver or the thread that closes dies, bells",
    defines: { ...oneSender, DEATHS: 1, CLOSES: 1, ...bell },
  },
  {
    model: "recycle",
    what: "3 senders, one ring, futexes",
    defines: { SENDERS: 3, ...futex },
    longest: true,
  },
  {
    model: "recycle",
    what: "2 senders that wait for room, one ring, bells",
    defines: { MESSAGES: 2, ...bell },
  },
  {
    model: "recycle",
    what: "a registration races with close, futexes",
    defines: { CLOSES: 1, ...futex },
    longest: true,
  },
  {
    model: "recycle",
    what: "the first owner of the ring dies, bells",
    defines: { DEATHS: 1, ONLY_FIRST_SENDER_DIES: 1, ...bell },
  },
  { model: "recycle", what: "every run ends", defines: { ...bell }, ends: true },
  {
    model: "pool",
    what: "2 slabs, futex and bell by turns, a sleeper gives up",
    defines: { HOLDERS: 2, GIVE_UPS: 1 },
    large: true,
  },
  {
    model: "pool",
    what: "3 sleepers in the futex, one gives up",
    defines: { SLEEPERS: 3, GIVE_UPS: 1, SLEEPS: "FUTEX" },
    large: true,
  },
  {
    model: "pool",
    what: "2 sleepers on the bell, one gives up",
    defines: { GIVE_UPS: 1, SLEEPS: "BELL" },
  },
  { model: "slabs", what: "2 threads that take and free, and one that sleeps", defines: {} },
  { model: "slabs", what: "one is killed in the middle of a free", defines: { DEATH: 1 } },
  {
    model: "claims",
    what: "2 receivers, one of which dies with a claim and is replaced",
    defines: { DEATHS: 1 },
  },
  {
    model: "claims",
    what: "2 receivers, and a claim that a third one left",
    defines: { LEAVES_CLAIM: 1 },
  },
  {
    model: "claims",
    what: "2 receivers, one of which offers its claim, and may take it back",
    defines: { OFFERS: 1 },
    large: true,
  },
  {
    model: "claims",
    what: "2 receivers, one of which offers its claim, and does not come back",
    defines: { OFFERS: 1, NEVER_LOOKS: 1 },
  },
  {
    model: "claims",
    what: "2 receivers, one offers its claim, one dies with one and is replaced",
    defines: { OFFERS: 1, DEATHS: 1 },
    longest: true,
  },
  {
    model: "certainty",
    what: "3 rings, one of which has a message at every instant",
    defines: {},
  },
  {
    model: "sleepers",
    what: "a receiver that only looks, and one that claims and may offer it, one gives up",
    defines: { LOOKERS: 1, OFFERS: 1, GIVE_UPS: 1 },
    large: true,
  },
  {
    model: "sleepers",
    what: "2 receivers, which also find what is not ready, one offers its claim, one gives up",
    defines: { IS_SURE: 1, OFFERS: 1, GIVE_UPS: 1 },
    longest: true,
  },
  {
    model: "sleepers",
    what: "2 receivers that share a ring, one gives up, one closes",
    defines: { GIVE_UPS: 1, CLOSES: 1 },
    large: true,
  },
  {
    model: "sleepers",
    what: "2 receivers, a third dies at work",
    defines: { MESSAGES: 1, DEATHS: 1 },
  },
  { model: "ringer", what: "2 wakers of any process, an event loop and its ringer", defines: {} },
];

const wake = { model: "wake", defines: { ...oneSender, MESSAGES: 2 } };
const close = { model: "close", defines: { ...oneSender, MESSAGES: 2, ...futex } };
const death = { model: "death", defines: { ...oneSender, MESSAGES: 2, DEATHS: 1 } };
const recycle = { model: "recycle", defines: { ...futex } };
// From the other end of each choice the search is twenty times shorter.
const lateRegistration = { model: "recycle", defines: { CLOSES: 1, ...futex }, backwards: true };

const pool = { model: "pool", defines: { GIVE_UPS: 1, SLEEPS: "FUTEX" } };

const slabs = { model: "slabs", defines: {} };
const killedFree = { model: "slabs", defines: { DEATH: 1 } };
const ringer = { model: "ringer", defines: {} };
const claims = { model: "claims", defines: {} };
const leftClaim = { model: "claims", defines: { LEAVES_CLAIM: 1 } };
const offeredClaim = { model: "claims", defines: { OFFERS: 1 } };
const certainty = { model: "certainty", defines: { RINGS: 2 } };
const sleepers = { model: "sleepers", defines: {} };
const givingUp = { model: "sleepers", defines: { GIVE_UPS: 1 } };

const mutilated = [
  { ...wake, without: "COMMIT_FENCE", what: "the commit fence" },
  { ...wake, without: "IDLE_FENCE", what: "the idle fence" },
  { ...wake, without: "IDLE_RECHECK", what: "the second look at the tail" },
  { ...wake, without: "READY_FENCE", what: "the ready fence" },
  { ...wake, without: "RECEIVER_ARM_FENCE", what: "the receiver's arm fence" },
  { ...wake, without: "RECEIVER_RECHECK", what: "the receiver's look after arming" },
  { ...wake, without: "RELEASE_FENCE", what: "the release fence" },
  { ...wake, without: "SENDER_ARM_FENCE", what: "the sender's arm fence" },
  { ...wake, without: "ROOM_RECHECK", what: "the sender's look after arming" },
  { ...wake, without: "BELL_SNAPSHOT", what: "the bell's value from before arming" },
  { ...wake, without: "FUTEX_COMPARE", what: "the futex comparing its word" },
  { ...wake, without: "END_WAKE", what: "the last sender waking the receiver" },
  { ...close, without: "CLOSE_SEAL", what: "the seal being one read-modify-write" },
  { ...death, without: "CLOSE_ROOM_WAKE", what: "close waking the senders" },
  { ...death, without: "ORPHANS", what: "orphans" },
  {
    ...death,
    without: "ORPHANS",
    what: "orphans, for a sender on a bell",
    defines: { ...death.defines, RECEIVER_SLEEPS: "FUTEX", SENDER_SLEEPS: "BELL" },
  },
  { ...death, without: "ORPHANS_LAST", what: "orphans being the destructor's last step" },
  { ...death, without: "ORPHANS_SNAPSHOT", what: "the orphans' value from before arming" },
  {
    ...death,
    without: "EMPTY_HANDED_ORPHANS",
    what: "the orphans of a thread that holds nothing any more",
  },
  { ...recycle, without: "SEAL_READY", what: "the ready bit of a sender that closes itself" },
  { ...recycle, without: "SEAL_WAKE", what: "a sender that closes itself waking the receiver" },
  { ...recycle, without: "REGISTRATION_IDLE", what: "registration marking the ring idle" },
  { ...recycle, without: "CLAIMING", what: "a state of its own for a ring being registered" },
  { ...recycle, without: "RING_STATE_CHECK", what: "a look at the state before recycling" },
  { ...recycle, without: "RING_STATE_FIRST", what: "a look at the tail after the state" },
  {
    ...lateRegistration,
    without: "REGISTRATION_CHECK",
    what: "a look at the close state before the seal is taken off",
  },
  {
    ...lateRegistration,
    without: "REGISTRATION_RECHECK",
    what: "a look at the close state after registration",
  },
  { ...lateRegistration, without: "REGISTRATION_FENCE", what: "the registration fence" },
  { ...pool, without: "PUSH_FENCE", what: "the fence of a free" },
  { ...pool, without: "ARM_FENCE", what: "the arm fence of who waits for a slab" },
  { ...pool, without: "RECHECK", what: "the look for a slab after arming" },
  { ...pool, without: "SNAPSHOT", what: "the count of wake-ups from before arming" },
  { ...pool, without: "COUNT", what: "comparing a count, not the shared arm" },
  { ...pool, without: "SHARED_ARM", what: "leaving a shared arm in place" },
  { ...slabs, without: "FREE_FIRST", what: "the word of a free slab before its bits" },
  { ...slabs, without: "SECOND_LOOK", what: "a look at the word after its bit was taken away" },
  { ...slabs, without: "LOOK_BELOW", what: "a look below after a summary bit was taken away" },
  { ...killedFree, without: "MENDING", what: "the keeper setting bits again after a death" },
  { ...ringer, without: "PUBLISH_FENCE", what: "the fence of who publishes to a shared segment" },
  { ...ringer, without: "ARM_FENCE", what: "the arm fence of an event loop that is watched" },
  { ...ringer, without: "RECHECK", what: "its look after arming" },
  { ...ringer, without: "BELL_SNAPSHOT", what: "its bell's value from before arming" },
  { ...ringer, without: "KICK", what: "telling the ringer of an arm" },
  { ...ringer, without: "RINGER_COMPARE", what: "the ringer's futexes comparing its own word" },
  { ...claims, without: "GATE_FIRST", what: "the gate before the claim" },
  { ...claims, without: "GATE_FENCE", what: "the gate's fence" },
  { ...claims, without: "CURSOR_RECHECK", what: "a look at the cursor after the gate" },
  { ...claims, without: "CURSOR_FIRST", what: "the cursor before the gates" },
  { ...claims, without: "HELP_HEAD", what: "moving the head after a gate was withdrawn" },
  { ...claims, without: "HEAD_SWAP", what: "the head moving by compare-and-swap" },
  { ...claims, without: "RELEASE_FENCE", what: "the fence of a release by one of several" },
  { ...leftClaim, without: "TAKE_OVER", what: "taking over what another left" },
  { ...leftClaim, without: "LINE_SWAP", what: "one receiver taking a claim over" },
  { ...leftClaim, without: "GATE_MOVE_ORDER", what: "the new gate before the old one goes" },
  { ...leftClaim, without: "MOVES_RECHECK", what: "a look at the count of moved gates" },
  { ...offeredClaim, without: "TAKE_BACK_SWAP", what: "taking an offer back by compare-and-swap" },
  { ...offeredClaim, without: "TAKER_STATE", what: "a state of its own for an offer being taken" },
  { ...offeredClaim, without: "TAKER_WAIT", what: "waiting for who is taking the offer" },
  {
    ...offeredClaim,
    without: "OFFER_COUNT",
    what: "counting an offer",
    defines: { OFFERS: 1, NEVER_LOOKS: 1 },
  },
  {
    ...offeredClaim,
    without: "OWN_LINE",
    what: "a newcomer leaving the line of one that offers alone",
    defines: { OFFERS: 1, DEATHS: 1 },
  },
  { ...certainty, without: "ONE_LOAD", what: "adding up the tails that were compared" },
  { ...certainty, without: "SECOND_PASS", what: "a second look at every tail" },
  { ...sleepers, without: "COMMIT_FENCE", what: "the commit fence" },
  { ...sleepers, without: "READY_FENCE", what: "the ready fence" },
  { ...sleepers, without: "IDLE_FENCE", what: "the idle fence" },
  { ...sleepers, without: "IDLE_RECHECK", what: "the second look at the tail" },
  { ...sleepers, without: "ARM_FENCE", what: "the fence of a sleeper's bit" },
  { ...sleepers, without: "RECHECK", what: "the look after arming" },
  { ...sleepers, without: "CALL_FOR_REST", what: "waking one more for what a claim leaves" },
  { ...sleepers, without: "IDLE_AT_WORK", what: "a ring going idle while its receiver works" },
  { ...givingUp, without: "PASS_ON", what: "passing a wake-up on" },
  { ...givingUp, without: "NEXT_SLEEPER", what: "waking the next when one has gone" },
  {
    ...sleepers,
    without: "LOOK_PASS_ON",
    what: "passing on the wake-up of one that only looks",
    defines: { MESSAGES: 1, LOOKERS: 1 },
  },
  {
    ...sleepers,
    without: "OFFER_WAKE",
    what: "waking one for what is offered",
    defines: { MESSAGES: 1, OFFERS: 1 },
  },
  {
    ...sleepers,
    without: "CALL_AFTER_TAKE_OVER",
    what: "waking one more after a claim was taken over",
    defines: { MESSAGES: 1, DEATHS: 1 },
  },
];

function works(command, args) {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

function run(command, args, cwd) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), secondsAllowed * 1000);
    let output = "";
    child.stdout.on("data", (chunk) => output += chunk);
    child.stderr.on("data", (chunk) => output += chunk);
    child.on("error", (error) => output += error.message);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, output });
    });
  });
}

/** The search program, which a compiler that does not optimize makes in a tenth of the time. */
async function compile(check, directory) {
  const isLarge = check.large || check.longest;
  const options = [
    "-w",
    check.ends ? "-DNP" : "-DSAFETY",
    "-DCOLLAPSE",
    `-DMEMLIM=${memoryMegabytes}`,
    ...(check.backwards ? ["-DREVERSE"] : []),
    "-o",
    "pan",
    "pan.c",
  ];
  if (hasQuickCompiler && !isLarge) {
    const compiled = await run("tcc", options, directory);
    if (compiled.code === 0) return compiled;
  }
  return await run(compiler, [isLarge ? "-O1" : "-O0", ...options], directory);
}

async function verify(check) {
  const directory = mkdtempSync(join(tmpdir(), "millrace-models-"));
  try {
    const defines = Object.entries(check.defines).map(([name, value]) => `-D${name}=${value}`);
    if (check.without) defines.push(`-DWITHOUT_${check.without}`);
    // spin preprocesses with gcc unless it is told otherwise.
    const preprocessor = compiler === "gcc" ? [] : [`-P${compiler} -E -x c`];
    const generated = await run("spin", [
      ...preprocessor,
      ...defines,
      "-a",
      join(here, `${check.model}.pml`),
    ], directory);
    if (generated.code !== 0) return { broken: generated.output };

    const compiled = await compile(check, directory);
    if (compiled.code !== 0) return { broken: compiled.output };

    // It ends at the first error. Without a single progress label every cycle is one without progress.
    const searched = await run("./pan", [
      "-m20000",
      check.large || check.longest ? "-w24" : "-w20",
      ...(check.ends ? ["-l"] : []),
    ], directory);
    const errors = /errors: (\d+)/.exec(searched.output);
    if (!errors) return { broken: searched.output };
    return {
      errors: Number(errors[1]),
      exhaustive: searched.output.includes("Full statespace search") &&
        !/max search depth too small|Search not completed|MEMLIM|out of memory/.test(
          searched.output,
        ),
      states: Number(/(\d+) states, stored/.exec(searched.output)?.[1]),
      complaint: /pan:\d+: (.*?) \(at depth/.exec(searched.output)?.[1] ?? "",
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function judge(check, result) {
  if (result.broken !== undefined) {
    return { ok: false, line: `${name(check)}: did not run\n${result.broken.trim()}` };
  }
  if (check.without) {
    return result.errors > 0
      ? { ok: true, line: `${name(check)}: fails, as it must` }
      : { ok: false, line: `${name(check)}: nothing fails, is it needed?` };
  }
  if (result.errors > 0) return { ok: false, line: `${name(check)}: ${result.complaint}` };
  if (!result.exhaustive) {
    return { ok: false, line: `${name(check)}: the search was not exhaustive` };
  }
  return { ok: true, line: `${name(check)} (${result.states} states)` };
}

function name(check) {
  return check.without ? `${check.model} without ${check.what}` : `${check.model}: ${check.what}`;
}

const compiler = ["gcc", "cc"].find((command) => works(command, ["--version"]));
const hasQuickCompiler = works("tcc", ["-v"]);
let checks = [...sound, ...mutilated];
const missing = !works("spin", ["-V"])
  ? "spin is not installed"
  : !compiler
  ? "there is no C compiler"
  : "";
if (missing) {
  console.log(`skipped: ${missing}`);
  console.log(`0 passed, 0 failed, ${checks.length} skipped`);
  process.exit(0);
}

const all = checks.length;
if (!process.argv.includes("--all")) checks = checks.filter((check) => !check.longest);

// The longest start first; the lines still come in the order of the lists.
const verdicts = checks.map(() => deferred());
const weight = ({ longest, large, without }) => longest ? 3 : large ? 2 : without ? 0 : 1;
const queue = checks.map((_, index) => index).sort((a, b) => weight(checks[b]) - weight(checks[a]));

function deferred() {
  let resolve;
  const promise = new Promise((fulfil) => resolve = fulfil);
  return { promise, resolve };
}

async function work() {
  for (let index = queue.shift(); index !== undefined; index = queue.shift()) {
    verdicts[index].resolve(judge(checks[index], await verify(checks[index])));
  }
}
for (let worker = 0; worker < parallel; worker++) work();

let passed = 0;
let failed = 0;
for (const { promise } of verdicts) {
  const { ok, line } = await promise;
  console.log(`${ok ? "ok  " : "FAIL"} ${line}`);
  if (ok) passed++;
  else failed++;
}
const skipped = all - checks.length;
console.log(`${passed} passed, ${failed} failed` + (skipped > 0 ? `, ${skipped} skipped` : ""));
process.exit(failed === 0 ? 0 : 1);
