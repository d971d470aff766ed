import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import test from "node:test";
import { fileURLToPath } from "node:url";
import {
  mpmc,
  mpsc,
  type ReceiverTicket,
  type SenderTicket,
  spmc,
  spsc,
  u32,
  type WaitStrategy,
} from "../mod.ts";
import { channelClosed, nextTurn, rejects, until, within } from "./support/bounded.ts";
import { pair, range } from "./support/channels.ts";
import { runChild } from "./support/runtime.ts";
import { TestWorker } from "./support/workers.ts";

const strategies: readonly WaitStrategy[] = ["spin", "yield", "sleep", "block", "timed", "phased"];

// ---- what a pending call does to the process ----

const keepAlive = {
  receive: "received 7",
  iterate: "received 7",
  run: "received 7",
  send: "sent",
  "receive, unref, ref": "received 7",
  "receive, close": "CHANNEL_CLOSED",
};

for (const [mode, output] of Object.entries(keepAlive)) {
  test(`a pending call keeps the process alive until it is done: ${mode}`, async () => {
    const child = await runChild("child_waiting.ts", [mode]);
    assert.deepEqual(
      { code: child.code, signal: child.signal, stdout: child.stdout.trim() },
      { code: 0, signal: null, stdout: output },
      child.stderr,
    );
  });
}

for (
  const mode of [
    "nothing",
    "unref, receive",
    "receive, unref",
    "receive, asleep, unref",
    "unref, send",
    "unref, run",
    "idle stream",
  ]
) {
  test(`a pending call that is unref'd lets the process end: ${mode}`, async () => {
    const child = await runChild("child_waiting.ts", [mode]);
    assert.deepEqual(
      { code: child.code, signal: child.signal, stdout: child.stdout },
      { code: 0, signal: null, stdout: "" },
      child.stderr,
    );
  });
}

for (const mode of ["receiver", "run", "sender", "writer", "pool", "slabs", "drained"]) {
  test(`what is unref'd is served at once while something else keeps the process alive: ${mode}`, async () => {
    const { code, signal, stdout, stderr } = await runChild("child_unref.ts", [mode]);
    assert.deepEqual(
      { code, signal, stdout: stdout.trim() },
      { code: 0, signal: null, stdout: "as expected" },
      stderr,
    );
  });
}

// ---- CPU time ----

/**
 * What is asleep for a while may use, in all its threads: how much it is does not depend on what else the
 * machine does. What polls goes on until it has used twice as much, and then says so.
 */
const asleepMostMs = 200;

async function cpuMs(...parameters: string[]): Promise<number> {
  const child = await runChild("child_waiting.ts", parameters);
  assert.equal(child.code, 0, child.stderr);
  const { cpuMs } = JSON.parse(child.stdout) as { cpuMs: number };
  return cpuMs;
}

test("an idle receiver, loop, sender or drained() is asleep, and uses next to no CPU", async () => {
  const idle = await Promise.all(
    ["idle", "idleRun", "idleSend", "idleDrained", "idleShared"].map((mode) => cpuMs(mode)),
  );
  for (const used of idle) assert.ok(used < asleepMostMs, `idle ${idle} ms`);
  assert.ok(await cpuMs("polling") >= 2 * asleepMostMs, "what is measured is what polling uses");
});

test('"block", "timed" and "phased" use next to no CPU while idle', async () => {
  const asleep = await Promise.all(
    ["block", "timed", "phased"].map((strategy) => cpuMs("blocked", strategy)),
  );
  for (const used of asleep) assert.ok(used < asleepMostMs, `asleep ${asleep} ms`);
  assert.ok(await cpuMs("spinning") >= 2 * asleepMostMs, "what is measured is what spinning uses");
});

// ---- polling and the event loop ----

test("a receive that polls starves neither timers nor I/O", async () => {
  using both = pair(u32, { pollBudget: 1e9 });
  const waiting = both.receiver.receive();
  let ticks = 0;
  const interval = setInterval(() => ticks++, 1);
  try {
    await until(() => ticks >= 50, "50 ticks of a timer of 1 ms");
    await within(readFile(fileURLToPath(import.meta.url)), "a file");
    await within(roundTripThroughSocket(), "a round trip through a socket");
  } finally {
    clearInterval(interval);
  }
  both.sender.trySend(1);
  assert.equal(await within(waiting, "the value"), 1);
});

async function roundTripThroughSocket(): Promise<void> {
  const server = createServer((socket) => socket.pipe(socket));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as { port: number };
    const socket = connect(port, "127.0.0.1", () => socket.write("ping"));
    socket.on("error", reject);
    socket.on("data", () => {
      socket.end();
      resolve();
    });
  });
  await promise;
  await new Promise((done) => server.close(done));
}

