/**
 * A program that its runtime runs anew in the same thread, by `deno run --watch` or `bun --hot`, has given
 * up what it had open.
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { Receiver, Sender } from "../mod.ts";
import { rejects } from "./support/bounded.ts";
import { runtime, startProgram, supportFile } from "./support/runtime.ts";

const limits = { timeout: 120_000 };
const command = runtime === "deno"
  ? ["run", "-A", "--no-check", "--no-prompt", "--watch", "--no-clear-screen"]
  : ["--hot", "--no-clear-screen"];

/** Shares a channel and a pool, and tells what the process has open once it has done so. */
function program(version: number, address: string): string {
  const library = (name: string) => JSON.stringify(supportFile(`../../${name}`));
  return `
    import { mpsc, pool, u32 } from ${library("mod.ts")};
    import { native } from ${library("src/native.ts")};
    import { readdirSync, readlinkSync } from "node:fs";
    const said = [];
    const attempt = (call) => { try { call(); said.push("ok"); } catch (error) { said.push(error.code); } };
    const channel = mpsc(u32, { shared: true, capacity: 1024 });
    const sender = channel.sender();
    sender.sendBatch(new Uint32Array(8));
    const slabs = pool({ slab: 4096, count: 4, shared: true });
    const slab = slabs.tryAlloc();
    const plain = mpsc(u32);
    const receiver = plain.receiver();
    receiver.receive().catch(() => {});
    attempt(() => channel.share(${JSON.stringify(address)}));
    attempt(() => slabs.share(${JSON.stringify(`${address}-pool`)}));
    const links = readdirSync("/proc/self/fd").map((fd) => {
      try { return readlinkSync("/proc/self/fd/" + fd); } catch { return ""; }
    });
    const memories = links.filter((link) => link.includes("memfd:millrace")).length;
    const channels = native().symbols.millrace_channels_alive();
    console.log("start ${version}: " + [...said, channels + " channels", memories + " memories"].join(", ") + ";");
    setInterval(() => {}, 1000);
  `;
}

function later(milliseconds: number): Promise<false> {
  return new Promise((resolve) => setTimeout(() => resolve(false), milliseconds));
}

test("what a program had open is given up when its runtime runs it anew", limits, async () => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-"));
  const main = join(directory, "main.mjs");
  const address = `@millrace-test-reload-${process.pid}-${runtime}`;
  const write = (version: number) => writeFileSync(main, program(version, address));
  write(1);
  const child = startProgram(process.execPath, [...command, main], { limitMs: 100_000 });
  try {
    /** Writes a version, again and again: a runtime may begin to watch only after it has been written. */
    const start = async (version: number) => {
      const said = `start ${version}: ok, ok, 3 channels, 2 memories;`;
      const hasSaid = child.said(`start ${version}`).then(() => true);
      for (let attempt = 0; attempt < 30; attempt++) {
        write(version);
        if (await Promise.race([hasSaid, later(2000)])) break;
      }
      assert.ok(child.output().includes(said), child.output());
    };
    await start(1);
    const sender = await Sender.connect<number>(address);
    await start(2);
    // For who is connected the program has died.
    const sending = (async () => {
      while (true) await sender.send(1);
    })();
    await rejects(sending, { name: "ChannelClosedError", code: "PEER_DIED" });
    sender.close();
    await start(3);
    const receiver = await Receiver.connect<number>(address);
    assert.equal(await receiver.receive(), 0);
    receiver.close();
  } finally {
    child.kill("SIGKILL");
    await child.ended;
    rmSync(directory, { recursive: true });
  }
});
