/**
 * A process that decodes messages while somebody rewrites them: another process that has their memory
 * (attacker.c), or a Worker that goes on writing into what it has sent. It says what it has decoded.
 *
 * Usage: process ATTACKER MILLISECONDS, or worker - MILLISECONDS. The time is of each layout and length.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readlinkSync, statSync } from "node:fs";
import process from "node:process";
import {
  bytes,
  type Channel,
  custom,
  json,
  type Layout,
  mpsc,
  type Pool,
  pool,
  type SenderTicket,
  Slab,
  struct,
  u32,
  utf8,
} from "../../mod.ts";

const [attack = "", attacker = "", milliseconds = "100"] = process.argv.slice(2);
const limitMs = Number(milliseconds);

type Any = Layout<unknown, unknown[]>;

const hash = custom<number>({
  name: "hash",
  encode: (length) => new Uint8Array(length),
  // Reads every byte twice, as a program may: what it sees must stay what it was.
  decode(payload) {
    const first = sumOf(payload);
    assert.equal(sumOf(payload), first, "decode() saw its bytes change");
    return first;
  },
});

function sumOf(payload: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < payload.length; at += 16) sum += payload[at] as number;
  return sum;
}

const fields = Object.fromEntries(Array.from({ length: 32 }, (_, index) => [`f${index}`, u32]));
const sample = struct(fields);
const sampleValue = Object.fromEntries(Object.keys(fields).map((name) => [name, 1]));

/** A text that takes so many bytes, none of them ASCII but for a rest. */
function textOf(length: number): string {
  return "é".repeat(length >> 1) + "a".repeat(length & 1);
}

/** Layouts of variable length, and a value of so many bytes. */
const records: Record<string, { layout: Any; value: (length: number) => unknown }> = {
  bytes: { layout: bytes as Any, value: (length) => new Uint8Array(length) },
  utf8: { layout: utf8 as Any, value: textOf },
  json: { layout: json as Any, value: (length) => textOf(length - 2) },
  custom: { layout: hash as Any, value: (length) => length },
};
const lengths = [8, 30, 200, 4096, 65536, 1 << 20, 4 << 20];

/** What is decoded is kept for a while: so a runtime meets it again when it collects garbage. */
const kept: unknown[] = [];

function keep(value: unknown): void {
  kept.push(typeof value === "string" ? value + "!" : value);
  if (kept.length > 16) kept.splice(0, 8);
}

/** What a garbled message may be. */
const expected = ["SyntaxError", "CorruptSegmentError"];

/** Receives what is there until it is late. Returns how much. */
function receiveUntil(late: number, receive: () => { state: string; value?: unknown }): number {
  for (let count = 0;; count++) {
    if (count > 0 && performance.now() > late) return count;
    try {
      const result = receive();
      if (result.state !== "ok") return count;
      keep(result.value);
    } catch (error) {
      assert.ok(expected.includes((error as Error).name), String(error));
    }
  }
}

// ---- another process ----

/** The memfds of this process: where to open them, by their inode. */
function files(): Map<number, string> {
  return new Map(
    readdirSync("/proc/self/fd").flatMap((name) => {
      try {
        const isOurs = readlinkSync(`/proc/self/fd/${name}`).startsWith("/memfd:millrace");
        return isOurs
          ? [[statSync(`/proc/self/fd/${name}`).ino, `/proc/${process.pid}/fd/${name}`]]
          : [];
      } catch {
        return []; // that of the directory itself
      }
    }),
  );
}

/** The data of the first ring of a channel with one sender: behind its producer line. */
const ringData = 8192 + 128;

interface Target {
  readonly offset: number;
  readonly bytes: number;
  readonly stride: number;
  readonly header: number;
  readonly length: number;
  readonly kind: "text" | "handle";
}

/** Starts an attacker, and waits until it is at work. */
async function startAttack(path: string, target: Target): Promise<ChildProcess> {
  const { offset, bytes, stride, header, length, kind } = target;
  const parameters = [path, offset, bytes, stride, header, length, kind].map(String);
  const child = spawn(attacker, parameters, { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`the attacker ended with ${code}`)));
  });
  return child;
}

/** Sends and receives under attack for the time given. */
async function endure(
  name: string,
  channel: Channel<unknown, unknown[]>,
  path: string,
  target: Target,
  value: () => unknown,
): Promise<void> {
  const sender = channel.sender();
  const receiver = channel.receiver();
  // The attacker needs pages that are there.
  const child = await startAttack(path, target);
  let count = 0;
  try {
    for (const end = performance.now() + limitMs; count === 0 || performance.now() < end;) {
      for (let sent = value(); sent !== undefined && sender.trySend(sent);) sent = value();
      count += receiveUntil(end, () => receiver.tryReceive());
      if (channel.closed) break;
    }
  } finally {
    child.kill("SIGKILL");
  }
  channel[Symbol.dispose]();
  console.log(`survived ${name} ${count}`);
}

/** Makes something shared, and finds its file. */
function made<Made>(make: () => Made): [Made, string] {
  const before = files();
  const thing = make();
  const path = files().entries().find(([file]) => !before.has(file))?.[1];
  assert.ok(path !== undefined, "what is shared has a memfd");
  return [thing, path];
}

function recordBytes(length: number): number {
  return 8 + Math.ceil(length / 8) * 8;
}

