import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { mpmc, mpsc, type Run, type RunOptions, spmc, u32, utf8 } from "../mod.ts";
import {
  channelClosed,
  nextTurn,
  refusalOf,
  rejects,
  throws,
  until,
  within,
} from "./support/bounded.ts";
import { collect, fill, pair, range, takeAll } from "./support/channels.ts";
import { runChild } from "./support/runtime.ts";

/** Keeps this thread busy for so long. */
function burn(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

test("run() hands out every value in order until the channel ends", async () => {
  using both = pair(u32, { capacity: 64 });
  const received: number[] = [];
  const loop = both.receiver.run((value) => {
    received.push(value);
  });
  assert.deepEqual(received, [], "run() returns before the first value is handed out");
  await both.sender.sendAll(range(500));
  both.channel.close();
  assert.deepEqual(await within(loop.finished, "the loop"), { messages: 500, state: "closed" });
  assert.deepEqual(received, range(500));
  assert.deepEqual([loop.messages, loop.calls], [500, 500]);
  assert.ok(loop.turns >= 1);
});

test("run() ends with the last sender, over several senders", async () => {
  using channel = mpsc(utf8, { capacity: 256 });
  using receiver = channel.receiver();
  const received: string[] = [];
  const loop = receiver.run((value) => {
    received.push(value);
  });
  await Promise.all(
    range(3).map(async (index) => {
      await using sender = channel.sender();
      for (const value of range(100)) await sender.send(`${index}:${value}`);
    }),
  );
  assert.equal((await within(loop.finished, "the loop")).state, "closed");
  for (const index of range(3)) {
    const own = received.filter((text) => text.startsWith(`${index}:`));
    assert.deepEqual(own, range(100).map((value) => `${index}:${value}`));
  }
});

test("run() with batch hands out batches of up to so many", async () => {
  using both = pair(u32, { capacity: 64 });
  const batches: Uint32Array[] = [];
  const loop = both.receiver.run((batch) => {
    batches.push(batch);
  }, { batch: 10 });
  both.sender.sendBatch(range(25));
  both.channel.close();
  assert.deepEqual(await within(loop.finished, "the loop"), { messages: 25, state: "closed" });
  assert.ok(batches.every((batch) => batch instanceof Uint32Array && batch.length <= 10));
  assert.deepEqual(batches.flatMap((batch) => [...batch]), range(25));
  assert.equal(loop.calls, batches.length);
  assert.ok(loop.calls < loop.messages);
});

test("run() waits for an async handler before it hands out the next value", async () => {
  using both = pair(u32);
  let running = 0;
  const received: number[] = [];
  const loop = both.receiver.run(async (value) => {
    assert.equal(++running, 1);
    await nextTurn();
    received.push(value);
    running--;
  });
  both.sender.sendBatch(range(20));
  both.channel.close();
  assert.equal((await within(loop.finished, "the loop")).messages, 20);
  assert.deepEqual(received, range(20));
});

test("run() gives room to a sender that waits while an async handler is at work", async () => {
  using both = pair(u32, { capacity: 1 });
  const gate = Promise.withResolvers<void>();
  const loop = both.receiver.run(() => gate.promise);
  assert.ok(both.sender.trySend(1));
  await until(() => loop.calls === 1, "the handler is called");
  await within(both.sender.send(2), "room while the handler is at work", 2000);
  gate.resolve();
  await within(loop.stop(), "stop()");
  assert.equal(loop.messages, 2);
});

for (const handlerKind of ["sync", "async"] as const) {
  for (const batch of [undefined, 1] as const) {
    test(`run() stops at an exception of a ${handlerKind} handler and loses nothing else (batch: ${batch})`, async () => {
      using both = pair(u32, { capacity: 256 });
      both.sender.sendBatch(range(100));
      const received: number[] = [];
      const handle = (value: number) => {
        received.push(value);
        if (value !== 70) return handlerKind === "sync" ? undefined : Promise.resolve();
        if (handlerKind === "async") return Promise.reject(new Error("the mill is broken"));
        throw new Error("the mill is broken");
      };
      const loop = batch === undefined
        ? both.receiver.run(handle)
        : both.receiver.run((values) => handle(values[0] as number), { batch });
      await rejects(loop.finished, { name: "Error", message: /the mill is broken/ });
      assert.deepEqual(received, range(71));
      assert.equal(loop.messages, 71);
      assert.equal(both.channel.size, 29);
      await rejects(loop.stop(), { name: "Error", message: /the mill is broken/ });
      // The receiver is free again.
      assert.deepEqual(takeAll(both.receiver), range(100).slice(71));
      assert.ok(both.sender.trySend(100));
      assert.equal(await both.receiver.receive(), 100);
    });
  }
}

test("stop() resolves after what had been sent is handled; what comes later stays", async () => {
  using channel = mpsc(u32, { capacity: 1024 });
  using receiver = channel.receiver();
  const senders = range(3).map(() => channel.sender());
  const received: number[] = [];
  const loop = receiver.run((value) => {
    received.push(value);
    // As long as the loop runs, every value brings one more, so that it would never run dry.
    senders[value % 3]?.trySend(value + 3);
  });
  for (const [index, sender] of senders.entries()) sender.trySend(index);
  await until(() => received.length > 300, "the loop runs");
  for (const sender of senders) sender.sendBatch([1_000_000]);
  await within(loop.stop(), "stop()");
  const counts = received.filter((value) => value === 1_000_000).length;
  assert.equal(counts, 3, "everything sent before stop() is handled");
  assert.deepEqual(await loop.finished, { messages: received.length, state: "stopped" });
  assert.ok(channel.size >= 1, "the rest is still there");
  assert.equal(channel.closed, false);
  const rest = takeAll(receiver).length;
  assert.equal(channel.stats().sent, received.length + rest);
  for (const sender of senders) sender.close();
});

test("stop() of a loop that waits resolves at once, and the receiver can be used again", async () => {
  using both = pair(u32);
  const loop = both.receiver.run(() => {});
  await nextTurn();
  await within(loop.stop(), "stop()");
  await within(loop.stop(), "stop() again");
  assert.deepEqual(await loop.finished, { messages: 0, state: "stopped" });
  const again = both.receiver.run(() => {});
  assert.ok(both.sender.trySend(1));
  await within(again.stop(), "stop() of the second loop");
  assert.equal(again.messages, 1);
});

test("stop() ends also when the counters have wrapped, or a sender opens meanwhile", async () => {
  for (const initialSequence of [0, 2 ** 30 + 5, 2 ** 31 - 2, 2 ** 32 - 2]) {
    using channel = mpsc(utf8, { capacity: 64, initialSequence });
    using receiver = channel.receiver();
    using first = channel.sender();
    const gate = Promise.withResolvers<void>();
    const loop = receiver.run(() => gate.promise);
    first.trySend("one");
    await until(() => loop.calls === 1, "the handler is called");
    first.trySend("two");
    const stopped = loop.stop();
    using second = channel.sender();
    second.trySend("three");
    gate.resolve();
    await within(stopped, `stop() from ${initialSequence}`);
    assert.ok(loop.messages >= 2);
  }
});

test("stop() inside the handler stops after the values that were there", async () => {
  using both = pair(u32);
  both.sender.sendBatch(range(10));
  const received: number[] = [];
  const loop: Run<number, Uint32Array> = both.receiver.run((value) => {
    received.push(value);
    if (value === 3) void loop.stop();
  });
  assert.deepEqual(await within(loop.finished, "the loop"), { messages: 10, state: "stopped" });
  assert.deepEqual(received, range(10));
});

test("await using a loop stops it", async () => {
  using both = pair(u32);
  let sum = 0;
  {
    await using _ = both.receiver.run((value) => {
      sum += value;
    });
    both.sender.sendBatch([1, 2, 3]);
  }
  assert.equal(sum, 6);
  assert.deepEqual(both.receiver.tryReceive(), { state: "empty" });
});

test("await using a receiver stops its loop, then closes", async () => {
  using both = pair(u32);
  let sum = 0;
  {
    await using receiver = both.receiver;
    receiver.run((value) => {
      sum += value;
    });
    both.sender.sendBatch([1, 2, 3]);
  }
  assert.equal(sum, 6);
  assert.equal(both.receiver.closed, true);
});

test("run() with a signal stops at once when it is aborted, and loses nothing", async () => {
  using both = pair(u32, { capacity: 256 });
  both.sender.sendBatch(range(200));
  const controller = new AbortController();
  const received: number[] = [];
  const loop = both.receiver.run((value) => {
    received.push(value);
    if (value === 100) controller.abort(new Error("enough"));
  }, { signal: controller.signal });
  await rejects(loop.finished, { name: "Error", message: /enough/ });
  assert.equal(received.length, 101, "nothing is handed out after the abort");
  assert.deepEqual([...received, ...takeAll(both.receiver)], range(200));

  const waiting = new AbortController();
  const idle = both.receiver.run(() => {}, { signal: waiting.signal });
  await nextTurn();
  waiting.abort(new Error("enough of that too"));
  await rejects(idle.finished, { name: "Error", message: /enough of that too/ });
  const never = both.receiver.run(() => assert.fail("called"), { signal: waiting.signal });
  both.sender.trySend(1);
  await rejects(never.finished, { name: "Error", message: /enough of that too/ });
  assert.equal(await both.receiver.receive(), 1);
});

test("run() rejects finished with the reason the channel was closed with, once drained", async () => {
  using both = pair(u32);
  both.sender.sendBatch([1, 2]);
  const loop = both.receiver.run(() => {});
  both.channel.close(new RangeError("dry"));
  const error = await rejects(loop.finished, channelClosed);
  assert.ok(error.cause instanceof RangeError && error.cause.message === "dry");
  assert.equal(loop.messages, 2);
});

test("run() ends the same way whether its receiver is closed while it waits or in the handler", async () => {
  const states: string[] = [];
  for (const where of ["waiting", "handler"]) {
    using both = pair(u32);
    const { receiver } = both;
    const loop = receiver.run(() => {
      if (where === "handler") receiver.close();
    });
    await nextTurn();
    if (where === "handler") both.sender.trySend(1);
    else receiver.close();
    const outcome = loop.finished.then(({ state }) => state, (error: Error) => error.name);
    states.push(await within(outcome, where));
  }
  assert.equal(states[0], states[1]);
});

test("run() yields to timers and I/O, a budget a turn", async () => {
  using both = pair(u32, { capacity: 4096 });
  const total = fill(both.sender, (index) => index);
  both.channel.close();
  const seenAt: Record<string, number> = {};
  const loop = both.receiver.run(() => burn(0.1), { budget: 1 });
  let ticks = 0;
  const interval = setInterval(() => {
    ticks++;
    seenAt.timer ??= loop.messages;
  }, 1);
  const file = readFile(fileURLToPath(import.meta.url)).then(() => {
    seenAt.file = loop.messages;
  });
  setImmediate(() => {
    seenAt.immediate = loop.messages;
  });
  await within(loop.finished, "the loop", 20_000);
  clearInterval(interval);
  await file;
  assert.equal(loop.messages, total);
  for (const what of ["timer", "file", "immediate"]) {
    const at = seenAt[what];
    assert.ok(at !== undefined && at < total, `${what} ran when ${at} of ${total} were handled`);
  }
  assert.ok(ticks > 10, `${ticks} ticks of the timer`);
  assert.ok(loop.turns > 50, `${loop.turns} turns for ${total} values of 0.1 ms`);
});

test("run() looks at the clock after each value of a slow handler, also when it has become slow", async () => {
  using both = pair(u32, { capacity: 256 });
  fill(both.sender, (index) => index);
  const turnsAt: number[] = [];
  const loop: Run<number, Uint32Array> = both.receiver.run((value) => {
    turnsAt.push(loop.turns);
    if (value < 100) return;
    burn(3);
    // It was quick before, so at most one stretch of 32 is over before that is noticed.
    if (value === 150) both.channel.close();
  });
  await until(() => turnsAt.length > 150, "the values are handled");
  assert.ok((turnsAt[150] ?? 0) - (turnsAt[132] ?? 0) >= 17, `${turnsAt.slice(100)}`);
  loop.finished.catch(() => {});
  both.receiver.close();
});

test("stop() with a timeout or a signal gives up waiting; the loop still stops", async () => {
  using both = pair(u32);
  const gate = Promise.withResolvers<void>();
  const loop = both.receiver.run(() => gate.promise);
  both.sender.sendBatch([1, 2]);
  await until(() => loop.calls === 1, "the handler is called");
  await rejects(loop.stop({ timeout: 1 }), { name: "TimeoutError", code: "TIMEOUT" });
  const controller = new AbortController();
  const stopped = loop.stop({ signal: controller.signal });
  controller.abort(new Error("no longer"));
  await rejects(stopped, { name: "Error", message: /no longer/ });
  await rejects(loop.stop({ timeout: -1 }), { name: "RangeError", message: /timeout must be/ });
  const last = loop.stop({ timeout: 60_000 });
  gate.resolve();
  await within(last, "the last stop()");
  assert.deepEqual(await loop.finished, { messages: 2, state: "stopped" });
});

for (const kind of ["spmc", "mpmc"] as const) {
  test(`stop() where receivers share the channel ends with what was claimed (${kind})`, async () => {
    using channel = { spmc, mpmc }[kind](u32, { capacity: 256, claim: 48 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    fill(sender, (index) => index);
    const loop: Run<number, Uint32Array> = receiver.run((value) => {
      if (value === 0) void loop.stop();
    });
    assert.deepEqual(await within(loop.finished, "the loop"), { messages: 48, state: "stopped" });
  });
}

test("run() uses fewer turns with a larger budget", async () => {
  const turns: number[] = [];
  for (const budget of [1, 50]) {
    using both = pair(u32, { capacity: 1024 });
    fill(both.sender, (index) => index);
    both.channel.close();
    const loop = both.receiver.run(() => burn(0.1), { budget });
    await within(loop.finished, "the loop");
    turns.push(loop.turns);
  }
  assert.ok((turns[0] ?? 0) > 2 * (turns[1] ?? Infinity), `${turns}`);
});

test("run() has the receiver for itself until it ends", async () => {
  using both = pair(u32);
  const { receiver } = both;
  const loop = receiver.run(() => {});
  const busy = { name: "TypeError", message: /run\(\) is consuming this receiver/ };
  throws(() => receiver.tryReceive(), busy);
  throws(() => receiver.receiveBatch(1), busy);
  throws(() => receiver.receiveSync({ timeout: 1 }), busy);
  throws(() => receiver.readable(), busy);
  throws(() => receiver.drain(() => {}), busy);
  throws(() => receiver.run(() => {}), busy);
  await rejects(receiver.receive(), busy);
  await rejects(receiver.ready(), busy);
  await rejects(receiver[Symbol.asyncIterator]().next(), busy);
  await rejects(receiver.batches().next(), busy);
  await within(loop.stop(), "stop()");
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });

  const waiting = receiver.receive();
  throws(() => receiver.run(() => {}), { name: "TypeError", message: /a receive is pending/ });
  both.sender.trySend(1);
  assert.equal(await waiting, 1);
});

test("run() throws for a handler or an option that cannot be, and takes nothing", () => {
  using both = pair(u32);
  both.sender.trySend(1);
  const run = (handle: unknown, options?: unknown) =>
    both.receiver.run(handle as () => void, options as RunOptions & { batch?: undefined });
  for (const handle of [undefined, null, 1, "f", {}]) {
    throws(() => run(handle), { name: "TypeError" });
  }
  for (const budget of [0, -1, NaN, "2", null]) {
    throws(() => run(() => {}, { budget }), { name: refusalOf(budget), message: /budget/ });
  }
  for (const batch of [0, -1, 1.5, NaN, "2"]) {
    throws(() => run(() => {}, { batch }), { name: refusalOf(batch), message: /batch/ });
  }
  assert.deepEqual(takeAll(both.receiver), [1]);
});

test("run() of a channel that has ended is done at once", async () => {
  using both = pair(u32);
  both.channel.close();
  const loop = both.receiver.run(() => assert.fail("called"));
  assert.deepEqual(await within(loop.finished, "the loop"), { messages: 0, state: "closed" });
  await within(loop.stop(), "stop()");
  assert.deepEqual(await collect(both.receiver), []);
  await rejects(both.receiver.receive(), channelClosed);
});

for (const handler of ["throws", "rejects"] as const) {
  test(`a handler that ${handler} where nobody looks at its loop is an unhandled rejection: the process fails`, async () => {
    const child = await runChild("child_run.ts", [handler]);
    assert.notEqual(child.code, 0);
    assert.match(child.stderr, /the handler failed/);
  });
}

const quiet = {
  "caught by finished": "caught",
  "caught by a stop() before": "caught",
  "caught behind await using": "caught",
  "aborted by its signal": "aborted",
  "closed with a reason": "closed",
};

for (const [mode, output] of Object.entries(quiet)) {
  test(`a loop that ends in a way somebody is told of is no unhandled rejection: ${mode}`, async () => {
    const child = await runChild("child_run.ts", [mode]);
    assert.deepEqual(
      { code: child.code, stdout: child.stdout.trim() },
      { code: 0, stdout: `${output}\nstill here` },
      child.stderr,
    );
  });
}
