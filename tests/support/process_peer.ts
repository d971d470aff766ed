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
  Receiver,
  Sender,
  type ShareOptions,
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
