/**
 * Native code at the other end of a channel: threads that are no Workers, and the bell ringer that
 * rings for them.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { libraryPath, mpmc, mpsc, spmc, spsc, u32, utf8 } from "../mod.ts";
import { throws, until, within } from "./support/bounded.ts";
import { channelsAlive, collect, range } from "./support/channels.ts";
import { zigCompiler } from "./support/compiler.ts";
import { openForeign, producerTable, Workshop } from "./support/foreign.ts";
import { inLots, modes, passTime, startConsumer } from "./support/native_consumers.ts";
import { sample } from "./support/native_worker.ts";
import { runChild, runRingers, runtime, supportFile } from "./support/runtime.ts";
import { randomFrom } from "./support/stress_host.ts";

const workshop = new Workshop();
const producerPath = workshop.compile("../../examples/native/producer/producer.c", "library");
const producer = openForeign(producerPath, producerTable);
const echoPath = workshop.compile("native_echo.c", "library");
const threads = openForeign(echoPath, {
  start_echo: { parameters: ["buffer", "buffer"], result: "i32" },
  start_consume: { parameters: ["buffer"], result: "i32" },
  start_abandon: { parameters: ["buffer", "u32"], result: "i32" },
  threads_running: { parameters: [], result: "u32" },
  messages_handled: { parameters: [], result: "u32" },
  status_seen: { parameters: [], result: "i32" },
});
after(() => workshop[Symbol.dispose]());

/** Compiles and runs a C program; gives what it prints. */
function runProgram(source: string): string {
  return run(workshop.compile(source, "program"), [], workshop.directory);
}

/** Runs a program to its end, which must be a good one; gives what it prints. */
function run(program: string, parameters: readonly string[], cwd: string): string {
  const limitMs = 90_000;
  const child = spawnSync(program, parameters, { cwd, encoding: "utf8", timeout: limitMs });
  assert.equal(child.status, 0, `${child.signal ?? ""} ${child.stderr}`);
  return child.stdout + child.stderr;
}

function zig(parameters: readonly string[], cwd: string): string {
  return run(zigCompiler()[0] as string, parameters, cwd);
}

const threadsEnded = () =>
  until(() => threads.threads_running() + producer.producer_running() === 0, "native threads end");

test("libraryPath() is the file the module has loaded, which native code is linked to", () => {
  assert.match(libraryPath(), /libmillrace\.so$/);
});

for (const [name, open] of Object.entries({ mpsc, spsc, spmc, mpmc })) {
  test(`a native thread's messages arrive at an event loop, by ${name}`, async () => {
    using channel = open(sample, { capacity: 64 });
    using receiver = channel.receiver();
    assert.equal(producer.producer_start(channel.nativeSenderTicket(), 5000), 0);
    const received = await collect(receiver);
    assert.deepEqual(received, range(5000).map((sequence) => ({ sequence, value: sequence / 2 })));
    assert.equal(channel.stats().closed, "senders gone");
    await threadsEnded();
  });
}

for (const kind of ["mpsc", "mpmc"] as const) {
  test(`a native push wakes a receiver that sleeps in waitAsync, 400 times, by ${kind}`, async () => {
    const open = kind === "mpsc" ? mpsc : mpmc;
    using there = open(utf8, { capacity: 4096 });
    // Without polling: every receive sleeps. By the watch twice a second this would take minutes.
    using back = open(utf8, { capacity: 4096, pollBudget: 0 });
    const sender = there.sender();
    using receiver = back.receiver();
    threads.start_echo(there.nativeReceiverTicket(), back.nativeSenderTicket());
    for (let index = 0; index < 400; index++) {
      const reply = receiver.receive();
      const text = "é".repeat(index);
      await sender.send(text);
      assert.equal(await within(reply, `reply ${index}`), text);
    }
    assert.ok(back.stats().receiverTimesSlept > 300, "the receiver has slept");
    sender.close();
    await within(back.drained(), "the echo to end");
    await threadsEnded();
  });
}

test("a native receiver wakes senders that sleep for room on their event loop, and drained()", async () => {
  using channel = mpsc(u32, { capacity: 2, pollBudget: 0 });
  const senders = [channel.sender(), channel.sender(), channel.sender()];
  const before = threads.messages_handled();
  threads.start_consume(channel.nativeReceiverTicket());
  await Promise.all(senders.map(async (sender) => {
    for (let value = 0; value < 1000; value++) await within(sender.send(value), "room");
    sender.close();
  }));
  await within(channel.drained(), "drained()");
  await threadsEnded();
  assert.equal(threads.messages_handled() - before, 3000);
  assert.equal(threads.status_seen(), -14); // MILLRACE_ENDED
});

