import assert from "node:assert/strict";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { Workshop } from "./support/foreign.ts";
import { type Child, type ChildResult, runtime, startChild } from "./support/runtime.ts";

/** An example: `examples/NAME/main.ts` is run, and must say `says` and exit with 0. */
interface Example {
  readonly says: RegExp;
  readonly parameters?: readonly string[];
}

/** All of them. */
const examples: Record<string, Example> = {
  backpressure: { says: /^wait +2000 sent and received, 0 dropped\ngive up .*\ndrop +64 sent/m },
  basic: { says: /^78498 primes below 1000000, their sum is 37550402023$/m },
  event_notifier: { says: /^5000 readings received, at most one write a sleep$/m },
  frames: { says: /^120 frames of 230400 bytes in 4 slabs, .* 4 slabs are free again$/m },
  graceful_shutdown: {
    says: /^the time is up: (\d+) jobs accepted, \1 handled/m,
    parameters: ["--seconds", "0.5"],
  },
  ingest: {
    says: /^ {2}channel +(\S+) sent, \1 received: 0 lost, 0 duplicated/m,
    parameters: [fileURLToPath(new URL("../src", import.meta.url)), "--senders", "2"],
  },
  logging: { says: /^all requests are served: 4028 records, \d+ bytes, nothing lost$/m },
  managed_loop: { says: /measurements in \d+ batches and \d+ turns; meanwhile 100 requests/ },
  "numa-ingest": {
    says:
      /^memory +wanted on .*\ncontrol[^]*\n200000 samples of each of \d+ nodes received, none lost$/m,
  },
  processes: { says: /^100000 samples from (deno|bun), in order, the sum is right$/m },
  processes_frames: {
    says: /^120 frames of 230400 bytes from (deno|bun) in 4 slabs, .* 4 slabs are free again$/m,
  },
  pipeline: { says: /^samples: 100000 received of 100000 sent$/m },
};

function start(name: string, parameters: readonly string[] = []): Child {
  return startChild(`../../examples/${name}/main.ts`, parameters, { limitMs: 110_000 });
}

function assertSucceeded({ code, signal, stdout, stderr }: ChildResult): void {
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, `${stdout}${stderr}`);
}

for (const [name, { says, parameters }] of Object.entries(examples)) {
  test(`examples/${name} checks its own result under ${runtime}`, async () => {
    const result = await start(name, parameters).ended;
    assertSucceeded(result);
    assert.match(result.stdout, says);
  });
}

test("every program in examples/ is run by the tests", () => {
  const directory = new URL("../examples/", import.meta.url);
  const programs = readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .filter((name) => readdirSync(new URL(`${name}/`, directory)).includes("main.ts"));
  assert.deepEqual(programs.toSorted(), Object.keys(examples).toSorted());
});

test(`examples/processes: a C program feeds a consumer in ${runtime}`, async () => {
  using workshop = new Workshop();
  const producer = workshop.compile("../../examples/processes/producer.c", "program");
  const result = await start("processes", [producer]).ended;
  assertSucceeded(result);
  assert.match(result.stdout, /^100000 samples from .*producer, in order, the sum is right$/m);
});

/** Up to so long after its first line a program is stopped. */
const signalWithinMs = 400;

/** Starts an example that would run for a minute, and stops it at a random moment. */
async function interrupted(
  name: string,
  parameters: readonly string[],
  signal: "SIGINT" | "SIGTERM",
): Promise<ChildResult> {
  const child = start(name, parameters);
  // From its first line on it heeds signals; what it does before is not to be interrupted.
  await child.said("\n");
  await new Promise((resolve) => setTimeout(resolve, Math.random() * signalWithinMs));
  child.kill(signal);
  const result = await child.ended;
  assertSucceeded(result);
  return result;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`examples/graceful_shutdown handles what it accepted before ${signal}`, async () => {
    const { stdout } = await interrupted("graceful_shutdown", ["--seconds", "60"], signal);
    assert.match(stdout, new RegExp(`^${signal}: (\\d+) jobs accepted, \\1 handled`, "m"));
  });
}

