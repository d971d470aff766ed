/**
 * The other process of the tests across processes, in either runtime; process_peer.c and
 * process_peer.zig are the same in C and Zig.
 *
 * Usage: TASK ADDRESS PARAMETER... A value is `id << 28 | sequence`, with the sequence from 0 on.
 * What it prints: `connected` or `shared`, what it did, or `failed NAME CODE`.
 *
 * @module
 */

import { writeSync } from "node:fs";
import process from "node:process";
import {
  type Channel,
  type ConnectPlace,
  mpmc,
  mpsc,
  Pool,
  pool,
  Receiver,
  Sender,
  type ShareOptions,
  type Slab,
  spmc,
  spsc,
  u32,
} from "../../mod.ts";

type U32Channel = Channel<number, Uint32Array>;
type U32Sender = Sender<number, Uint32Array>;
type U32Receiver = Receiver<number, Uint32Array>;

const kinds = { mpsc, spsc, spmc, mpmc };
const sequenceBits = 28;
const sequenceMask = 2 ** sequenceBits - 1;
/** Far beyond what a connect takes on a slow machine. */
const timeout = 20_000;

/** Written at once: it is seen even if the process is killed right after. */
function say(...words: (string | number)[]): void {
  writeSync(1, `${words.join(" ")}\n`);
}

/** Throws unless the values of each sender ascend, one by one if `isWhole`. Gives count and sum. */
function tally(isWhole: boolean) {
  const next = new Map<number, number>();
  const seen = { count: 0, sum: 0 };
  return {
    seen,
    take(values: ArrayLike<number>) {
      for (let index = 0; index < values.length; index++) {
        const value = values[index] as number;
        const id = value >>> sequenceBits;
        const sequence = value & sequenceMask;
        const expected = next.get(id) ?? 0;
        if (isWhole ? sequence !== expected : sequence < expected) {
          throw new Error(`expected ${expected} of ${id}, received ${sequence}`);
        }
        next.set(id, sequence + 1);
        seen.count++;
        seen.sum += sequence;
      }
    },
  };
}

/** `fd:N` is an inherited descriptor. */
function placeOf(address: string): ConnectPlace {
  return address.startsWith("fd:") ? { fd: Number(address.slice(3)) } : address;
}

async function connectSender(address: string): Promise<U32Sender> {
  const sender = await Sender.connect(placeOf(address), { layout: u32, timeout });
  say("connected");
  return sender;
}

async function connectReceiver(address: string): Promise<U32Receiver> {
  const receiver = await Receiver.connect(placeOf(address), { layout: u32, timeout });
  say("connected");
  return receiver;
}

async function sendAll(sender: U32Sender, id: number, count: number): Promise<void> {
  const values = new Uint32Array(1024);
  const first = (id << sequenceBits) >>> 0;
  let sum = 0;
  for (let next = 0; next < count;) {
    const length = Math.min(values.length, count - next);
    for (let index = 0; index < length; index++, next++) {
      values[index] = first + next;
      sum += next;
    }
    await sender.sendAll(values.subarray(0, length));
  }
  sender.close();
  say("sent", count, sum);
}

async function receiveAll(receiver: U32Receiver, isWhole: boolean): Promise<void> {
  const { seen, take } = tally(isWhole);
  for await (const batch of receiver.batches()) take(batch);
  say("received", seen.count, seen.sum);
}

function keep(kind: string, address: string, options: ShareOptions): U32Channel {
  const open = kinds[kind as keyof typeof kinds];
  const channel = open(u32, { capacity: 4096, shared: true });
  channel.share(address, options);
  return channel;
}

/** Sends in bursts for ever, and says how many are committed after each. */
async function sendForEver(sender: U32Sender, seed: number): Promise<never> {
  const values = new Uint32Array(16);
  for (let next = 0, random = seed;;) {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    const length = 1 + (random >>> 16) % values.length;
    for (let index = 0; index < length; index++) values[index] = next + index;
    // Half of them blocking, the other half by the event loop.
    if (random & 0x8000) sender.sendAllSync(values.subarray(0, length));
    else await sender.sendAll(values.subarray(0, length));
    next += length;
    say(next);
  }
}

/** Receives for ever one by one, and says how many after each. */
async function receiveForEver(receiver: U32Receiver): Promise<never> {
  for (let count = 1;; count++) {
    const value = await receiver.receive();
    say(count, value);
  }
}

/** Frames whose every byte tells of which number they are. */
function fill(slab: Slab, sequence: number): Slab {
  slab.bytes.fill(sequence & 0xff);
  new DataView(slab.bytes.buffer).setUint32(0, sequence);
  return slab;
}

/** The number of a frame; throws unless it is whole. */
function sequenceOf(slab: Slab): number {
  const { bytes } = slab;
  const sequence = new DataView(bytes.buffer).getUint32(0);
  for (let at = 4; at < bytes.length; at++) {
    if (bytes[at] !== (sequence & 0xff)) {
      throw new Error(`byte ${at} of frame ${sequence} is wrong`);
    }
  }
  return sequence;
}

/** The address of the pool that goes with the channel of an address. */
function poolOf(address: string): string {
  return `${address}.pool`;
}

async function connectFrames(address: string): Promise<{ frames: Pool; sender: Sender<Slab> }> {
  const frames = await Pool.connect(poolOf(address), { timeout });
  const sender = await Sender.connect(address, { layout: frames.layout(), timeout });
  say("connected");
  return { frames, sender };
}