test("a native thread that ends with its sender open ends the channel", async () => {
  using channel = mpsc(u32, { pollBudget: 0 });
  using receiver = channel.receiver();
  threads.start_abandon(channel.nativeSenderTicket(), 5);
  assert.deepEqual(await collect(receiver), [0, 1, 2, 3, 4]);
  assert.equal(channel.stats().closed, "senders gone");
  await threadsEnded();
});

test("without a ringer, as by ordinary tickets, a receiver that sleeps notices within its watch", async () => {
  using there = mpsc(utf8, { capacity: 4096 });
  using back = mpsc(utf8, { capacity: 4096, pollBudget: 0 });
  using sender = there.sender();
  using receiver = back.receiver();
  const [first, second] = [there.receiverTicket(), back.senderTicket()]
    .map(({ right }) => new Uint8Array(right.buffer));
  threads.start_echo(first as Uint8Array, second as Uint8Array);
  for (const text of ["nobody", "rings"]) {
    const reply = receiver.receive();
    await sender.send(text);
    assert.equal(await within(reply, "a reply"), text);
  }
  sender.close();
  await threadsEnded();
});

test("the receiver's end is a native sender's MILLRACE_CHANNEL_CLOSED", async () => {
  using channel = mpsc(sample, { capacity: 4 });
  const receiver = channel.receiver();
  producer.producer_start(channel.nativeSenderTicket(), 2 ** 30);
  await within(receiver.receive(), "a first sample");
  receiver.close();
  await threadsEnded();
});

test("a ticket for native code can be revoked, opens once, and is refused on a closed channel", async () => {
  using channel = mpsc(u32);
  const ticket = channel.nativeSenderTicket();
  assert.equal(ticket.byteLength, 32);
  assert.equal(channel.revoke(ticket), true);
  assert.equal(channel.revoke(ticket), false);
  threads.start_abandon(ticket, 1);
  await threadsEnded();
  assert.equal(threads.status_seen(), -11); // MILLRACE_TICKET_USED
  throws(() => channel.revoke(new Uint8Array(5)), { name: "TypeError", message: /a ticket/ });
  channel.close();
  throws(() => channel.nativeSenderTicket(), { name: "ChannelClosedError" });
  channel[Symbol.dispose]();
  throws(() => channel.nativeReceiverTicket(), {
    name: "ChannelClosedError",
    code: "ENDPOINT_CLOSED",
  });
});

for (
  const [scene, library, what] of [
    [
      "owner dies",
      echoPath,
      "when the thread that has the ringer dies, receivers elsewhere notice within their watch",
    ],
    ["ends", echoPath, "the ringer ends with the last channel it rings for, and another begins"],
    [
      "all die",
      producerPath,
      "a Worker that has the channel, its ringer and its receiver is terminated, 24 times",
    ],
  ] as const
) {
  // In a process of its own: it counts ringers, and other files may have some.
  test(what, { timeout: 120_000 }, () => runRingers(scene, library));
}

test("a ringer does not keep its process alive", async () => {
  const { code, signal, stderr } = await runChild("child_ringer.ts", [
    new URL("../mod.ts", import.meta.url).href,
    echoPath,
  ], { limitMs: 10_000 });
  assert.equal(code, 0, `${signal} ${stderr}`);
  assert.doesNotMatch(stderr, /Warning/);
});

test("the ringer starts where the module was imported from the network", {
  skip: runtime === "bun" && "Bun imports files only",
}, async () => {
  const server = createServer(({ url = "" }, response) => {
    const path = supportFile(`../..${url}`);
    const isThere = existsSync(path);
    response.writeHead(isThere ? 200 : 404, { "content-type": "application/typescript" });
    response.end(isThere ? readFileSync(path) : "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const { code, stderr } = await runChild("child_ringer.ts", [
      `http://127.0.0.1:${port}/mod.ts`,
      echoPath,
    ], { environment: { MILLRACE_LIB: libraryPath() } });
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /Warning/);
  } finally {
    server.close();
  }
});

test("examples/native/producer: a native thread produces, this runtime consumes", async () => {
  const example = "../../examples/native/producer/main.ts";
  const { code, stdout, stderr } = await runChild(example, [producerPath, "200000"]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^200000 samples, the sum is right; closed/m);
});