/** So many lines of one letter in each of two files keep the channel busy for seconds. */
const linesPerFile = 12 * 2 ** 20;

/** Runs examples/ingest over two files; `act` is called once its channel has carried something. */
async function ingesting(act: (child: Child, file: string) => void): Promise<ChildResult> {
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  try {
    const files = ["a.txt", "b.txt"].map((name) => join(directory, name));
    for (const file of files) writeFileSync(file, "a\n".repeat(linesPerFile));
    const child = start("ingest", [directory, "--senders", "2", "--channel-only"]);
    // Where it is no terminal it tells once a second how far it is.
    await child.said("  channel      [");
    act(child, files[0] as string);
    return await child.ended;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test(`examples/ingest drains what was sent before Ctrl-C under ${runtime}`, async () => {
  const { code, signal, stdout, stderr } = await ingesting((child) => child.kill("SIGINT"));
  // As its --help tells.
  assert.deepEqual({ code, signal }, { code: 130, signal: null }, `${stdout}${stderr}`);
  assert.match(stdout, /^ {2}Ctrl-C in the channel run: the senders stopped, [\d,]+ more message/m);
  const [, sent] = /^ {2}interrupted: ([\d,]+) sent, \1 received, 0 lost$/m.exec(stdout) ?? [];
  const messages = Number(sent?.replaceAll(",", ""));
  assert.ok(messages > 0 && messages < 2 * linesPerFile, stdout);
});

test(`examples/ingest fails when what arrived is not what the plain read found under ${runtime}`, async () => {
  const { code, signal, stdout, stderr } = await ingesting((_, path) => {
    // It has been read once, and will be read to this place again: now it has a line more.
    const file = openSync(path, "r+");
    writeSync(file, new TextEncoder().encode("\n"), 0, 1, 2 * linesPerFile - 2);
    closeSync(file);
  });
  assert.deepEqual({ code, signal }, { code: 1, signal: null }, `${stdout}${stderr}`);
  assert.match(stdout, /received: 0 lost, 1 duplicated; checksum \w+, the plain read has \w+$/m);
  assert.match(stdout, /^ {2}channel: what arrived is NOT what the plain read found$/m);
});

const sigtermRuns = 5;

test("examples/logging loses, tears and doubles nothing at a SIGTERM at any moment", async () => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  try {
    for (let run = 0; run < sigtermRuns; run++) {
      const path = join(directory, `${run}.log`);
      const parameters = ["--file", path, "--requests", "100000000"];
      const { stdout } = await interrupted("logging", parameters, "SIGTERM");
      assert.match(stdout, /^SIGTERM: \d+ records, \d+ bytes, nothing lost$/m);
      const acknowledged = [...stdout.matchAll(/^Worker (\d+) logged (\d+)$/gm)]
        .map(([, , count]) => Number(count));
      assert.equal(acknowledged.length, 4);
      assert.deepEqual(countRecords(readFileSync(path, "utf8"), 4), acknowledged);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** How many records of each Worker are in a log; fails if one is torn, missing, doubled or misplaced. */
function countRecords(text: string, workers: number): number[] {
  assert(text.endsWith("}\n"), "the last line is whole");
  const counts = new Array<number>(workers).fill(0);
  const last = new Array<string>(workers).fill("");
  for (const line of text.slice(0, -1).split("\n")) {
    const { worker, number, message, text } = JSON.parse(line) as Record<string, unknown> & {
      worker: number;
      number: number;
      message: string;
    };
    assert.equal(number, counts[worker], `record ${number} of Worker ${worker}`);
    if (message === "response") assert.equal(text, 'quotes " and\nlines, ü and 水');
    counts[worker] = number + 1;
    last[worker] = message;
  }
  assert.deepEqual(last, new Array(workers).fill("stopped"), "the last words are there");
  return counts;
}
