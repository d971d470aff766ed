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
  statSync,
  writeSync,
} from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import {
  bytes,
  type Channel,
  type ChannelOptions,
  f64,
  json,
  type Layout,
  mpmc,
  mpsc,
  Receiver,
  type ReceiversOptions,
  type ReceiverTicket,
  Sender,
  type SendersOptions,
  spmc,
  spsc,
  struct,
  u32,
  utf8,
} from "../mod.ts";
import { isPending, rejects, until, within } from "./support/bounded.ts";
import { range } from "./support/channels.ts";
import { Workshop } from "./support/foreign.ts";
import { hasSaid, type Language, Peers } from "./support/processes.ts";
import { runChild, runtime } from "./support/runtime.ts";
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
const peers = new Peers();
after(() => peers[Symbol.dispose]());

/** Where in the memory what is. The last two are of the first ring, where there is one. */
const words = {
  closeState: 256,
  receiverState: 256 + 4,
  ringsClaimed: 256 + 8,
  senderReferences: 256 + 12,
  ringsUsed: 256 + 24,
  receiverTickets: 256 + 28,
  receiversOpen: 256 + 256 + 24,
  tail: 8192,
  tenancy: 8192 + 4,
};
const ended = { name: "ChannelClosedError", code: "CHANNEL_CLOSED" };
/** Only a hang reaches it. */
const limitMs = 60_000;
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
    const before = files();
    const made = make();
    return [made, Memory.not(before)];
  }

  /** The one that is not among these files. */
  static not(before: ReadonlyMap<number, string>): Memory {
    const path = files().entries().find(([file]) => !before.has(file))?.[1];
    assert.ok(path !== undefined, "a shared channel has a memfd");
    return new Memory(openSync(path, "r+"));
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

/** The memfds of this process, and where to open them: one that closes gives its number to the next. */
function files(): Map<number, string> {
  return new Map(
    readdirSync("/proc/self/fd").flatMap((name) => {
      const path = `/proc/self/fd/${name}`;
      try {
        return readlinkSync(path).startsWith("/memfd:millrace") ? [[statSync(path).ino, path]] : [];
      } catch {
        return []; // that of the directory itself
      }
    }),
  );
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
  for (const position of [words.ringsClaimed, words.senderReferences]) {
    memory.write(position, 1000);
  }
  assert.equal(await receiver.receive(), 1);
  const end = rejects(receiver.receive(), ended);
  sender.close();
  await within(end, "the end");
});

for (const [kind, create] of Object.entries(kinds)) {
  const options = { shared: true, capacity: 1, pollBudget: 0 } as const;

  test(`${kind}: a channel ends with its last receiver, whatever its memory says of receivers`, async () => {
    const [channel, memory] = Memory.under(() => create(u32, options));
    using _channel = channel;
    using _memory = memory;
    const address = peers.address();
    channel.share(address, { senders: false, limit: 1 });
    using sender = channel.sender();
    const other = peers.start("c", "sit", address, "receiver");
    await hasSaid(other, "connected");
    assert.equal(sender.trySend(1), true);
    const waiting = sender.send(2);
    const drained = channel.drained();
    assert.equal(await isPending(waiting), true);
    for (const position of [words.receiversOpen, words.receiverTickets]) {
      memory.write(position, 1000);
    }
    memory.write(words.receiverState, 0);
    other.end();
    await rejects(waiting, ended);
    await within(drained, "drained()", limitMs);
  });

  test(`${kind}: a channel does not end for what its memory says of receivers`, async () => {
    const [channel, memory] = Memory.under(() => create(u32, options));
    using _channel = channel;
    using _memory = memory;
    const ticket = channel.receiverTicket();
    using sender = channel.sender();
    assert.equal(sender.trySend(1), true);
    const waiting = sender.send(2);
    const drained = channel.drained();
    memory.write(words.receiverState, 2);
    memory.write(words.receiverTickets, 0);
    memory.write(words.receiversOpen, 1000);
    assert.equal(await isPending(waiting, 20), true);
    assert.equal(await isPending(drained), true);
    using receiver = Receiver.open(ticket);
    memory.write(words.receiverTickets, 0);
    for (const value of [1, 2]) {
      assert.equal(await within(receiver.receive(), "a value", limitMs), value);
    }
    await waiting;
    assert.equal(channel.closed, false);
    receiver.close();
    assert.equal(channel.closed, true);
    await within(drained, "drained()", limitMs);
  });

  for (const language of [runtime, "c"] satisfies Language[]) {
    test(`${kind}: a sender in ${language} that waits is told of the close, whatever memory says of its ring`, async () => {
      for (const position of [words.ringsUsed, words.tenancy, words.closeState]) {
        const [channel, memory] = Memory.under(() => create(u32, { ...options, maxSenders: 1 }));
        using _channel = channel;
        using _memory = memory;
        const address = peers.address();
        channel.share(address, { receivers: false });
        using receiver = channel.receiver();
        const other = peers.start(language, "send", address, 0, 1000);
        await hasSaid(other, "connected");
        await until(() => channel.stats().timesSlept > 0, "it waits", limitMs);
        if (position !== words.closeState) {
          memory.write(position, 0);
          channel.close();
        } else {
          // It is closed, opened again, and its ring with it, by somebody who tells nobody.
          channel.close();
          memory.write(words.closeState, 0);
          memory.write(words.tail, memory.read(words.tail) & ~1);
          // The keeper has only to look: it puts the close back, and a sender that sleeps looks, too.
          assert.equal(channel.closed, true);
        }
        const { stdout } = await within(other.ended, "the sender to end", limitMs);
        assert.match(stdout, /^failed /m);
        assert.equal(channel.closed, true);
        receiver.close();
      }
    });
  }

  test(`${kind}: after any garbage a close ends what others wait for, in every process`, async () => {
    const random = randomFrom(kind.charCodeAt(0) * 31 + kind.charCodeAt(3));
    for (const round of range(12)) {
      const [channel, memory] = Memory.under(() =>
        create(u32, {
          ...options,
          capacity: 16,
          ...(kind.startsWith("m") ? { maxSenders: 2 } : {}),
        })
      );
      using _memory = memory;
      const address = peers.address();
      channel.share(address);
      const language = round % 4 === 0 ? runtime : "c";
      // The kinds that have one of a side have it in another process by turns.
      const children = [
        ...(kind.startsWith("m") || round % 2 === 0
          ? [peers.start(language, "send", address, 1, 100_000_000)]
          : []),
        ...(kind.endsWith("mc") || round % 2 === 1
          ? [peers.start(language, "receive", address, "some")]
          : []),
      ];
      for (const child of children) await hasSaid(child, "connected");
      const own = [
        ...(kind.endsWith("mc") || round % 2 === 0 ? [channel.receiver()] : []),
        ...(kind.startsWith("m") || round % 2 === 1 ? [channel.sender()] : []),
      ];
      const waiting = own.map((endpoint) =>
        endpoint instanceof Sender ? sendUntilItFails(endpoint) : receiveUntilItFails(endpoint)
      );
      for (const _ of range(40)) {
        const position = somewhere(memory, random);
        memory.write(position, garbage(memory.read(position), random));
        if (random() < 0.2) await new Promise((resolve) => setTimeout(resolve, 0));
      }
      channel.close();
      const drained = channel.drained().catch(() => {});
      for (const child of children) {
        await within(child.ended, `a process of round ${round}`, limitMs);
      }
      await within(Promise.all(waiting), `this process in round ${round}`, limitMs);
      await within(drained, `drained() in round ${round}`, limitMs);
      channel[Symbol.dispose]();
    }
  });
}

