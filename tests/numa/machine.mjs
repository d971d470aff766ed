// Runs tests on two NUMA nodes: in a virtual machine that QEMU makes, as few machines that build this
// have two. Its kernel is Debian's, unpacked and not installed; all else it needs is in one initramfs:
// busybox, the library, Deno and Bun with the shared libraries they load, the sources and the Zig
// tests. What the tests say comes back over the serial console. Runs under node, deno (run -A) and bun.
//
//   machine.mjs [--filter TEXT] [--limit SECONDS] [test files]
//       the NUMA tests, or others; one that is skipped has failed
//   machine.mjs --shell
//       a shell in the same machine; `poweroff -f` ends it

import { spawn, spawnSync } from "node:child_process";
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { buildIfStale } from "../../tools/build.mjs";
import { Failure } from "../../tools/failure.mjs";
import { CACHE, ROOT, ZIG_DIR } from "../../tools/paths.mjs";
import { countBun, countDeno, summary } from "../../tools/counts.mjs";
import { escapePattern } from "../../tools/stages.mjs";
import { findOnPath, tool, toolEnvironment } from "../../tools/toolchain.mjs";

/** All of it: making the machine, booting it, the tests. Twice what it takes, for a host that is busy. */
const LIMIT_S = 300;

/** Hardware virtualization that works at all has booted by then. */
const KVM_BOOT_LIMIT_MS = 20_000;

/** One test of Bun, which would otherwise be 5 s. */
const BUN_TEST_LIMIT_MS = 60_000;

const KERNEL_PACKAGE = "linux-image-cloud-amd64";

const DIRECTORY = join(CACHE, "numa");
const TREE = join(DIRECTORY, "tree");
const INITRAMFS = join(DIRECTORY, "initramfs.cpio");

/** What of the checkout is inside, in `/millrace`. */
const SOURCES = [
  ...["deno.json", "package.json", "bunfig.toml", "mod.ts", "src", "ffi", "tests"],
  ...["zig/include", "zig/zig-out/lib/libmillrace.so"],
];

// The processors take turns, so that a node's are not one range. The initramfs is loaded below 2 GiB,
// which is node 0; files unpacked from it lie on either node.
const NODES = [{ cpus: [0, 2], megabytes: 2048 }, { cpus: [1, 3], megabytes: 512 }];
const DISTANCE = 21;

const KERNEL_OPTIONS = [
  ...["console=ttyS0", "quiet"],
  // Emulated, each flushes the translations at every turn: half the time of a run.
  "mitigations=off",
  // Huge pages for who asks for them, so that a test can tell.
  "transparent_hugepage=madvise",
  "panic=-1", // ends the machine, which would stand still
  // An emulated processor stands still while the host is busy, which is nobody's fault.
  ...["no_timer_check", "nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1"],
];

/** What the kernel says when something is wrong that no test need notice. */
const KERNEL_TROUBLE = /^\[ *\d+\.\d+\] .*(?:Kernel panic|Out of memory|oom-kill|BUG:|Oops)/m;

/** Why this cannot run here. */
class Skip extends Error {}

const startMs = performance.now();
const { values: options, positionals: files } = parseArgs({
  options: {
    shell: { type: "boolean", default: false },
    filter: { type: "string" },
    limit: { type: "string", default: `${LIMIT_S}` },
  },
  allowPositionals: true,
});
const limitMs = Number(options.limit) * 1000;

try {
  process.exitCode = await main();
} catch (error) {
  if (error instanceof Skip) {
    console.log(`skipped: ${error.message}`);
    console.log(summary({ passed: 0, failed: 0, skipped: 1 }));
  } else if (error instanceof Failure) {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  } else {
    throw error;
  }
}

