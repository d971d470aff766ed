import assert from "node:assert/strict";
import test from "node:test";
import {
  bytes,
  Channel,
  type ChannelOptions,
  custom,
  f64,
  json,
  type Layout,
  mpmc,
  mpsc,
  pool,
  Receiver,
  type ReceiverTicket,
  Sender,
  type SendersOptions,
  type SenderTicket,
  struct,
  type StructWindow,
  type Ticket,
  u32,
  utf8,
} from "../mod.ts";
import {
  assertError,
  channelClosed,
  endpointClosed,
  type ExpectedError,
  nextTurn,
  refusalOf,
  rejects,
  throws,
  within,
} from "./support/bounded.ts";
import {
  channelsAlive,
  channelsSettled,
  collect,
  pair,
  range,
  takeAll,
} from "./support/channels.ts";
import { runChild } from "./support/runtime.ts";
import { TestWorker, workerKinds } from "./support/workers.ts";

const forged: ExpectedError = { name: "TicketError", code: "TICKET_FORGED" };
const used: ExpectedError = { name: "TicketError", code: "TICKET_USED" };

/** Calls that must fail with an error of this library or of misuse, never with the engine's own. */
function throwsTyped(call: () => unknown, what: string): Error {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof Error, what);
    assert.match(error.message, /^Cannot /, `${what}: ${error.name}: ${error.message}`);
    return error;
  }
  assert.fail(`${what}: nothing was thrown`);
}

// ---- options ----

test("mpsc() throws for a capacity that cannot be, and names the limit", () => {
  for (const capacity of [0, -1, 0.5, 1.5, NaN, Infinity, -Infinity, "8", 8n, {}]) {
    const options = { capacity } as ChannelOptions & SendersOptions;
    throws(() => mpsc(u32, options), {
      name: refusalOf(capacity),
      message:
        /^Cannot create a channel: capacity must be an integer from 1 to 1073741824, received/,
    });
    throws(() => mpsc(utf8, options), {
      name: refusalOf(capacity),
      message: /capacity must be an integer from 1 to 4294967296, received/,
    });
  }
});

test("mpsc() throws a RangeError that names the limit for a capacity too large", () => {
  const limits: [Layout<never, never>, number][] = [
    [u32 as Layout<never, never>, 2 ** 30],
    [f64 as Layout<never, never>, 2 ** 29],
    [utf8 as Layout<never, never>, 2 ** 32],
    [struct({ a: f64, b: f64, c: u32 }) as Layout<never, never>, 2 ** 27],
  ];
  for (const [layout, limit] of limits) {
    throws(() => mpsc(layout, { capacity: limit + 1 }), {
      name: "RangeError",
      message: new RegExp(`from 1 to ${limit}, received ${limit + 1}`),
    });
    throws(() => mpsc(layout, { capacity: 2 ** 53 }), { name: "RangeError" });
  }
});

test("a channel of the largest capacity can be made, and uses only what it touches", async () => {
  for (const layout of [u32, utf8] as Layout<unknown>[]) {
    using both = pair(layout, {
      capacity: layout === u32 as unknown ? 2 ** 30 : 2 ** 32,
      maxSenders: 2,
    });
    const value = layout === u32 as unknown ? 7 : "seven";
    assert.ok(both.sender.trySend(value));
    assert.equal(await both.receiver.receive(), value);
  }
});

test("mpsc() throws for every other option that cannot be", () => {
  for (const maxSenders of [0, -1, 1.5, NaN, 4097, "2"]) {
    throws(() => mpsc(u32, { maxSenders } as ChannelOptions & SendersOptions), {
      name: refusalOf(maxSenders),
      message: /maxSenders must be an integer from 1 to 4096, received/,
    });
  }
  for (const wait of ["nap", 1, null, {}]) {
    throws(() => mpsc(u32, { wait } as ChannelOptions & SendersOptions), {
      name: "TypeError",
      message: /"phased"/,
    });
  }
  for (const pollBudget of [-1, NaN, "long", {}]) {
    throws(() => mpsc(u32, { pollBudget } as ChannelOptions & SendersOptions), {
      name: refusalOf(pollBudget),
    });
  }
  for (const initialSequence of [-1, 0.5, 2 ** 32]) {
    throws(() => mpsc(u32, { initialSequence }), { name: "RangeError" });
  }
  for (const options of [null, 8, "8"]) {
    throws(() => mpsc(u32, options as ChannelOptions & SendersOptions), {
      name: "TypeError",
      message: /options must be an object/,
    });
  }
});

test("mpsc() throws a TypeError for what is not a layout", () => {
  const make = mpsc as (layout: unknown) => unknown;
  for (const layout of [undefined, null, "u32", 32, {}, { spec: { kind: "u32" } }, () => u32, []]) {
    throws(() => make(layout), { name: "TypeError", message: /expected one of u8 … i64/ });
  }
});

test("mpsc() throws OutOfMemoryError when there is no address space, and gives all of it back", async () => {
  const before = await channelsSettled();
  const layout = struct(Object.fromEntries(range(256).map((index) => [`f${index}`, f64])));
  const make = () => mpsc(layout, { capacity: 2 ** 20, maxSenders: 4096 });
  const channels: ReturnType<typeof make>[] = [];
  let error: unknown;
  // 8 TiB each: 47 bits of address space hold 16 of them, 48 bits hold 32.
  for (let count = 0; count < 64 && error === undefined; count++) {
    try {
      channels.push(make());
    } catch (thrown) {
      error = thrown;
    }
  }
  try {
    throws(() => {
      throw error;
    }, {
      name: "OutOfMemoryError",
      code: "OUT_OF_MEMORY",
      message: /^Cannot create a channel of 4096 rings of 1048576 slots of 2048 bytes: .*memory/,
    });
    assert.equal(channelsAlive(), before + channels.length);
    using small = pair(u32);
    assert.ok(small.sender.trySend(1), "other channels can still be made");
  } finally {
    for (const channel of channels) channel[Symbol.dispose]();
  }
  assert.equal(channelsAlive(), before);
  using again = make();
  assert.equal(again.capacity, 2 ** 20);
});