test("after any garbage the death of a keeper ends what others wait for", async () => {
  const random = randomFrom(77);
  for (const round of range(12)) {
    const kind = Object.keys(kinds)[round % 4] as string;
    const address = peers.address();
    const isSender = round % 3 !== 0;
    const keeper = peers.start(
      "c",
      isSender ? "sit-keep" : "victim-keep-send",
      address,
      kind,
      round,
    );
    await hasSaid(keeper, "shared");
    const before = files();
    const endpoint = isSender
      ? await Sender.connect(address, { layout: u32 })
      : await Receiver.connect(address, { layout: u32 });
    using memory = Memory.not(before);
    const waiting = endpoint instanceof Sender
      ? sendUntilItFails(endpoint)
      : receiveUntilItFails(endpoint);
    for (const _ of range(40)) {
      const position = somewhere(memory, random);
      memory.write(position, garbage(memory.read(position), random));
      if (random() < 0.2) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    keeper.kill("SIGKILL");
    await within(waiting, `round ${round}`, limitMs);
    await keeper.ended;
  }
});

/** Sends for as long as it can, and closes. */
async function sendUntilItFails(sender: Sender<number, Uint32Array>): Promise<void> {
  try {
    for (let value = 0;; value++) await sender.send(value);
  } catch (error) {
    assert.ok(expected.includes((error as Error).name), String(error));
  }
  sender.close();
}

/** Receives for as long as it can, and closes. */
async function receiveUntilItFails(receiver: Receiver<number, Uint32Array>): Promise<void> {
  try {
    for (;;) await receiver.receive();
  } catch (error) {
    assert.ok(expected.includes((error as Error).name), String(error));
  }
  receiver.close();
}

/** For how long each layout and length is attacked; CONTRIBUTING.md tells how to have it longer. */
const attackMs = Number(process.env.MILLRACE_TEST_ATTACK_MS ?? "40");

for (const attacker of ["process", "worker"]) {
  test(`messages that a ${attacker} rewrites while they are decoded are garbled at worst`, async () => {
    using workshop = new Workshop();
    const program = attacker === "process" ? workshop.compile("attacker.c", "program") : "-";
    const { code, signal, stdout, stderr } = await runChild(
      "child_attacked.ts",
      [attacker, program, String(attackMs)],
      { limitMs: 110_000 + 200 * attackMs },
    );
    assert.equal(code, 0, `${signal ?? ""} ${stdout}${stderr}`);
    assert.match(stdout, /^survived all$/m);
  });
}