async function main() {
  if (process.arch !== "x64") throw new Skip(`the machine is x86-64, this one is ${process.arch}`);
  const qemu = findProgram("qemu-system-x86_64", "qemu-system-x86");
  const busybox = findProgram("busybox", "busybox-static");
  const kernel = findKernel();
  await buildIfStale();

  const runs = testRuns();
  makeInitramfs(busybox, runs);
  const accelerators = usableAccelerators();
  if (options.shell) {
    const args = machineArgs(kernel, accelerators[0], "mon:stdio");
    return spawnSync(qemu, args, { stdio: "inherit" }).status ?? 1;
  }

  let result;
  for (const accelerator of accelerators) {
    console.log(`Booting with ${accelerator}, ${seconds()} s after the start`);
    const bootLimitMs = accelerator === "kvm" ? KVM_BOOT_LIMIT_MS : limitMs;
    result = await boot(qemu, machineArgs(kernel, accelerator, "stdio"), bootLimitMs);
    if (result.booted) break;
    console.log(`It does not boot: ${result.end}`);
  }
  return report(result, runs);
}

/** What is run inside: a name, the words of the command, and how to read its counts. */
function testRuns() {
  const tests = files.length > 0 ? files : ["tests/numa.test.ts"];
  const { filter } = options;
  const deno = ["/bin/deno", "test", "-A", "--no-check"];
  const bun = ["/bin/bun", "test", `--timeout=${BUN_TEST_LIMIT_MS}`];
  if (filter !== undefined) {
    deno.push(`--filter=${filter}`);
    bun.push(`--test-name-pattern=${escapePattern(filter)}`);
  }
  return [
    ...(files.length > 0 || filter !== undefined
      ? []
      : [{ name: "zig", command: ["/bin/zig-tests"], count: countZigProgram }]),
    { name: "deno", command: [...deno, ...tests], count: countDeno },
    { name: "bun", command: [...bun, ...tests.map((file) => `./${file}`)], count: countBun },
  ];
}

/** Reads what a program of Zig tests says at its end. */
function countZigProgram(output) {
  const all = /^All (\d+) tests passed\.$/m.exec(output);
  if (all) return { passed: Number(all[1]), failed: 0, skipped: 0 };
  const some = /^(\d+) passed; (\d+) skipped; (\d+) failed\.$/m.exec(output);
  if (!some) return undefined;
  return { passed: Number(some[1]), skipped: Number(some[2]), failed: Number(some[3]) };
}