test("a process that has too many endpoints open gets TooManyError, and goes on", () => {
  const channels: Channel<number, Uint32Array>[] = [];
  try {
    throws(() => {
      for (let count = 0; count <= 16384; count++) {
        channels.push(mpsc(u32, { capacity: 1, maxSenders: 1 }));
      }
    }, { name: "TooManyError", code: "TOO_MANY_ENDPOINTS" });
    const last = channels.at(-1);
    throws(() => last?.sender(), { name: "TooManyError", code: "TOO_MANY_ENDPOINTS" });
    throws(() => last?.receiver(), { name: "TooManyError", code: "TOO_MANY_ENDPOINTS" });
    channels.shift()?.[Symbol.dispose]();
    const sender = last?.sender();
    assert.equal(sender?.trySend(1), true);
    sender.close();
  } finally {
    for (const channel of channels) channel[Symbol.dispose]();
  }
  using both = pair(u32);
  assert.ok(both.sender.trySend(1));
});

// ---- maxSenders and receivers ----

test("sender() and Sender.open() throw TooManyError when maxSenders are open", async () => {
  using channel = mpsc(u32, { maxSenders: 2 });
  using receiver = channel.receiver();
  const senders = [channel.sender(), channel.sender()];
  const tooMany: ExpectedError = { name: "TooManyError", code: "TOO_MANY_SENDERS" };
  throws(() => channel.sender(), tooMany);
  const ticket = channel.senderTicket();
  throws(() => Sender.open(ticket), tooMany);
  senders[0]?.close();
  takeAll(receiver);
  // The ticket that met the limit is not used up.
  using third = Sender.open(ticket);
  assert.ok(third.trySend(3));
  assert.equal(await receiver.receive(), 3);
  third.close();
  senders[1]?.close();
  await rejects(receiver.receive(), channelClosed);
});

test("a second receiver is a ReceiverTakenError, however it is opened", () => {
  const taken: ExpectedError = { name: "ReceiverTakenError", code: "RECEIVER_TAKEN" };
  using channel = mpsc(u32);
  const ticket = channel.receiverTicket();
  const second = channel.receiverTicket();
  const receiver = Receiver.open(ticket);
  throws(() => channel.receiver(), taken);
  throws(() => Receiver.open(second), taken);
  receiver.close();
  throws(() => channel.receiver(), taken);
});

// ---- tickets ----

test("a ticket is good once", () => {
  using channel = mpsc(u32);
  const ticket = channel.senderTicket();
  const copy = structuredClone(ticket);
  using sender = Sender.open(ticket);
  assert.ok(sender.trySend(1));
  throws(() => Sender.open(ticket), used);
  throws(() => Sender.open(copy), used);
  const receiverTicket = channel.receiverTicket();
  using receiver = Receiver.open(receiverTicket);
  throws(() => Receiver.open(receiverTicket), used);
  assert.deepEqual(takeAll(receiver), [1]);
});

test("a ticket is for one kind of endpoint, and the mistake does not use it up", () => {
  using channel = mpsc(u32);
  const [sending, receiving] = [channel.senderTicket(), channel.receiverTicket()];
  const role: ExpectedError = { name: "TicketError", code: "TICKET_ROLE" };
  throws(() => Receiver.open(sending as unknown as ReceiverTicket<number>), role);
  throws(() => Sender.open(receiving as unknown as SenderTicket<number>), role);
  // The right itself says so too, whatever is written on the ticket.
  const relabelled = { ...receiving, millrace: "sender" };
  throws(() => Sender.open(relabelled as unknown as SenderTicket<number>), role);
  const mislabelled = { ...sending, millrace: "receiver" };
  throws(() => Sender.open(mislabelled as unknown as SenderTicket<number>), role);
  using sender = Sender.open(sending);
  using receiver = Receiver.open(receiving);
  assert.ok(sender.trySend(1));
  assert.deepEqual(takeAll(receiver), [1]);
});

test("a ticket with any bit of its right flipped is refused, and the true one still opens", () => {
  using channel = mpsc(u32);
  const ticket = channel.senderTicket();
  for (let word = 0; word < ticket.right.length; word++) {
    for (let bit = 0n; bit < 64n; bit++) {
      const right = ticket.right.slice();
      right[word] = (right[word] ?? 0n) ^ (1n << bit);
      const error = throws(() => Sender.open({ ...ticket, right }), { name: "TicketError" });
      const { code } = error as { code?: string };
      assert.ok(
        ["TICKET_FORGED", word === 0 ? "TICKET_FOREIGN" : ""].includes(code ?? ""),
        code ?? "",
      );
      assert.equal(channel.revoke({ ...ticket, right }), false);
    }
  }
  for (const right of [new BigUint64Array(4), new BigUint64Array(4).fill(2n ** 64n - 1n)]) {
    throws(() => Sender.open({ ...ticket, right }), { name: "TicketError" });
  }
  using sender = Sender.open(ticket);
  assert.ok(sender.trySend(1));
});