async function byProcess(): Promise<void> {
  for (const [name, { layout, value }] of Object.entries(records)) {
    for (const length of lengths) {
      const stride = recordBytes(length);
      const capacity = 2 ** Math.ceil(Math.log2(stride * (length < 4096 ? 64 : 2)));
      const [channel, path] = made(() => mpsc(layout, { shared: true, capacity, maxSenders: 1 }));
      const one = value(length);
      const target = { offset: ringData, bytes: capacity, stride, header: 8, length } as const;
      await endure(`${name} ${length}`, channel, path, { ...target, kind: "text" }, () => one);
    }
  }
  {
    const options = { shared: true, capacity: 1024, maxSenders: 1 };
    const [channel, path] = made(() => mpsc(sample as unknown as Any, options));
    const target = { offset: ringData, bytes: 1024 * 128, stride: 128, header: 0, length: 128 };
    await endure("struct 128", channel, path, { ...target, kind: "text" }, () => sampleValue);
  }
  for (const length of [4096, 65536, 1 << 20, 4 << 20]) {
    const slots = { slab: length, count: 4, shared: true };
    for (const [name, { layout, value }] of Object.entries(records)) {
      const [slabs, slabsPath] = made(() => pool(slots));
      const options = { shared: true, capacity: 4096, maxSenders: 1 };
      const channel = mpsc(layout, options).withPool(slabs, { threshold: 100 });
      const one = value(length);
      const inSlabs = { ...slabsOf(slabsPath, length, slots.count), kind: "text" } as const;
      await endure(`pooled ${name} ${length}`, channel, slabsPath, inSlabs, () => one);
      slabs.close();
      const [others] = made(() => pool(slots));
      const [again, path] = made(() => mpsc(layout, options).withPool(others, { threshold: 100 }));
      const inRing = { ...handles, stride: 24, header: 8 };
      await endure(`handle of ${name} ${length}`, again, path, inRing, () => one);
      others.close();
    }
    const [slabs] = made(() => pool(slots));
    const layout = slabs.layout() as unknown as Any;
    const [channel, path] = made(() =>
      mpsc(layout, { shared: true, capacity: 256, maxSenders: 1 })
    );
    await endure(`slab ${length}`, channel, path, handles, () => slabOf(slabs));
    slabs.close();
  }
}

/** Handles of slabs in a ring of 4096 bytes. */
const handles = {
  offset: ringData,
  bytes: 4096,
  stride: 16,
  header: 0,
  length: 16,
  kind: "handle",
} as const;

function slabsOf(path: string, length: number, count: number): Omit<Target, "kind"> {
  const all = length * count;
  return { offset: statSync(path).size - all, bytes: all, stride: length, header: 0, length };
}

/** A slab to send, if one is free once those received have been looked at. */
function slabOf(slabs: Pool): unknown {
  for (const value of kept.splice(0)) {
    if (!(value instanceof Slab)) continue;
    sumOf(value.bytes);
    value[Symbol.dispose]();
  }
  return slabs.tryAlloc();
}

// ---- a Worker of this process ----

const code = `
  import { custom, Sender } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
  custom({ name: "hash", encode: (length) => new Uint8Array(length), decode: (bytes) => bytes.length });
  self.onmessage = ({ data: { ticket, length, isStruct } }) => {
    const sender = Sender.open(ticket);
    const patterns = ["a", "\\u00e9", "\\u20ac", "\\u{1f600}"].map((text) =>
      new TextEncoder().encode(text.repeat(length)).slice(0, length)
    );
    const rooms = [];
    postMessage("attacking");
    const rewrite = () => {
      for (const pattern of patterns) for (const room of rooms) {
        for (let at = 0; at + length <= room.length; at += length) {
          room.set(pattern.subarray(1, length - 1), at + 1);
        }
      }
    };
    while (true) {
      let room;
      try {
        room = sender.reserve(isStruct ? 64 : length);
        if (room !== undefined) {
          const view = isStruct ? room.bytes : room;
          view.set(patterns[1].subarray(0, Math.min(length, view.length)));
          if (!isStruct) view[0] = view[length - 1] = 34;
          sender.commit();
          rooms.push(view);
          if (rooms.length > 8) rooms.shift();
        }
      } catch (error) {
        break;
      }
      rewrite();
    }
    postMessage("ended");
  };`;

async function byWorker(): Promise<void> {
  const all = [
    ...Object.entries(records).flatMap(([name, { layout }]) =>
      lengths.map((length) => ({ name, layout, length, isStruct: false }))
    ),
    { name: "struct", layout: sample as unknown as Any, length: 128, isStruct: true },
  ];
  const url = URL.createObjectURL(new Blob([code], { type: "application/javascript" }));
  const worker = new Worker(url, { type: "module" });
  const said = (text: string) =>
    new Promise<void>((resolve) =>
      worker.addEventListener("message", ({ data }) => data === text && resolve())
    );
  for (const { name, layout, length, isStruct } of all) {
    const capacity = isStruct
      ? 1024
      : 2 ** Math.ceil(Math.log2(recordBytes(length) * (length < 4096 ? 64 : 4)));
    using channel = mpsc(layout, { capacity, maxSenders: 1 });
    const receiver = channel.receiver();
    const attacking = said("attacking");
    const ended = said("ended");
    const ticket: SenderTicket<unknown> = channel.senderTicket();
    worker.postMessage({ ticket, length, isStruct });
    await attacking;
    let count = 0;
    for (const end = performance.now() + limitMs; count === 0 || performance.now() < end;) {
      count += receiveUntil(end, () => receiver.tryReceive());
    }
    channel.close();
    await ended;
    console.log(`survived ${name} ${length} ${count}`);
  }
  worker.terminate();
}

await (attack === "worker" ? byWorker() : byProcess());
console.log("survived all");
process.exit(0);