function makeInitramfs(busybox, runs) {
  const zig = spawnSync(tool("zig"), ["build", "test-program", "-Dtest-filter=numa"], {
    cwd: ZIG_DIR,
    env: toolEnvironment(),
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (zig.status !== 0) throw new Failure("Cannot build the Zig tests");

  // A tree of links, which cpio follows: nothing is copied twice.
  rmSync(TREE, { recursive: true, force: true });
  const programs = {
    "/bin/busybox": busybox,
    "/bin/deno": tool("deno"),
    "/bin/bun": tool("bun"),
    "/bin/zig-tests": join(ZIG_DIR, "zig-out", "bin", "millrace-tests"),
  };
  const contents = {
    ...programs,
    ...Object.fromEntries(SOURCES.map((path) => [`/millrace/${path}`, join(ROOT, path)])),
    "/init": join(ROOT, "tests", "numa", "init.sh"),
  };
  for (
    const program of [
      ...Object.values(programs),
      contents["/millrace/zig/zig-out/lib/libmillrace.so"],
    ]
  ) {
    for (const library of sharedLibraries(program)) contents[library] = library;
  }
  for (const [path, source] of Object.entries(contents)) {
    const place = join(TREE, path);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(realpathSync(source), place);
  }
  const plan = options.shell
    ? "cd /millrace; setsid cttyhack sh"
    : runs.map(({ name, command }) => {
      // Less than all, so that a program that hangs leaves time for the next.
      const words = [name, "timeout", "-s", "KILL", `${Math.ceil(limitMs / 1500)}`, ...command];
      return `run ${words.map(quote).join(" ")}`;
    }).join("\n");
  writeFileSync(join(TREE, "plan"), plan);

  const pack = `find -L . | "$0" cpio -o -L -H newc -R 0:0`;
  const output = openSync(INITRAMFS, "w");
  const packed = spawnSync("sh", ["-c", pack, busybox], {
    cwd: TREE,
    stdio: ["ignore", output, "pipe"],
  });
  closeSync(output);
  if (packed.status !== 0) throw new Failure(`Cannot pack the initramfs: ${packed.stderr}`);
}

/** The shared libraries a program loads, and what loads them, by their paths. */
function sharedLibraries(program) {
  const { stdout } = spawnSync("ldd", [program], { encoding: "utf8" });
  return [...(stdout ?? "").matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map(([, path]) => path);
}

function machineArgs(kernel, accelerator, serial) {
  const cpus = NODES.flatMap((node) => node.cpus).length;
  const megabytes = NODES.reduce((sum, node) => sum + node.megabytes, 0);
  return [
    // Without protection keys, which V8 switches at every step of its compilers, and a fifth level of
    // page tables: both are dear to emulate.
    ...[
      "-machine",
      "q35",
      "-cpu",
      "max,-pku,-la57",
      "-smp",
      `${cpus},sockets=${cpus}`,
      "-m",
      `${megabytes}M`,
    ],
    ...["-accel", accelerator === "tcg" ? "tcg,thread=multi" : accelerator],
    ...NODES.flatMap((node, id) => [
      ...["-object", `memory-backend-ram,id=memory${id},size=${node.megabytes}M`],
      ...["-numa", `node,nodeid=${id},memdev=memory${id},${node.cpus.map((cpu) => `cpus=${cpu}`)}`],
    ]),
    ...["-numa", `dist,src=0,dst=1,val=${DISTANCE}`],
    ...["-kernel", kernel, "-initrd", INITRAMFS],
    ...["-append", KERNEL_OPTIONS.join(" "), "-no-reboot"],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-serial", serial],
  ];
}

/** Boots the machine and waits for its end, which is brought about when a limit is reached. */
function boot(qemu, args, bootLimitMs) {
  const child = spawn(qemu, args, { stdio: ["ignore", "pipe", "pipe"] });
  const decoder = new TextDecoder();
  let raw = "";
  let end;
  const stop = (why) => {
    end ??= why;
    child.kill("SIGKILL");
  };
  const booted = () => /^@booted\r?$/m.test(raw);
  const timers = [
    setTimeout(() => booted() || stop(`not within ${bootLimitMs / 1000} s`), bootLimitMs),
    setTimeout(() => stop("hangs"), Math.max(1, limitMs - (performance.now() - startMs))),
  ];
  const onSignal = (signal) => {
    child.kill("SIGKILL");
    process.exit(128 + { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 }[signal]);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, onSignal);
  child.stdout.on("data", (chunk) => raw += decoder.decode(chunk, { stream: true }));
  child.stderr.on("data", (chunk) => raw += decoder.decode(chunk, { stream: true }));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      for (const timer of timers) clearTimeout(timer);
      for (const signal of signals) process.off(signal, onSignal);
      const console = stripVTControlCharacters(raw).replaceAll("\r", "");
      if (!/^@done$/m.test(console)) end ??= `ended early (${signal ?? code})`;
      resolve({ console, booted: booted(), end });
    });
  });
}