test("what is not a ticket is a TypeError; a ticket of another shape is a forged one", () => {
  const opens: [string, (ticket: unknown) => unknown][] = [
    ["sender", (ticket) => Sender.open(ticket as SenderTicket<number>)],
    ["receiver", (ticket) => Receiver.open(ticket as ReceiverTicket<number>)],
  ];
  for (const [kind, open] of opens) {
    for (const ticket of [undefined, null, 1, "ticket", {}, [], () => {}, { millrace: "pipe" }]) {
      throws(() => open(ticket), { name: "TypeError", message: /expected a ticket, received/ });
    }
    throws(() => open({ millrace: kind }), forged);
  }
  using channel = mpsc(u32);
  const whole = channel.senderTicket();
  const shapes: Record<string, unknown[]> = {
    right: [
      undefined,
      null,
      [1n, 2n, 3n, 4n],
      new BigUint64Array(3),
      new BigUint64Array(5),
      new Uint8Array(32),
      new BigInt64Array(4),
    ],
    layout: [undefined, null, 1, "u32", u32],
    bells: [
      undefined,
      null,
      {},
      new ArrayBuffer(whole.bells.byteLength),
      new SharedArrayBuffer(4),
      new SharedArrayBuffer(0),
      new SharedArrayBuffer(1 << 20),
    ],
  };
  for (const [field, values] of Object.entries(shapes)) {
    for (const value of values) {
      using other = mpsc(u32);
      const ticket = { ...other.senderTicket(), [field]: value };
      throwsTyped(() => Sender.open(ticket as SenderTicket<number>), `${field}: ${String(value)}`);
    }
  }
});

test("a ticket with another layout is refused, and runs no code of its own", () => {
  const layouts: unknown[] = [
    { kind: "u8" },
    { kind: "f64" },
    { kind: "json" },
    { kind: "u33" },
    { kind: "toString" },
    { kind: "__proto__" },
    { kind: 7 },
    { kind: "struct" },
    { kind: "struct", fields: "abc" },
    { kind: "struct", fields: [] },
    { kind: "struct", fields: [["a"]] },
    { kind: "struct", fields: [["a", { kind: "utf8" }]] },
    { kind: "struct", fields: [["a", { kind: "u64" }]] },
    {
      kind: "struct",
      fields: [["a", { kind: "u8[(globalThis.millraceForged = true, 0)], x: view.u8" }]],
    },
    { kind: "struct", fields: [["a", { kind: "struct", fields: [["b", null]] }]] },
    { kind: "custom" },
    { kind: "custom", name: "nobody registered this" },
  ];
  for (const layout of layouts) {
    using channel = mpsc(u32);
    const ticket = { ...channel.senderTicket(), layout } as unknown as SenderTicket<unknown>;
    throwsTyped(() => Sender.open(ticket).trySend({ a: 1 }), JSON.stringify(layout));
  }
  assert.equal("millraceForged" in globalThis, false);
});

test("a ticket with an altered wait or polling budget cannot make a sender that hangs", () => {
  for (const altered of [{ wait: "nap" }, { wait: 7 }, { pollBudget: -1 }, { pollBudget: "x" }]) {
    using channel = mpsc(u32, { capacity: 1 });
    const ticket = { ...channel.senderTicket(), ...altered } as unknown as SenderTicket<number>;
    try {
      using sender = Sender.open(ticket);
      sender.trySend(1);
      sender.sendSync(2, { timeout: 1 });
    } catch (error) {
      assert.match((error as Error).message, /^Cannot /);
      continue;
    }
    assert.fail("the ring is full");
  }
});

test("a ticket through JSON is no longer one", () => {
  using channel = mpsc(u32);
  const ticket = channel.senderTicket();
  const text = JSON.stringify(
    ticket,
    (_, value) => typeof value === "bigint" ? `${value}` : value,
  );
  throws(() => Sender.open(JSON.parse(text)), forged);
});

test("a ticket of another process is a TICKET_FOREIGN", async () => {
  const child = await runChild("child_tickets.ts");
  assert.equal(child.code, 0, child.stderr);
  const printed = JSON.parse(child.stdout) as { role: "sender" | "receiver"; right: string[] }[];
  assert.equal(printed.length, 2);
  using channel = mpsc(u32);
  for (const { role, right } of printed) {
    const own = role === "sender" ? channel.senderTicket() : channel.receiverTicket();
    const foreign: Ticket = { ...own, right: new BigUint64Array(right.map(BigInt)) };
    const open = () =>
      role === "sender"
        ? Sender.open(foreign as SenderTicket<number>)
        : Receiver.open(foreign as ReceiverTicket<number>);
    throws(open, { name: "TicketError", code: "TICKET_FOREIGN" });
  }
});

test("a ticket of a channel that is gone is a TicketError, of a closed one a ChannelClosedError", () => {
  const freed = mpsc(u32);
  const tickets = [freed.senderTicket(), freed.receiverTicket()] as const;
  freed[Symbol.dispose]();
  throws(() => Sender.open(tickets[0]), { name: "TicketError", code: "TICKET_FREED" });
  throws(() => Receiver.open(tickets[1]), { name: "TicketError", code: "TICKET_FREED" });

  using closed = mpsc(u32);
  const ticket = closed.senderTicket();
  closed.close();
  throws(() => Sender.open(ticket), channelClosed);
  throws(() => closed.senderTicket(), channelClosed);
});

test("revoke() throws a TypeError for what is not a ticket", () => {
  using channel = mpsc(u32);
  const revoke = (ticket: unknown) => channel.revoke(ticket as SenderTicket<number, Uint32Array>);
  for (const ticket of [undefined, null, 1, {}, { right: new BigUint64Array(3) }, { right: [] }]) {
    throws(() => revoke(ticket), { name: "TypeError", message: /expected a ticket/ });
  }
});

// ---- after the end ----

test("every method of a channel that was disposed of says so", async () => {
  const channel = mpsc(u32, { capacity: 8, maxSenders: 3 });
  const ticket = channel.senderTicket();
  channel[Symbol.dispose]();
  throws(() => channel.sender(), endpointClosed);
  throws(() => channel.receiver(), endpointClosed);
  throws(() => channel.senderTicket(), endpointClosed);
  throws(() => channel.receiverTicket(), endpointClosed);
  throws(() => channel.revoke(ticket), endpointClosed);
  throws(() => channel.stats(), endpointClosed);
  throws(() => channel.size, endpointClosed);
  assert.equal(channel.closed, true);
  assert.equal(channel.capacity, 8);
  assert.equal(channel.maxSenders, 3);
  channel.close();
  channel.close(new Error("late"));
  await channel.drained();
  channel[Symbol.dispose]();
  await channel[Symbol.asyncDispose]();
});

