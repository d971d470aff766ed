/**
 * A peer that writes anything anywhere into the memory of a shared channel, while others send and
 * receive: they get their values, garbled ones, or a typed error, and nobody crashes or hangs. The same
 * at the level of the native core, and many more times: zig/src/hostile_test.zig.
 */

import assert from "node:assert/strict";
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  writeSync,
} from "node:fs";
import test from "node:test";
import {
  bytes,
  type Channel,
  type ChannelOptions,
  f64,
  json,
  type Layout,
  mpmc,
  mpsc,
  type ReceiversOptions,
  type ReceiverTicket,
  type SendersOptions,
  spmc,
  spsc,
  struct,
  u32,
  utf8,
} from "../mod.ts";
import { rejects, within } from "./support/bounded.ts";
import { range } from "./support/channels.ts";
import { randomFrom } from "./support/stress_host.ts";
import { TestWorker } from "./support/workers.ts";
import type { Receiving } from "./support/worker_tasks.ts";

type Options = ChannelOptions & SendersOptions & ReceiversOptions;
type Create = <Value, Batch>(layout: Layout<Value, Batch>, options?: Options) => Channel<
  Value,
  Batch
>;

type AnyTicket = ReceiverTicket<unknown, ArrayLike<unknown>>;

const kinds: Record<string, Create> = { mpsc, spsc, spmc, mpmc };
const corrupt = { name: "CorruptSegmentError", code: "CORRUPT_SEGMENT" };

/** The memory of a channel, as another process has it. */
class Memory implements Disposable {
  readonly #fd: number;
  readonly bytes: number;

  private constructor(fd: number) {
    this.#fd = fd;
    this.bytes = fstatSync(fd).size;
  }

  /** Makes a channel, and finds what it lies in among the descriptors of this process. */
  static under<Made>(make: () => Made): [Made, Memory] {
    const before = new Set(descriptors());
    const made = make();
    const fd = descriptors().find((name) => !before.has(name));
    assert.ok(fd !== undefined, "a shared channel has a memfd");
    return [made, new Memory(openSync(`/proc/self/fd/${fd}`, "r+"))];
  }