/** Prints what the programs inside said, or all of the console when something failed. Gives the exit code. */
function report(result, runs) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const notes = [];
  const fail = (note) => {
    total.failed++;
    notes.push(note);
  };
  const outputs = [];
  const ran = new Set();
  for (const { name, count } of runs) {
    const output = said(result.console, name);
    const counts = output && count(output.text);
    if (output === undefined) fail(`${name} was not run`);
    else if (counts === undefined) fail(`${name} did not end as it should`);
    else {
      total.passed += counts.passed;
      total.failed += counts.failed;
      if (name !== "zig") ran.add(counts.passed + counts.failed + counts.skipped);
      // Whatever a test finds missing, this machine was made to have.
      if (counts.skipped > 0) {
        total.failed += counts.skipped;
        notes.push(`${name} skipped ${counts.skipped}`);
      }
      if (counts.failed > 0) notes.push(`${name} failed`);
      else if (output.code !== 0) fail(`${name} ended with exit code ${output.code}`);
      else if (counts.passed === 0) fail(`${name} ran no tests`);
    }
    outputs.push(`${name}, on two nodes, ${output?.seconds} s:\n${output?.text.trim()}\n`);
  }
  // A file that ends early under one runtime would otherwise hide the tests behind.
  if (ran.size > 1) fail(`deno and bun ran different numbers of tests: ${[...ran].join(", ")}`);
  const trouble = KERNEL_TROUBLE.exec(result.console);
  if (trouble) fail(`the kernel says: ${trouble[0]}`);
  if (result.end !== undefined) fail(`the machine ${result.end}`);

  console.log(total.failed > 0 ? `The console:\n${result.console}` : outputs.join("\n"));
  console.log(`${seconds()} s after the start: ${notes.join("; ") || "all as it should be"}`);
  console.log(summary(total));
  return total.failed > 0 ? 1 : 0;
}

/** What a program inside said and how it ended; undefined if it was not run to its end. */
function said(console, name) {
  const found = new RegExp(`^@begin ${name}\n(.*?)^@end ${name} (\\d+) (\\d+)$`, "ms")
    .exec(console);
  return found ? { text: found[1], code: Number(found[2]), seconds: Number(found[3]) } : undefined;
}

/** Hardware virtualization where it may work, and emulation, which always does. */
function usableAccelerators() {
  const asked = process.env.MILLRACE_NUMA_ACCELERATOR;
  if (asked) return [asked];
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return ["tcg"];
  }
  // Within a virtual machine the device may be there and boot nothing.
  const inHardware = /^flags\b.*\b(?:vmx|svm)\b/m.test(readFileSync("/proc/cpuinfo", "utf8"));
  return inHardware ? ["kvm", "tcg"] : ["tcg"];
}

function findProgram(name, debianPackage) {
  const path = findOnPath(name)[0];
  if (path === undefined) throw new Skip(`there is no ${name} (Debian: ${debianPackage})`);
  return path;
}

/** Debian's cloud kernel: the one unpacked before, else downloaded. Any other can be asked for. */
function findKernel() {
  const asked = process.env.MILLRACE_NUMA_KERNEL;
  if (asked) return asked;
  const unpacked = join(DIRECTORY, "kernel");
  const find = () => {
    const boot = join(unpacked, "boot");
    const name = existsSync(boot) && readdirSync(boot).find((name) => name.startsWith("vmlinuz-"));
    return name ? join(boot, name) : undefined;
  };
  const found = find();
  if (found !== undefined) return found;

  // The package only names the one of the current version.
  const depends = outputOf("apt-cache", ["depends", KERNEL_PACKAGE]);
  const current = /^\s*Depends: (linux-image-\S+)$/m.exec(depends)?.[1];
  if (current === undefined) throw new Skip(`apt knows no ${KERNEL_PACKAGE}`);
  rmSync(unpacked, { recursive: true, force: true });
  mkdirSync(unpacked, { recursive: true });
  console.log(`Downloading ${current}`);
  outputOf("apt-get", ["-qq", "download", current], unpacked);
  const unpack = "dpkg-deb --fsys-tarfile *.deb | tar -x --wildcards './boot/vmlinuz-*'";
  outputOf("sh", ["-c", unpack], unpacked);
  const kernel = find();
  if (kernel === undefined) throw new Skip(`there is no kernel in ${current}`);
  return kernel;
}

/** What a program prints that is needed to get the kernel. */
function outputOf(command, args, cwd) {
  const run = spawnSync(command, args, { cwd, encoding: "utf8", timeout: 60_000 });
  if (run.status === 0) return run.stdout;
  const reason = run.error?.message ?? run.stderr.trim().split("\n").at(-1);
  throw new Skip(`cannot get ${KERNEL_PACKAGE}: ${command}: ${reason}`);
}

function quote(word) {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function seconds() {
  return ((performance.now() - startMs) / 1000).toFixed(1);
}