test("a closed channel opens no sender, but still its receiver", async () => {
  using channel = mpsc(u32);
  using sender = channel.sender();
  sender.trySend(1);
  const receiving = channel.receiverTicket();
  channel.close();
  throws(() => channel.sender(), channelClosed);
  throws(() => channel.senderTicket(), channelClosed);
  using receiver = Receiver.open(receiving);
  assert.deepEqual(await collect(receiver), [1]);
});

// ---- views ----

test("a view kept after close() has length 0, in every layout", () => {
  const numbers = pair(u32, { capacity: 8 });
  const room = numbers.sender.reserve(2) as Uint32Array;
  room.set([1, 2]);
  numbers.sender.commit();
  const view = numbers.receiver.readable() as Uint32Array;
  numbers.receiver.release();
  assert.equal(view.length, 2);
  numbers.sender.close();
  assert.equal(room.length, 0);
  assert.equal(room[0], undefined);
  assert.equal(view.length, 2, "the receiver is still open");
  numbers.receiver.close();
  assert.equal(view.length, 0);
  assert.equal(view.buffer.byteLength, 0);
  numbers[Symbol.dispose]();

  const structs = pair(struct({ a: u32 }), { capacity: 8 });
  const structRoom = structs.sender.reserve(1) as StructWindow<{ a: number }>;
  structRoom.set(0, { a: 7 });
  structs.sender.commit();
  const structView = structs.receiver.readable() as StructWindow<{ a: number }>;
  assert.deepEqual(structView.at(0), { a: 7 });
  structs[Symbol.dispose]();
  assert.equal(structView.bytes.length, 0);
  assert.equal(structView.at(0), undefined);
  assert.equal(structRoom.at(0), undefined);
  throws(() => structRoom.set(0, { a: 1 }), { name: "RangeError" });

  const records = pair(bytes, { capacity: 64 });
  const bytesRoom = records.sender.reserve(4) as Uint8Array;
  records.sender.commit();
  const [payload] = records.receiver.readable() as Uint8Array[];
  assert.equal(payload?.length, 4);
  records[Symbol.dispose]();
  assert.deepEqual([payload?.length, bytesRoom.length], [0, 0]);
});

test("a custom decode that keeps, writes to or transfers its bytes away harms no message", async () => {
  const kept: Uint8Array[] = [];
  const keeping = custom<string>({
    name: "test/keeping",
    encode: (value) => new TextEncoder().encode(value),
    decode(view) {
      const text = new TextDecoder().decode(view);
      kept.push(view);
      if (text === "away") {
        structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
      } else view.fill(0);
      return text;
    },
  });
  using both = pair(keeping);
  const texts = ["text", "away", "ä".repeat(3000), "away", "end"];
  both.sender.sendBatch(texts);
  for (const text of texts) assert.equal(await both.receiver.receive(), text);
  both.sender.trySend("seen in the ring");
  kept.at(-1)?.fill(1);
  assert.equal(await both.receiver.receive(), "seen in the ring");
});

test("a custom decode that receives from another channel keeps its own bytes", async () => {
  using inner = pair(utf8);
  const nesting = custom<string>({
    name: "test/nesting",
    encode: (value) => new TextEncoder().encode(value),
    decode(view) {
      inner.sender.trySend("é".repeat(view.length));
      inner.receiver.tryReceive();
      return new TextDecoder().decode(view);
    },
  });
  using outer = pair(nesting);
  outer.sender.trySend("outside");
  assert.equal(await outer.receiver.receive(), "outside");
});

test("a view whose buffer was transferred away does no harm to anybody", async () => {
  const stolen: ArrayBuffer[] = [];
  for (let round = 0; round < 20; round++) {
    const both = pair(u32, { capacity: 8 });
    both.sender.sendBatch([1, 2, 3]);
    const room = both.sender.reserve(1) as Uint32Array;
    const view = both.receiver.readable() as Uint32Array;
    for (const { buffer } of [room, view] as { buffer: ArrayBuffer }[]) {
      stolen.push(structuredClone(buffer, { transfer: [buffer] }));
      assert.equal(buffer.byteLength, 0);
    }
    // What cannot be written or read any more must not pass for a value.
    const delivered: unknown[] = [];
    try {
      if (both.sender.trySend(77)) delivered.push(...takeAll(both.receiver));
    } catch (error) {
      assert.match((error as Error).message, /^Cannot /);
    }
    assert.ok(delivered.every((value) => [1, 2, 3, 77].includes(value as number)), `${delivered}`);
    both[Symbol.dispose]();
    if (round % 5 === 0) await nextTurn();
  }
  // The memory that got away is still memory.
  for (const buffer of stolen) new Uint8Array(buffer).fill(0xff);
  using both = pair(u32);
  both.sender.sendBatch(range(100));
  assert.deepEqual(takeAll(both.receiver), range(100));
});

// ---- values with code of their own ----