test("examples/native/c: threads of a C program", () => {
  assert.match(runProgram("../../examples/native/c/main.c"), /^600000 readings in /);
});

test("the C header covers every kind: what each function does, refuses and answers", () => {
  assert.equal(runProgram("native_kinds.c"), "every kind\n");
});

test("a C program pins itself to a node and has a ring lie there", () => {
  assert.match(runProgram("native_numa.c"), /^\d+ pages on node \d+\n$/);
});

test("examples/native/zig: a program that has fetched the package, typed", () => {
  const checkout = supportFile("../..");
  const fetched = join(workshop.directory, "package");
  const parts = ["build.zig", "build.zig.zon", "zig/build.zig", "zig/build.zig.zon"];
  for (const part of [...parts, "zig/src", "zig/include", "LICENSE"]) {
    cpSync(join(checkout, part), join(fetched, part), { recursive: true });
  }
  const program = join(workshop.directory, "measure");
  cpSync(join(checkout, "examples/native/zig"), program, { recursive: true });
  // What `zig fetch --save` will write instead.
  const manifest = join(program, "build.zig.zon");
  const local = /\.dependencies = \.\{[\s\S]*?\n {4}\},\n/;
  writeFileSync(manifest, readFileSync(manifest, "utf8").replace(local, ""));
  zig(["fetch", "--save=millrace", fetched], program);
  assert.match(readFileSync(manifest, "utf8"), /\.hash = "millrace-/);
  assert.match(zig(["build", "run"], program), /^300000 readings in all$/m);
});

test("every manifest tells the same version", () => {
  const versions = ["package.json", "deno.json", "build.zig.zon", "zig/build.zig.zon"].map((path) =>
    /"?version"?\s*[:=]\s*"([^"]+)"/.exec(readFileSync(supportFile(`../../${path}`), "utf8"))?.[1]
  );
  assert.match(versions[0] ?? "", /^\d+\.\d+\.\d+/);
  assert.deepEqual(new Set(versions).size, 1, versions.join(", "));
});

for (
  const [type, why] of [
    ["Mpsc(*u8)", "send .*a pointer means nothing"],
    ["Mpsc(extern struct { at: [*]u8 })", "send .*a pointer means nothing"],
    ["Mpsc(struct { a: u8 })", "send .*its layout is not defined"],
    ["Mpsc(u7)", "send .*an integer of whole bytes"],
    ["Mpsc(?u32)", "send .*numbers, enums, arrays"],
    ["Mpsc(extern struct {})", "send .*it has no bytes"],
    ["Shared(.mpsc, *u8)", "send .*a pointer means nothing"],
    ["Shared(.mpsc, extern struct { is_it: bool })", "share .*neither true nor false"],
    ["Shared(.mpsc, [2]enum(u8) { a, b })", "share .*a value it does not have"],
    ["SharedReceiver(packed struct(u8) { a: enum(u4) { a }, b: u4 })", "share .*does not have"],
  ] as const
) {
  test(`${type} is refused when it is compiled`, () => {
    const source = join(workshop.directory, "refused.zig");
    writeFileSync(
      source,
      `const Refused = @import("millrace").${type};\n` +
        "export fn use() u32 {\n    return @sizeOf(Refused);\n}\n",
    );
    const root = supportFile("../../zig/src/millrace.zig");
    assert.throws(
      () =>
        zig([
          ...["build-obj", "-fno-emit-bin", "-lc", "--dep", "millrace"],
          ...[`-Mroot=${source}`, `-Mmillrace=${root}`],
        ], workshop.directory),
      new RegExp(`Cannot ${why}`),
    );
  });
}

const trials = 200;

test(
  `a consuming Worker is terminated at any moment while a native thread pushes, ${trials} times`,
  {
    timeout: 120_000,
  },
  async () => {
    const channels = channelsAlive();
    await inLots(trials, async (index) => {
      const random = randomFrom(index);
      const state = new Int32Array(new SharedArrayBuffer(4));
      using channel = mpsc(sample, { capacity: [2, 16, 1024][index % 3] });
      const native = channel.nativeSenderTicket();
      const ticket = channel.receiverTicket();
      const { worker, reports } = startConsumer({ ticket, state, mode: modes[index % 3] ?? "run" });
      producer.producer_start(native, 2 ** 30);
      await passTime(random, state);
      worker.terminate();
      channel.revoke(ticket);
      channel.close();
      assert.deepEqual(reports, []);
    });
    await threadsEnded();
    await until(() => channelsAlive() <= channels, "every channel is freed");
  },
);