test("a send that polls starves no timers", async () => {
  using both = pair(u32, { capacity: 1, pollBudget: 1e9 });
  both.sender.trySend(1);
  const waiting = both.sender.send(2);
  let ticks = 0;
  const interval = setInterval(() => ticks++, 1);
  await until(() => ticks >= 50, "50 ticks of a timer of 1 ms").finally(() =>
    clearInterval(interval)
  );
  assert.equal(await both.receiver.receive(), 1);
  await within(waiting, "the send");
});

test("two ends in one thread converse with every polling budget", async () => {
  for (const pollBudget of ["adaptive", 0, 10, 1e6] as const) {
    using there = pair(u32, { capacity: 1, pollBudget });
    using back = pair(u32, { capacity: 1, pollBudget });
    const echo = (async () => {
      for await (const value of there.receiver) await back.sender.send(value + 1);
    })();
    for (const value of range(50)) {
      await there.sender.send(value);
      assert.equal(await within(back.receiver.receive(), "the answer"), value + 1);
      // Now and then long enough for both to fall asleep.
      if (value % 10 === 0) { for (let turn = 0; turn < 5; turn++) await nextTurn(); }
    }
    there.channel.close();
    await within(echo, "the echo");
  }
});

// ---- blocking waits ----

/** Longer than any test: no wait ends because its time is up. */
const nativeTimeoutMs = 600_000;

const kinds = { mpsc, spsc, spmc, mpmc };
const waits = Object.entries(kinds).flatMap(([kind, create]) =>
  strategies.map((strategy, number) => ({ kind, create, strategy, number }))
);

for (const { kind, create, strategy, number } of waits) {
  test(`${kind}: a native wait by "${strategy}" returns when the channel closes, and when there is something`, async () => {
    await using worker = new TestWorker("web");
    for (const event of ["close", "value", "close of the receiver"] as const) {
      for (const role of ["receiver", "sender"] as const) {
        if (role === "receiver" && event === "close of the receiver") continue;
        using channel = create(u32, { capacity: 4 });
        const flag = new SharedArrayBuffer(4);
        const ticket = role === "receiver" ? channel.receiverTicket() : channel.senderTicket();
        const waited = worker.call(
          "waitNatively",
          ticket as ReceiverTicket<unknown, ArrayLike<unknown>> | SenderTicket<unknown, unknown>,
          number,
          nativeTimeoutMs,
          flag,
        );
        const words = new Int32Array(flag);
        await until(() => Atomics.load(words, 0) === 1, "the Worker waits");
        // Whatever the phases of the strategy are, it is in the last one by now.
        for (let turn = 0; turn < 10; turn++) await nextTurn();
        const receiver = role === "sender" ? channel.receiver() : undefined;
        if (event === "close") channel.close();
        else if (event === "close of the receiver") receiver?.close();
        else if (role === "sender") assert.equal(receiver?.receiveBatch(1).length, 1);
        else channel.sender().trySend(1);
        assert.equal(await within(waited, `the native wait: ${role}, ${event}`), 1);
        receiver?.close();
      }
    }
  });

  test(`${kind}: sendSync() and receiveSync() by "${strategy}" end when the channel closes`, async () => {
    await using worker = new TestWorker("node");
    const options = { wait: strategy, timeout: nativeTimeoutMs };
    {
      using channel = create(u32, { capacity: 1 });
      await worker.call("openSender", channel.senderTicket() as SenderTicket<unknown, unknown>);
      await worker.call("sendSync", 1);
      const blocked = worker.call("sendSync", 2, options);
      await until(() => channel.stats().timesFull > 0, "the Worker blocks");
      channel.close();
      const error = await rejects(blocked, channelClosed);
      assert.equal((error as { value?: unknown }).value, 2);
      await worker.call("closeSender");
    }
    {
      using channel = create(u32, { capacity: 1 });
      await worker.call(
        "openReceiver",
        channel.receiverTicket() as ReceiverTicket<unknown, ArrayLike<unknown>>,
      );
      const blocked = worker.call("receiveSync", options);
      for (let turn = 0; turn < 5; turn++) await nextTurn();
      channel.close();
      await rejects(blocked, channelClosed);
      await worker.call("closeReceiver");
    }
  });
}

test("blocking calls hand values over between threads with every strategy", async () => {
  await using worker = new TestWorker("web");
  for (const wait of strategies) {
    const options = { wait, timeout: nativeTimeoutMs };
    using channel = mpsc(u32, { capacity: 1, wait: wait === "timed" ? "block" : wait });
    using receiver = channel.receiver();
    await worker.call("openSender", channel.senderTicket() as SenderTicket<unknown, unknown>);
    const sent = worker.call("send", "sendSync", range(200));
    for (const value of range(200)) assert.equal(receiver.receiveSync(options), value);
    await sent;
    await worker.call("closeSender");
  }
});