const tasks: Record<string, (address: string, ...parameters: string[]) => Promise<unknown>> = {
  send: async (address, id, count) =>
    await sendAll(await connectSender(address), Number(id), Number(count)),

  "send-sync": async (address, id, count) => {
    using sender = await connectSender(address);
    let sum = 0;
    for (let next = 0; next < Number(count); next++) {
      sender.sendSync(((Number(id) << sequenceBits) >>> 0) + next);
      sum += next;
    }
    say("sent", Number(count), sum);
  },

  receive: async (address, isWhole = "whole") =>
    await receiveAll(await connectReceiver(address), isWhole === "whole"),

  "receive-sync": async (address, isWhole = "whole") => {
    const receiver = await connectReceiver(address);
    const { seen, take } = tally(isWhole === "whole");
    try {
      for (;;) take([receiver.receiveSync({ wait: "block" })]);
    } catch (error) {
      if ((error as { code?: string }).code !== "CHANNEL_CLOSED") throw error;
    }
    say("received", seen.count, seen.sum);
  },

  "keep-receive": async (address, kind = "", limit) => {
    const channel = keep(kind, address, { receivers: false, limit: Number(limit) });
    const receiver = channel.receiver();
    say("shared");
    await receiveAll(receiver, true);
    channel[Symbol.dispose]();
  },

  "keep-send": async (address, kind = "", limit, id, count) => {
    const channel = keep(kind, address, { senders: false, limit: Number(limit) });
    const sender = channel.sender();
    say("shared");
    await sendAll(sender, Number(id), Number(count));
    await channel.drained();
    channel[Symbol.dispose]();
  },

  "victim-send": async (address, seed) =>
    await sendForEver(await connectSender(address), Number(seed)),

  "victim-receive": async (address) => await receiveForEver(await connectReceiver(address)),

  "victim-keep-send": async (address, kind = "", seed) => {
    const channel = keep(kind, address, { senders: false });
    const sender = channel.sender();
    say("shared");
    await sendForEver(sender, Number(seed));
  },

  "victim-keep-receive": async (address, kind = "") => {
    const channel = keep(kind, address, { receivers: false });
    const receiver = channel.receiver();
    say("shared");
    await receiveForEver(receiver);
  },

  "send-frames": async (address, count) => {
    const { frames, sender } = await connectFrames(address);
    for (let sequence = 0; sequence < Number(count); sequence++) {
      const slab = sequence % 2 === 0
        ? await frames.alloc(4096)
        : frames.allocSync(4096, { wait: "block" });
      await sender.send(fill(slab, sequence));
    }
    sender.close();
    frames.close();
    say("sent", Number(count), 0);
  },

  "receive-frames": async (address) => {
    using receiver = await Receiver.connect<Slab>(address, { timeout });
    say("connected");
    let count = 0;
    let sum = 0;
    for await (const slab of receiver) {
      sum += sequenceOf(slab);
      count++;
      slab.free();
    }
    say("received", count, sum);
  },

  /** Messages that lie in the pool by themselves. */
  "send-pooled": async (address, count) => {
    using sender = await Sender.connect<Uint8Array>(address, { timeout });
    for (let sequence = 0; sequence < Number(count); sequence++) {
      const message = new Uint8Array(1 + (sequence * 37) % 4096).fill(sequence);
      await sender.send(message);
    }
    say("sent", Number(count), 0);
  },

  /** Has slabs in every state at every moment. */
  "victim-frames": async (address) => {
    const { frames, sender } = await connectFrames(address);
    const held: Slab[] = [];
    for (let sequence = 0;; sequence++) {
      const slab = fill(await frames.alloc(256), sequence);
      if (sequence % 3 === 0) held.push(slab);
      else await sender.send(slab);
      if (held.length > 2) held.shift()?.free();
      if (sequence % 16 === 0) say(sequence);
    }
  },

  "victim-receive-frames": async (address) => {
    const receiver = await Receiver.connect<Slab>(address, { timeout });
    say("connected");
    const held: Slab[] = [];
    for (let count = 0;; count++) {
      held.push(await receiver.receive());
      if (held.length > 2) held.shift()?.free();
      if (count % 16 === 0) say(count);
    }
  },

  /** Keeps a pool, and has all of it in hand. */
  "victim-keep-frames": async (address) => {
    const frames = pool({ slab: 4096, count: 2, shared: true });
    frames.share(poolOf(address));
    const channel = mpsc(frames.layout(), { shared: true });
    channel.share(address);
    const inHand = frames.allocSync();
    say("shared");
    // What is forgotten would be closed.
    await new Promise(() => setInterval(() => void [frames, channel, inHand], 1000));
  },

  /** Connects, closes, and does it again. */
  churn: async (address, times) => {
    for (let time = 0; time < Number(times); time++) {
      using sender = await Sender.connect(address, { layout: u32, timeout });
      await sender.send(time);
    }
    say("churned", Number(times));
  },

  /** Connects and sits there, until its standard input ends. */
  sit: async (address, role) => {
    const endpoint = role === "receiver"
      ? await connectReceiver(address)
      : await connectSender(address);
    for await (const _ of process.stdin);
    endpoint.close();
    say("closed");
  },
};

const [task = "", address = "", ...parameters] = process.argv.slice(2);
try {
  await tasks[task]?.(address, ...parameters);
} catch (error) {
  const { name, code = "", message } = error as Error & { code?: string };
  console.error(message);
  say("failed", name, code);
}