test("a getter that sends on the same sender gets an error, and nothing half is sent", () => {
  const layout = struct({ a: u32, b: u32 });
  const uses: Record<string, (sender: Sender<{ a: number; b: number }>) => unknown> = {
    trySend: (sender) => sender.trySend({ a: 7, b: 8 }),
    sendSync: (sender) => sender.sendSync({ a: 7, b: 8 }),
    sendBatch: (sender) => sender.sendBatch([{ a: 7, b: 8 }]),
    push: (sender) => sender.writer().push({ a: 7, b: 8 }),
    "reserve and commit": (sender) => {
      const room = sender.reserve(1) as unknown as StructWindow<{ a: number; b: number }>;
      room.set(0, { a: 7, b: 8 });
      sender.commit(1);
    },
  };
  for (const [name, use] of Object.entries(uses)) {
    using both = pair(layout, { capacity: 8 });
    const { sender, receiver } = both;
    let inner: unknown;
    const value = {
      a: 1,
      get b() {
        try {
          use(sender);
        } catch (error) {
          inner = error;
        }
        return 2;
      },
    };
    try {
      sender.trySend(value);
    } catch (error) {
      inner = error;
    }
    assert.ok(inner instanceof Error, `${name}: ${inner}`);
    const received = takeAll(receiver);
    const whole = [{ a: 1, b: 2 }, { a: 7, b: 8 }];
    for (const one of received) {
      assert.ok(
        whole.some(({ a, b }) => one.a === a && one.b === b),
        `${name}: ${JSON.stringify(one)}`,
      );
    }
    assert.ok(received.length <= 1, name);
    assert.ok(sender.trySend({ a: 5, b: 6 }), name);
    assert.deepEqual(takeAll(receiver), [{ a: 5, b: 6 }], name);
  }
});

test("toJSON and encode that send on the same sender get an error, and nothing half is sent", () => {
  using texts = pair(json as Layout<unknown>, { capacity: 256 });
  const value = { toJSON: () => texts.sender.trySend("inner") };
  throws(() => texts.sender.trySend(value), { name: "TypeError", message: /uses the same sender/ });
  assert.deepEqual(takeAll(texts.receiver), []);
  assert.ok(texts.sender.trySend("after"));
  assert.deepEqual(takeAll(texts.receiver), ["after"]);

  for (const reserves of [false, true]) {
    const layout = custom<string>({
      name: `test/reentrant ${reserves}`,
      encode(text) {
        if (text === "outer") {
          if (!reserves) sender.trySend("inner");
          else {
            (sender.reserve(5) as Uint8Array).fill(65);
            sender.commit();
          }
        }
        return new TextEncoder().encode(text);
      },
      decode: (view) => new TextDecoder().decode(view.slice()),
    });
    using both = pair(layout, { capacity: 256 });
    const { sender, receiver } = both;
    throwsTyped(() => sender.trySend("outer"), `encode that reserves: ${reserves}`);
    assert.ok(sender.trySend("after"));
    assert.deepEqual(takeAll(receiver), ["after"]);
  }
});

test("a value whose own code closes the sender or the channel is not half sent", async () => {
  const closes: ((both: ReturnType<typeof opened>) => void)[] = [
    ({ sender }) => sender.close(),
    ({ channel }) => channel.close(),
    ({ channel }) => channel[Symbol.dispose](),
    ({ receiver }) => receiver.close(),
    (both) => both[Symbol.dispose](),
  ];
  const opened = () => pair(struct({ a: u32, b: u32 }), { capacity: 8 });
  for (const close of closes) {
    using both = opened();
    const value = {
      a: 1,
      get b() {
        close(both);
        return 2;
      },
    };
    let sent = true;
    try {
      sent = both.sender.trySend(value);
    } catch (error) {
      assert.equal((error as Error).name, "ChannelClosedError");
      sent = false;
    }
    assert.equal(sent, false);
    const received = collect(both.receiver).catch((error) => assertError(error, endpointClosed));
    const outcome = await received;
    if (Array.isArray(outcome)) assert.deepEqual(outcome, []);
  }
});

test("a getter or encode that throws sends nothing and spoils nothing", () => {
  using both = pair(struct({ a: u32, b: u32 }), { capacity: 4 });
  const value = {
    a: 1,
    get b(): number {
      throw new Error("no b today");
    },
  };
  throws(() => both.sender.trySend(value), { name: "Error", message: /no b today/ });
  throws(() => both.sender.sendBatch([{ a: 3, b: 4 }, value]), { message: /no b/, name: "Error" });
  takeAll(both.receiver);
  assert.ok(both.sender.trySend({ a: 5, b: 6 }));
  assert.deepEqual(takeAll(both.receiver), [{ a: 5, b: 6 }]);
});

test("custom() throws for a codec that cannot be", () => {
  const make = custom as unknown as (codec: unknown) => unknown;
  const encode = () => new Uint8Array();
  const decode = () => 1;
  for (
    const codec of [undefined, null, 1, {}, { name: "", encode, decode }, {
      name: 1,
      encode,
      decode,
    }]
  ) {
    throws(() => make(codec), { name: "TypeError", message: /name must be a non-empty string/ });
  }
  throws(() => make({ name: "x", encode }), { name: "TypeError", message: /encode and decode/ });
  throws(() => make({ name: "x", decode }), { name: "TypeError", message: /encode and decode/ });
});

test("an encode that throws or returns nonsense is an error of the send, and sends nothing", async () => {
  let result: unknown;
  const layout = custom<string>({
    name: "test/nonsense",
    encode() {
      if (result instanceof Error) throw result;
      return result as Uint8Array;
    },
    decode: (view) => new TextDecoder().decode(view.slice()),
  });
  using both = pair(layout, { capacity: 128 });
  for (
    const nonsense of [undefined, null, "text", 7, [1], new ArrayBuffer(4), new Uint16Array(2)]
  ) {
    result = nonsense;
    throws(() => both.sender.trySend("x"), {
      name: "TypeError",
      message: /"test\/nonsense": encode\(\) must return a Uint8Array, received/,
    });
  }
  result = new Error("cannot encode that");
  throws(() => both.sender.trySend("x"), { name: "Error", message: /cannot encode that/ });
  await rejects(both.sender.send("x"), { name: "Error", message: /cannot encode that/ });
  assert.deepEqual(both.receiver.tryReceive(), { state: "empty" });
  result = new TextEncoder().encode("good");
  assert.ok(both.sender.trySend("x"));
  assert.deepEqual(takeAll(both.receiver), ["good"]);
});