  read(position: number): number {
    const word = new Uint32Array(1);
    readSync(this.#fd, word, 0, 4, position);
    return word[0] as number;
  }

  write(position: number, value: number): void {
    writeSync(this.#fd, new Uint32Array([value]), 0, 4, position);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** The memfds of this process. */
function descriptors(): string[] {
  return readdirSync("/proc/self/fd").filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith("/memfd:millrace");
    } catch {
      return false; // that of the directory itself
    }
  });
}

/** Where the counters are: the control block, the lines, and the beginning of every ring. */
function somewhere(memory: Memory, random: () => number): number {
  const below = (limit: number) => Math.floor(random() * limit);
  const word = below(32) * 4;
  switch (below(4)) {
    case 0:
      return 256 + below(4) * 128 + word;
    case 1:
    case 2:
      return 4096 + below(8) * 128 + word;
    default:
      return 8192 + below(Math.floor((memory.bytes - 8192) / 4096)) * 4096 + below(3) * 128 + word;
  }
}

function garbage(was: number, random: () => number): number {
  const values = [0, 1, 2, 16, 32, 2 ** 30, 2 ** 31, 2 ** 32 - 1, was + 1, was - 1, was + 32];
  const index = Math.floor(random() * (values.length + 3));
  return values[index] ?? was ^ (1 << Math.floor(random() * 32));
}

const layouts: Record<string, { layout: Layout<unknown, unknown>; value: unknown }> = {
  u32: { layout: u32 as unknown as Layout<unknown, unknown>, value: 7 },
  struct: {
    layout: struct({ a: u32, b: f64 }) as unknown as Layout<unknown, unknown>,
    value: { a: 1, b: 2 },
  },
  bytes: { layout: bytes as Layout<unknown, unknown>, value: new Uint8Array(20) },
  utf8: { layout: utf8 as Layout<unknown, unknown>, value: "a text of some length" },
  json: { layout: json as Layout<unknown, unknown>, value: { a: [1, 2, "three"] } },
};
const ways: Receiving[] = ["receive", "receiveSync", "iterate", "batches", "run", "tryReceive"];
/** A count that was garbled can refuse a receiver; a payload is the sender's affair. */
const expected = [
  "CorruptSegmentError",
  "ChannelClosedError",
  "SyntaxError",
  "TooManyError",
  "ReceiverTakenError",
];
const rounds = 24;
const mutations = 60;

for (const [kind, create] of Object.entries(kinds)) {
  test(`${kind}: garbage in the counters and records is a typed error, and no hang`, async () => {
    const random = randomFrom(kind.length * 31 + kind.charCodeAt(0) + kind.charCodeAt(3));
    await using worker = new TestWorker("web");
    for (const round of range(rounds)) {
      const { layout, value } = Object.values(layouts)[round % 5] as typeof layouts[string];
      const [channel, memory] = Memory.under(() =>
        create(layout, {
          shared: true,
          capacity: layout === layouts["u32"]?.layout ? 16 : 512,
          ...(kind.startsWith("m") ? { maxSenders: 2 } : {}),
          ...(kind.endsWith("mc") ? { maxReceivers: 2 } : {}),
        })
      );
      using _memory = memory;
      const names: string[] = [];
      const note = (error: Error) => void names.push(error.name);
      const way = ways[round % ways.length] as Receiving;
      const received = worker.call("receiveAll", channel.receiverTicket() as AnyTicket, way).catch(
        note,
      );
      using sender = channel.sender();
      const pending: Promise<void>[] = [];
      for (const _ of range(mutations)) {
        try {
          for (const _ of range(4)) sender.trySend(value);
        } catch (error) {
          note(error as Error);
        }
        const position = somewhere(memory, random);
        memory.write(position, garbage(memory.read(position), random));
        if (random() < 0.1) pending.push(sender.send(value).catch(note));
        if (random() < 0.2) await new Promise((resolve) => setTimeout(resolve, 0));
        channel.stats();
      }
      channel.close();
      sender.close();
      await within(Promise.all(pending), "the sends");
      // What is garbled may seem to go on for ever: the last word is the channel's own.
      await within(received, `the receiver of round ${round} (${way})`);
      channel[Symbol.dispose]();
      for (const name of names) assert.ok(expected.includes(name), name);
    }
  });
}

test("a head that cannot be is CorruptSegmentError to the sender, and to everyone after", async () => {
  const [channel, memory] = Memory.under(() =>
    mpsc(u32, { shared: true, capacity: 16, maxSenders: 1 })
  );
  using _channel = channel;
  using _memory = memory;
  using sender = channel.sender();
  using receiver = channel.receiver();
  const waiting = rejects(receiver.receive(), corrupt);
  // The consumer line of ring 0 lies behind its wait line; the head is (sequence << 1).
  memory.write(4096 + 128, 2 * 1000);
  for (const value of range(16)) await sender.send(value).catch(() => {});
  await rejects(sender.send(1), corrupt);
  await within(waiting, "the error");
  await rejects(receiver.receive(), corrupt);
  assert.equal(channel.stats().closed, "corrupt");
  await rejects(channel.drained(), corrupt);
  assert.equal(channel.closed, true);
});

test("a record longer than what was committed is CorruptSegmentError, and wakes the senders", async () => {
  const [channel, memory] = Memory.under(() =>
    mpsc(bytes, { shared: true, capacity: 64, maxSenders: 1 })
  );
  using _channel = channel;
  using _memory = memory;
  using sender = channel.sender();
  using receiver = channel.receiver();
  await sender.send(new Uint8Array(8));
  await sender.send(new Uint8Array(8));
  const waiting = sender.send(new Uint8Array(24)).then(() => sender.send(new Uint8Array(24)));
  // The data of ring 0 begins behind its producer line.
  memory.write(8192 + 128, 1_000_000);
  await rejects(receiver.receive(), corrupt);
  await rejects(within(waiting, "the sender"), corrupt);
});

test("a channel ends with its last sender, whatever its memory says of senders and rings", async () => {
  const [channel, memory] = Memory.under(() => mpsc(u32, { shared: true, maxSenders: 2 }));
  using _channel = channel;
  using _memory = memory;
  using sender = channel.sender();
  using receiver = channel.receiver();
  sender.trySend(1);
  // rings_claimed and sender_references
  for (const position of [256 + 8, 256 + 12]) memory.write(position, 1000);
  assert.equal(await receiver.receive(), 1);
  const end = rejects(receiver.receive(), { name: "ChannelClosedError", code: "CHANNEL_CLOSED" });
  sender.close();
  await within(end, "the end");
});
