/**
 * A program's tests may put fake timers and a fake clock in place of the runtime's: no wait of the
 * library depends on those.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { mpmc, mpsc, TimeoutError, u32 } from "../mod.ts";
import * as timers from "../src/timers.ts";
import { within } from "./support/bounded.ts";
import { runtime } from "./support/runtime.ts";

const faked = [
  "setTimeout",
  "clearTimeout",
  "setInterval",
  "clearInterval",
  "setImmediate",
  "clearImmediate",
  "queueMicrotask",
];

test("no source but timers.ts names a global timer or clock", () => {
  const folder = new URL("../src/", import.meta.url);
  for (const file of readdirSync(folder)) {
    if (file === "timers.ts" || !file.endsWith(".ts")) continue;
    const text = readFileSync(new URL(file, folder), "utf8");
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    assert.doesNotMatch(code, /\bperformance\b/, `${file} names performance`);
    const [, imported = ""] = /import\s*\{([^}]*)\}\s*from "\.\/timers\.ts"/.exec(code) ?? [];
    for (const name of faked) {
      const isUsed = new RegExp(`(?<![.\\w])${name}\\b`).test(code);
      const isImported = new RegExp(`\\b${name}\\b`).test(imported);
      assert.ok(!isUsed || isImported, `${file} uses ${name} without importing it`);
    }
  }
});

/** Puts timers that never fire, and a clock that stands still, in place of the runtime's. */
function fakeGlobals(): Disposable {
  const globals = globalThis as unknown as Record<string, unknown>;
  const kept = faked.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  const now = performance.now;
  for (const name of faked) {
    Object.defineProperty(globals, name, { value: () => 1, configurable: true, writable: true });
  }
  performance.now = () => 0;
  return {
    [Symbol.dispose]() {
      performance.now = now;
      for (const [name, property] of kept) {
        Object.defineProperty(globals, name as string, property as PropertyDescriptor);
      }
    },
  };
}

async function waitInEveryWay(): Promise<void> {
  for (const kind of [mpsc, mpmc]) {
    for (const pollBudget of [0, 200, "adaptive"] as const) {
      await using channel = kind(u32, { capacity: 8, pollBudget });
      const receiver = channel.receiver();
      const sender = channel.sender();
      assert.throws(() => receiver.receiveSync({ timeout: 1 }), TimeoutError);
      const received = receiver.receive();
      await sender.send(1);
      assert.equal(await received, 1);
      const sent = Array.from({ length: 20 }, (_, value) => sender.send(value));
      for (let value = 0; value < 20; value++) assert.equal(await receiver.receive(), value);
      await Promise.all(sent);
      const writer = sender.writer();
      writer.push(7);
      assert.equal(await receiver.receive(), 7);
      sender.close();
      assert.equal(await receiver.receive().catch(() => "ended"), "ended");
    }
  }
}

test("waits end while the globals are replaced by fake timers and a clock that stands still", async () => {
  // The limit is begun with the real timers.
  const faked = Promise.resolve().then(async () => {
    using _fake = fakeGlobals();
    await waitInEveryWay();
  });
  await within(faked, "waits under fake timers");
});

interface Jest {
  useFakeTimers(): void;
  useRealTimers(): void;
  setSystemTime(time: number): void;
}

const testInBun: typeof test | (() => void) = runtime === "bun" ? test : () => {};

testInBun("waits end while the fake timers of bun test hold the runtime's own", async () => {
  const module: string = "bun:test";
  const { jest } = await import(module) as { jest: Jest };
  const limit = AbortSignal.timeout(20_000);
  const { promise: late, reject } = Promise.withResolvers<never>();
  limit.addEventListener("abort", () => reject(limit.reason), { once: true });
  jest.useFakeTimers();
  try {
    jest.setSystemTime(0);
    await Promise.race([waitInEveryWay(), late]);
    const start = timers.nowMs();
    await Promise.race([new Promise<void>((resolve) => timers.setTimeout(resolve, 5)), late]);
    assert.ok(timers.nowMs() - start >= 4);
    let ticks = 0;
    await Promise.race([
      new Promise<void>((resolve) => {
        const interval = timers.setInterval(() => {
          if (++ticks < 3) return;
          timers.clearInterval(interval);
          resolve();
        }, 1);
      }),
      late,
    ]);
    const stopped = timers.setTimeout(() => assert.fail("it was stopped"), 1);
    timers.clearTimeout(stopped);
    await Promise.race([new Promise<void>((resolve) => timers.setTimeout(resolve, 5)), late]);
    assert.equal(ticks, 3);
  } finally {
    jest.useRealTimers();
  }
});