test("an encode that gives another length each time neither overruns nor spoils the ring", () => {
  let calls = 0;
  const layout = custom<string>({
    name: "test/growing",
    encode: () => new Uint8Array(Math.min(56, ++calls)),
    decode: (view) => `${view.length}`,
  });
  using both = pair(layout, { capacity: 128 });
  for (let round = 0; round < 100; round++) {
    try {
      both.sender.trySend("x");
    } catch (error) {
      assert.ok(error instanceof RangeError, `${error}`);
    }
    for (const text of takeAll(both.receiver)) assert.ok(Number(text) <= 56);
  }
});

test("a decode that throws costs its own message only, however it is received", async () => {
  const layout = custom<string>({
    name: "test/undecodable",
    encode: (value) => new TextEncoder().encode(value),
    decode(view) {
      const text = new TextDecoder().decode(view.slice());
      if (text === "bad") throw new Error("undecodable");
      return text;
    },
  });
  const undecodable: ExpectedError = { name: "Error", message: /undecodable/ };
  const opened = () => {
    const both = pair(layout, { capacity: 256 });
    both.sender.sendBatch(["a", "bad", "b"]);
    return both;
  };
  {
    using both = opened();
    assert.deepEqual(both.receiver.tryReceive(), { state: "ok", value: "a" });
    throws(() => both.receiver.tryReceive(), undecodable);
    assert.deepEqual(takeAll(both.receiver), ["b"]);
  }
  {
    using both = opened();
    assert.equal(await both.receiver.receive(), "a");
    await rejects(both.receiver.receive(), undecodable);
    assert.equal(await both.receiver.receive(), "b");
  }
  {
    using both = opened();
    const seen: string[] = [];
    throws(() => both.receiver.drain((value) => seen.push(value)), undecodable);
    both.receiver.drain((value) => seen.push(value));
    assert.deepEqual(seen, ["a", "b"]);
  }
  for (const into of [false, true]) {
    using both = opened();
    const seen: string[] = [];
    let errors = 0;
    for (let call = 0; call < 5; call++) {
      try {
        const target: string[] = into ? ["", "", ""] : [];
        const count = into ? both.receiver.receiveBatch(target) : 0;
        seen.push(...(into ? target.slice(0, count) : both.receiver.receiveBatch(10)));
      } catch (error) {
        assert.match((error as Error).message, /undecodable/);
        errors++;
      }
    }
    assert.deepEqual(seen, ["a", "b"], `into an array: ${into}`);
    assert.equal(errors, 1);
  }
  {
    using both = opened();
    const waiting = range(3).map(() => both.receiver.receive());
    const settled = await within(Promise.allSettled(waiting), "all receives");
    assert.deepEqual(settled.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  }
});

test("a decode that receives or closes is an error or harmless, and loses no message", () => {
  for (const closing of [false, true]) {
    let calls = 0;
    const errors: unknown[] = [];
    const layout = custom<string>({
      name: `test/decode that ${closing ? "closes" : "receives"}`,
      encode: (value) => new TextEncoder().encode(value),
      decode(view) {
        const text = new TextDecoder().decode(view.slice());
        try {
          if (calls++ === 0) closing ? receiver.close() : receiver.tryReceive();
        } catch (error) {
          errors.push(error);
        }
        return text;
      },
    });
    using channel = mpsc(layout, { capacity: 256 });
    const receiver = channel.receiver();
    const senders = [channel.sender(), channel.sender()];
    for (const [index, sender] of senders.entries()) {
      sender.sendBatch(range(3).map((value) => `${index}${value}`));
    }
    if (closing) {
      try {
        assert.deepEqual(receiver.tryReceive(), { state: "ok", value: "00" });
      } catch (error) {
        assertError(error, endpointClosed);
      }
      throws(() => receiver.tryReceive(), endpointClosed);
    } else {
      const received = takeAll(receiver);
      assert.equal(errors.length, 1);
      assert.deepEqual(received.sort(), ["00", "01", "02", "10", "11", "12"]);
    }
    for (const sender of senders) sender.close();
    receiver.close();
  }
});

test("a handler that closes the receiver ends drain(), for await, batches() and run()", async () => {
  const opened = () => {
    const both = pair(u32, { capacity: 256 });
    both.sender.sendBatch(range(200));
    return both;
  };
  {
    using both = opened();
    assert.equal(both.receiver.drain(() => both.receiver.close()), 1);
  }
  {
    using both = opened();
    const run = both.receiver.run(() => both.receiver.close());
    const summary = await within(run.finished, "the run");
    assert.deepEqual(summary, { messages: 1, state: "closed" });
  }
  for (const iterate of ["values", "batches"] as const) {
    using both = opened();
    let count = 0;
    const iterated = (async () => {
      for await (
        const _ of iterate === "values" ? both.receiver : both.receiver.batches({ max: 1 })
      ) {
        count++;
        both.receiver.close();
      }
    })();
    await within(
      iterated.catch((error) => assert.equal(error.name, "ChannelClosedError")),
      iterate,
    );
    assert.equal(count, 1);
  }
});

// ---- threads ----

for (const kind of workerKinds) {
  test(`an endpoint used from a thread that did not open it answers WRONG_THREAD (${kind})`, async () => {
    const { loadLibrary } = await import("../ffi/load.ts");
    const { Status } = await import("../ffi/abi.ts");
    const { symbols } = loadLibrary();
    const channel = symbols.millrace_channel_create(
      new Uint32Array([0, 4, 8, 2, 1, 0, 0, 0, 0, 0, 0, 0]),
    );
    const info = new BigUint64Array(4);
    const sender = symbols.millrace_endpoint_open_on_at(channel, 0, new Uint32Array(2), info);
    const receiver = symbols.millrace_endpoint_open_on_at(channel, 1, new Uint32Array(2), info);
    assert.ok(channel > 0 && sender > 0 && receiver > 0);
    await using worker = new TestWorker(kind);
    const buffer = { bytes: 128 };
    const calls: [name: string, parameters: (number | { bytes: number })[]][] = [
      ["millrace_channel_close", [channel, buffer, 0]],
      ["millrace_channel_dispose", [channel]],
      ["millrace_channel_arm_drain", [channel]],
      ["millrace_ticket_issue", [channel, 0, buffer]],
      ["millrace_endpoint_open_on_at", [channel, 0, buffer, buffer]],
      ["millrace_endpoint_close", [sender]],
      ["millrace_endpoint_close", [receiver]],
      ["millrace_endpoint_quarantine", [sender]],
      ["millrace_endpoint_ring", [sender, 0, buffer]],
      ["millrace_endpoint_orphans", [sender]],
      ["millrace_endpoint_close_state", [sender]],
      ["millrace_endpoint_reason", [sender, buffer, 128]],
      ["millrace_endpoint_statistics", [channel, buffer]],
      ["millrace_endpoint_rings", [channel, buffer, 1]],
      ["millrace_endpoint_histogram", [channel, buffer, buffer, 0]],
      ["millrace_sender_reserve", [sender, 1]],
      ["millrace_sender_commit", [sender, 0, 0]],
      ["millrace_sender_wait", [sender, 1, 3, 1000]],
      ["millrace_sender_arm", [sender, 1]],
      ["millrace_sender_disarm", [sender]],
      ["millrace_receiver_poll", [receiver, 0]],
      ["millrace_receiver_release", [receiver, 0, 0]],
      ["millrace_receiver_wait", [receiver, 3, 1000]],
      ["millrace_receiver_arm", [receiver]],
      ["millrace_receiver_disarm", [receiver]],
      ["millrace_receiver_give_up", [receiver]],
      ["millrace_receiver_mark", [receiver]],
      ["millrace_receiver_reached_mark", [receiver]],
    ];
    for (const [name, parameters] of calls) {
      assert.equal(await worker.call("callNative", name, parameters), Status.wrongThread, name);
      const stale = parameters.map((value) => value === sender ? sender + (1 << 16) : value);
      if (stale[0] !== parameters[0]) {
        assert.equal(await worker.call("callNative", name, stale), Status.invalidHandle, name);
      }
    }
    assert.equal(symbols.millrace_sender_reserve(sender, 1), 8, "the owner is not disturbed");
    for (const handle of [sender, receiver]) symbols.millrace_endpoint_close(handle);
    symbols.millrace_channel_dispose(channel);
  });

  test(`a Sender, Receiver or Channel that is posted arrives as nothing that could be used (${kind})`, async () => {
    using both = pair(u32);
    await using worker = new TestWorker(kind);
    for (const endpoint of [both.sender, both.receiver, both.channel]) {
      try {
        const { hasTrySend } = await worker.call("describe", endpoint);
        assert.equal(hasTrySend, false);
      } catch (error) {
        // Deno's node:worker_threads says TypeError.
        assert.match((error as Error).name, /^(DataCloneError|TypeError)$/);
        continue;
      }
      await rejects(worker.call("openPosted", endpoint), {
        name: "TypeError",
        message: /expected a ticket/,
      });
    }
    assert.ok(both.sender.trySend(1));
    assert.deepEqual(takeAll(both.receiver), [1]);
  });

  test(`a custom layout that is not registered in the Worker is a LayoutError (${kind})`, async () => {
    const { reversed } = await import("./support/worker_tasks.ts");
    const name = `test/unregistered ${kind}`;
    using channel = mpsc(custom<string>({ name, ...reversed }));
    using receiver = channel.receiver();
    await using worker = new TestWorker(kind);
    const ticket = channel.senderTicket();
    const expected: ExpectedError = {
      name: "LayoutError",
      code: "LAYOUT_UNREGISTERED",
      message: new RegExp(`"${name}" is not registered`),
    };
    const open = () => worker.call("openSender", ticket as SenderTicket<unknown, unknown>);
    await rejects(open(), expected);
    // The ticket is not used up: register, and open it.
    await worker.call("registerReversed", name);
    await open();
    await worker.call("send", "send", ["river"]);
    assert.equal(await within(receiver.receive(), "the message"), "river");
  });

  test(`tickets misused in a Worker are typed errors there too (${kind})`, async () => {
    using channel = mpsc(u32);
    await using worker = new TestWorker(kind);
    const ticket = channel.senderTicket() as SenderTicket<unknown, unknown>;
    using sender = Sender.open(ticket);
    await rejects(worker.call("openSender", ticket), used);
    const right = channel.senderTicket().right.map((word) => word ^ 1n);
    await rejects(worker.call("openSender", { ...ticket, right }), { name: "TicketError" });
    await rejects(worker.call("openSender", undefined as unknown as typeof ticket), {
      name: "TypeError",
    });
    sender.close();
  });
}

// ---- arguments of every method ----

test("a signal that is no AbortSignal is a TypeError that names it, of every call that waits", async () => {
  using channel = mpsc(u32, { capacity: 8 });
  using sender = channel.sender();
  using receiver = channel.receiver();
  using slabs = pool({ slab: 64, count: 1 });
  const writer = sender.writer();
  for (const signal of [null, 5, "abort", {}, { aborted: false }, new EventTarget()]) {
    const options = { signal: signal as AbortSignal };
    const calls: [string, () => Promise<unknown>][] = [
      ["receive", () => receiver.receive(options)],
      ["wait for a value", () => receiver.ready(options)],
      ["receive batches", () => receiver.batches(options).next()],
      ["send", () => sender.send(1, options)],
      ["send all", () => sender.sendAll([1], options)],
      ["wait for room", () => sender.ready(options)],
      ["wait for room", () => writer.ready(options)],
      ["take a slab", () => slabs.alloc(8, options)],
    ];
    for (const [action, call] of calls) {
      await rejects(call(), {
        name: "TypeError",
        message: new RegExp(`^Cannot ${action}: signal must be an AbortSignal, received`),
      });
    }
    throws(() => receiver.run(() => {}, options), {
      name: "TypeError",
      message: /^Cannot run: signal must be an AbortSignal/,
    });
  }
  assert.equal(receiver.tryReceive().state, "empty", "nothing of it was sent");
});

for (const create of [mpsc, mpmc]) {
  test(`receiveBatch() of ${create.name} takes what is there, however large a number it is given`, () => {
    using channel = create(u32, { capacity: 8 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    for (const most of [2 ** 30 + 1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, 2 ** 1023]) {
      sender.sendBatch([1, 2, 3]);
      assert.deepEqual([...receiver.receiveBatch(most)], [1, 2, 3], String(most));
    }
  });
}

test("a byte string whose buffer was transferred away is a TypeError, not an empty message", () => {
  using both = pair(bytes);
  const gone = new Uint8Array(8);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  throws(() => both.sender.trySend(gone), { name: "TypeError", message: /transferred away/ });
  assert.ok(both.sender.trySend(new Uint8Array(0)));
  assert.deepEqual(takeAll(both.receiver), [new Uint8Array(0)]);
});

test("new Channel() throws a TypeError for a kind that is none", () => {
  for (const kind of ["bus", "toString", "", undefined, 0]) {
    throws(() => new Channel(kind as "mpsc", u32), {
      name: "TypeError",
      message: /kind must be "mpsc", "spsc", "spmc" or "mpmc", received/,
    });
  }
});

/** What nobody should pass: one of each sort. */
function oddValues(): [string, unknown][] {
  const gone = new Uint8Array(8);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const values = [
    undefined,
    null,
    NaN,
    -1,
    0.5,
    2 ** 32,
    1e300,
    Infinity,
    "x",
    true,
    5n,
    Symbol("s"),
  ];
  return [
    ...values.map((value): [string, unknown] => [String(value), value]),
    ["a function", () => {}],
    ["{}", {}],
    ["a frozen object", Object.freeze({ a: 1 })],
    ["a frozen array", Object.freeze([1, 2, 3])],
    ["a sparse array", [, 1, , 2]],
    ["a Proxy of an array", new Proxy([1, 2], {})],
    ["an object without a prototype", Object.create(null)],
    ["a length without values", { length: 1e9 }],
    ["a negative length", { length: -1, 0: 1 }],
    ["a view of nothing", gone],
    ["a DataView", new DataView(new ArrayBuffer(8))],
    ["a shared view", new Uint8Array(new SharedArrayBuffer(8))],
    ["{ timeout: NaN }", { timeout: NaN }],
    ["{ wait: 7 }", { wait: 7 }],
    ["{ batch: -1 }", { batch: -1 }],
    ["{ threshold: 0.5 }", { threshold: 0.5 }],
    ["a revoked Proxy", proxy],
  ];
}

/** The engine's own, of a value's own code: it says what it was. */
const engineOwn = /revoked|BigInt|array length|Array length|not a function.*iterator/i;

/** The public methods of an object but those that block, or wait for what never comes. */
function methodsOf(object: object): string[] {
  const names = new Set<string>();
  for (let at = object; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) {
      const { value } = Object.getOwnPropertyDescriptor(at, name) ?? {};
      const isCalled = typeof value === "function" && name !== "constructor";
      if (isCalled && !/Sync$|^drained$|^push/.test(name)) names.add(name);
    }
  }
  return [...names];
}

for (const [name, layout] of Object.entries({ u32, utf8, bytes, struct: struct({ a: u32 }) })) {
  test(`no method of a channel of ${name}, or of what it gives, meets a wrong argument with the engine's own error`, async () => {
    const settled: Promise<unknown>[] = [];
    const seen: string[] = [];
    const judge = (what: string, error: unknown) => {
      const { message } = error as Error;
      if (!/^Cannot /.test(message) && !engineOwn.test(message)) seen.push(`${what}: ${error}`);
    };
    const call = (what: string, target: object, method: string, parameters: unknown[]) => {
      try {
        const result = (target as Record<string, (...all: unknown[]) => unknown>)[method]?.(
          ...parameters,
        );
        if (result instanceof Promise) settled.push(result.catch((error) => judge(what, error)));
      } catch (error) {
        judge(what, error);
      }
    };
    const open = () => {
      const channel = mpmc(layout as Layout<unknown>, { capacity: 1024, maxSenders: 2 });
      const receiver = channel.receiver();
      const sender = channel.sender();
      const targets: Record<string, object> = {
        channel,
        receiver,
        sender,
        writer: sender.writer(),
        eventFd: receiver.eventFd(),
      };
      const close = () => {
        sender.close();
        receiver.close();
        channel[Symbol.dispose]();
      };
      return { targets, close };
    };
    const { targets, close } = open();
    close();
    for (const [role, closed] of Object.entries(targets)) {
      for (const method of methodsOf(closed)) {
        const fresh = open();
        for (const [label, value] of oddValues()) {
          const what = `${role}.${method}(${label})`;
          call(what, fresh.targets[role] as object, method, [value]);
          call(`1, ${what}`, fresh.targets[role] as object, method, [1, value]);
          call(`${what} when closed`, closed, method, [value]);
        }
        fresh.close();
      }
    }
    await within(Promise.all(settled), "every promise settles once everything is closed");
    assert.deepEqual(seen, []);
  });
}
