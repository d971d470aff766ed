/**
 * Random sequences of operations against a model of plain arrays, and random layouts there and back.
 *
 * fast-check prints the seed and the smallest sequence that fails.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadLibrary } from "../ffi/load.ts";
import {
  bytes,
  type Channel,
  ChannelClosedError,
  f32,
  f64,
  i16,
  i32,
  i64,
  i8,
  json,
  type JsonValue,
  type Layout,
  mpmc,
  mpsc,
  type Receiver,
  type Sender,
  spmc,
  spsc,
  struct,
  TooManyError,
  u16,
  u32,
  u64,
  u8,
  utf8,
  type Writer,
} from "../mod.ts";

const { symbols } = loadLibrary();
const testLimit = { timeout: 120_000 };

/** Around both wraps of the counters, which hold the sequence twice over. */
const sequences = [
  0,
  2 ** 30 - 1,
  2 ** 31 - 1,
  2 ** 31 - 3,
  2 ** 31 - 70,
  2 ** 32 - 1,
  2 ** 32 - 5,
];

// ---- what is sent: every value says whose it is and which ----

interface Kind {
  readonly name: string;
  readonly layout: Layout<unknown, unknown>;
  make(id: number, index: number): unknown;
  /** Tells the value as text, the same for equal values. */
  tell(value: unknown): string;
  /** For layouts of variable length: the payload of a value, and back. */
  readonly payload?: {
    of(value: unknown): Uint8Array;
    from(bytes: Uint8Array): unknown;
  };
}

function kind<Value, Batch>(
  name: string,
  layout: Layout<Value, Batch>,
  make: (id: number, index: number) => Value,
  tell: (value: Value) => string,
  payload?: { of(value: Value): Uint8Array; from(bytes: Uint8Array): Value },
): Kind {
  return { name, layout, make, tell, payload } as unknown as Kind;
}

const point = struct({ id: u8, at: struct({ index: u32, weight: f64 }), big: i64 });
const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** Lengths of 0 to 20 bytes more, so that records differ and padding comes up everywhere. */
const filler = (index: number) => "é~".repeat(7).slice(0, (index * 5) % 15);

const fixedKinds: readonly Kind[] = [
  kind("u32", u32, (id, index) => id * 2 ** 24 + index, String),
  kind("i64", i64, (id, index) => -BigInt(id * 2 ** 40 + index), String),
  kind(
    "struct",
    point,
    (id, index) => ({ id, at: { index, weight: index / 3 }, big: BigInt(index) - 5n }),
    ({ id, at, big }) => `${id} ${at.index} ${at.weight} ${big}`,
  ),
];

const recordKinds: readonly Kind[] = [
  kind(
    "bytes",
    bytes,
    (id, index) => new Uint8Array(2 + (index * 5) % 17).fill(index).fill(id, 0, 1),
    (value) => value.join(),
    { of: (value) => value, from: (payload) => payload.slice() },
  ),
  kind(
    "utf8",
    utf8,
    (id, index) => `${id}.${index}${filler(index)}`,
    String,
    { of: (text) => encoder.encode(text), from: (payload) => decoder.decode(payload.slice()) },
  ),
  kind<JsonValue, JsonValue[]>(
    "json",
    json,
    (id, index) => [id, index, filler(index)],
    (value) => JSON.stringify(value),
    {
      of: (value) => encoder.encode(JSON.stringify(value)),
      from: (payload) => JSON.parse(decoder.decode(payload.slice())),
    },
  ),
];

// ---- the model ----

interface ModelSender {
  readonly id: number;
  readonly sender: Sender<unknown, unknown>;
  readonly writer: Writer<unknown>;
  made: number;
  isOpen: boolean;
  /** Pushed to the writer, not yet published. */
  pushed: unknown[];
  /** Published, not yet received. */
  sent: unknown[];
}

const maxSenders = 8;
/** Places for receivers: more than a scenario opens, for a claim that was taken over keeps one. */
const maxReceivers = 8;

type ChannelKind = "mpsc" | "spsc" | "spmc" | "mpmc";

function createChannel(
  channelKind: ChannelKind,
  layout: Layout<unknown, unknown>,
  options: { capacity: number; initialSequence: number },
  claim: number,
): Channel<unknown, unknown> {
  switch (channelKind) {
    case "mpsc":
      return mpsc(layout, { ...options, maxSenders });
    case "spsc":
      return spsc(layout, options);
    case "spmc":
      return spmc(layout, { ...options, maxReceivers, claim });
    case "mpmc":
      return mpmc(layout, { ...options, maxSenders, maxReceivers, claim });
  }
}

/** Senders of a scenario: fewer than may be open, for a closed one keeps its ring until drained. */
const sendersMax = 8;
const recordSlots = (kind: Kind, value: unknown) =>
  1 + Math.ceil((kind.payload?.of(value).length ?? 0) / 8);
/** The greatest record of all kinds above. */
const recordSlotsMax = 6;

class Model {
  readonly channel: Channel<unknown, unknown>;
  readonly receiver: Receiver<unknown, unknown>;
  readonly senders: ModelSender[] = [];
  readonly kind: Kind;
  isClosed = false;
  /** Taken by an iterator that may not have given them back yet. */
  unsettled = 0;
  /** Values published since the beginning. */
  published = 0;

  constructor(
    kind: Kind,
    capacity: number,
    initialSequence: number,
    channelKind: ChannelKind = "mpsc",
    claim = 1,
  ) {
    this.kind = kind;
    this.channel = createChannel(channelKind, kind.layout, {
      capacity: kind.payload === undefined ? capacity : Math.max(capacity * 8, 128),
      initialSequence,
    }, claim);
    this.receiver = this.channel.receiver();
    this.open();
  }

  open(): void {
    const sender = this.channel.sender();
    const writer = sender.writer({ chunk: 3 });
    const id = this.senders.length;
    this.senders.push({ id, sender, writer, made: 0, isOpen: true, pushed: [], sent: [] });
  }

  get total(): number {
    return this.senders.reduce((sum, { sent }) => sum + sent.length, 0);
  }

  /** Whether the next `values` surely fit, surely do not, or neither can be said. */
  fits(from: ModelSender, value: unknown): "yes" | "no" | "perhaps" {
    const held = [...from.sent, ...from.pushed];
    if (this.kind.payload === undefined) {
      const capacity = this.channel.capacity;
      if (held.length === capacity) return "no";
      return held.length + this.unsettled < capacity ? "yes" : "perhaps";
    }
    const slots = recordSlots(this.kind, value);
    const used = held.reduce<number>((sum, other) => sum + recordSlots(this.kind, other), 0);
    const capacity = this.channel.capacity / 8;
    if (used + slots > capacity) return "no";
    const padding = recordSlotsMax - 1 + (slots - 1);
    if (this.unsettled === 0 && (held.length === 0 || used + padding + slots <= capacity)) {
      return "yes";
    }
    return "perhaps";
  }

  /** Holds an answer of the library against `fits()`. */
  expectFit(from: ModelSender, value: unknown, answer: boolean): void {
    const expected = this.fits(from, value);
    if (expected !== "perhaps") assert.equal(answer, expected === "yes", `fits: ${expected}`);
  }

  make(from: ModelSender): unknown {
    return this.kind.make(from.id, from.made);
  }

  /** A value has been published. */
  accept(from: ModelSender, value: unknown): void {
    from.sent.push(value);
    this.published++;
  }

  /** What was pushed has been published. */
  publish(from: ModelSender, count: number = from.pushed.length): void {
    for (const value of from.pushed.splice(0, count)) this.accept(from, value);
  }

  /** A microtask has run: every writer has published what it held. */
  turn(): void {
    for (const sender of this.senders) {
      if (this.isClosed) sender.pushed = [];
      else if (sender.isOpen) this.publish(sender);
    }
  }

  /** A value was received: it must be the next of one sender. */
  receive(value: unknown): void {
    const told = this.kind.tell(value);
    for (const { sent } of this.senders) {
      if (sent.length === 0 || this.kind.tell(sent[0]) !== told) continue;
      sent.shift();
      return;
    }
    assert.fail(`received ${told}, which is nobody's next`);
  }

  receiveAll(values: Iterable<unknown>): void {
    for (const value of values) this.receive(value);
  }

  closeSender(from: ModelSender): void {
    from.sender.close();
    if (!this.isClosed) this.publish(from);
    from.pushed = [];
    from.isOpen = false;
    if (this.senders.every(({ isOpen }) => !isOpen)) this.isClosed = true;
  }

  close(): void {
    this.channel.close();
    this.isClosed = true;
  }

  check(): void {
    assert.equal(this.channel.stats().sent, this.published);
    assert.equal(this.receiver.size, this.total);
    assert.equal(this.channel.closed, this.isClosed);
    if (this.unsettled === 0) {
      assert.equal(this.channel.size, this.total);
      assert.equal(this.channel.stats().drained, this.isClosed && this.total === 0);
    }
    if (!this.isClosed) {
      const open = this.senders.filter(({ isOpen }) => isOpen).length;
      assert.equal(this.channel.stats().senders, open);
    }
  }

  /** The rest arrives, in order, and then the channel has ended. */
  finish(): void {
    // What a writer still holds is published by the close of its sender, unless the channel is closed.
    for (const sender of this.senders) if (sender.isOpen) this.closeSender(sender);
    assert.equal(this.isClosed, true);
    const left = this.total;
    this.unsettled = 0;
    assert.equal(this.receiver.drain((value) => this.receive(value)), left);
    assert.deepEqual(this.receiver.tryReceive(), { state: "closed" });
    this.check();
    this.receiver.close();
    this.channel[Symbol.dispose]();
  }
}

// ---- operations ----

interface Operation {
  readonly name: string;
  /** Which sender, of those that are open. */
  readonly who: number;
  readonly count: number;
}

type Act = (model: Model, from: ModelSender, count: number) => void | Promise<void>;

/** What an error of a batch says was not sent. */
const told = (model: Model, values: unknown) =>
  Array.from(values as ArrayLike<unknown>, (value) => model.kind.tell(value));

function expectClosed(act: () => unknown): ChannelClosedError {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof ChannelClosedError);
    return error;
  }
  assert.fail("a closed channel took something");
}

const sending: Record<string, Act> = {
  trySend(model, from) {
    const value = model.make(from);
    const isSent = from.sender.trySend(value);
    if (model.isClosed) return assert.equal(isSent, false);
    model.expectFit(from, value, isSent);
    // Either way what was pushed before is published.
    model.publish(from);
    if (!isSent) return;
    model.accept(from, value);
    from.made++;
  },
  sendBatch(model, from, count) {
    const values = Array.from(
      { length: count },
      (_, offset) => model.kind.make(from.id, from.made + offset),
    );
    if (model.isClosed) {
      const { value } = expectClosed(() => from.sender.sendBatch(values));
      // Behind what a writer may have pushed before.
      assert.deepEqual(told(model, value).slice(-count), told(model, values));
      from.pushed = [];
      return;
    }
    const sent = from.sender.sendBatch(values);
    model.publish(from);
    for (let index = 0; index < sent; index++) {
      model.expectFit(from, values[index], true);
      model.accept(from, values[index]);
    }
    if (sent < count) model.expectFit(from, values[sent], false);
    from.made += sent;
  },
  push(model, from, count) {
    for (let pushes = 0; pushes < count; pushes++) {
      const value = model.make(from);
      if (model.isClosed) {
        // A writer may take what it will find refused when it publishes.
        try {
          from.writer.tryPush(value);
        } catch (error) {
          assert.ok(error instanceof ChannelClosedError);
        }
        continue;
      }
      const isPushed = from.writer.tryPush(value);
      model.expectFit(from, value, isPushed);
      if (!isPushed) return model.publish(from);
      from.made++;
      from.pushed.push(value);
      // It publishes when its chunk of 3 is full, and when it needs room anew.
      const fresh = model.channel.stats().sent - model.published;
      assert.ok(fresh >= 0 && fresh <= from.pushed.length);
      model.publish(from, fresh);
      assert.ok(from.pushed.length < 3);
    }
  },
  flush(model, from) {
    if (!model.isClosed) {
      from.writer.flush();
      return model.publish(from);
    }
    try {
      from.writer.flush();
    } catch (error) {
      assert.ok(error instanceof ChannelClosedError);
    }
  },
  "reserve and commit"(model, from, count) {
    const value = model.make(from);
    const payload = model.kind.payload?.of(value);
    if (model.isClosed) return expectReserveClosed(from, payload, count);
    const room = from.sender.reserve(payload?.length ?? count) as
      | (Uint8Array & { set(index: number, value: unknown): void; [index: number]: unknown })
      | undefined;
    model.expectFit(from, value, room !== undefined);
    if (room === undefined) return model.publish(from);
    if (payload !== undefined) {
      room.set(payload);
      from.sender.commit();
      model.publish(from);
      model.accept(from, value);
      from.made++;
      return;
    }
    assert.ok(room.length >= 1 && room.length <= count);
    const kept = Math.max(1, room.length - 1);
    for (let index = 0; index < room.length; index++) {
      const filling = model.kind.make(from.id, from.made + index);
      if (ArrayBuffer.isView(room)) room[index] = filling as number;
      else (room as { set(index: number, value: unknown): void }).set(index, filling);
    }
    from.sender.commit(kept);
    model.publish(from);
    for (let index = 0; index < kept; index++) {
      model.accept(from, model.kind.make(from.id, from.made++));
    }
  },
  "close a sender"(model, from, count) {
    // Seldom the last one, or little would be tried before it.
    const open = model.senders.filter(({ isOpen }) => isOpen).length;
    if (open > 1 || count === 1) model.closeSender(from);
  },
};

function expectReserveClosed(
  from: ModelSender,
  payload: Uint8Array | undefined,
  count: number,
): void {
  // There may be room that was granted before the close; a commit of it must fail.
  expectClosed(() => {
    const room = from.sender.reserve(payload?.length ?? count);
    if (payload !== undefined) (room as Uint8Array).set(payload);
    from.sender.commit();
  });
  from.pushed = [];
}

const receiving: Record<string, Act> = {
  tryReceive(model) {
    const result = model.receiver.tryReceive();
    model.unsettled = 0;
    if (model.total > 0) {
      assert.equal(result.state, "ok");
      model.receive((result as { value: unknown }).value);
    } else {
      assert.deepEqual(result, { state: model.isClosed ? "closed" : "empty" });
    }
  },
  receiveBatch(model, _, count) {
    const { total } = model;
    const batch = Array.from(model.receiver.receiveBatch(count) as ArrayLike<unknown>);
    model.unsettled = 0;
    assert.equal(batch.length, Math.min(count, total));
    model.receiveAll(batch);
  },
  "receiveBatch into an array"(model, _, count) {
    const { total } = model;
    const out = new Array(count).fill(undefined);
    const received = model.receiver.receiveBatch(out);
    model.unsettled = 0;
    assert.equal(received, Math.min(count, total));
    model.receiveAll(out.slice(0, received));
  },
  "readable and release"(model, _, count) {
    const view = model.receiver.readable() as
      | { readonly length: number; at(index: number): unknown }
      | undefined;
    assert.equal(view === undefined, model.total === 0);
    if (view === undefined) return;
    const released = Math.min(count, view.length);
    const values = Array.from({ length: view.length }, (_, index) => view.at(index));
    const { payload } = model.kind;
    model.receiveAll(
      (payload === undefined ? values : values.map((value) => payload.from(value as Uint8Array)))
        .slice(0, released),
    );
    model.receiver.release(released);
    model.unsettled = 0;
  },
  drain(model) {
    const { total } = model;
    assert.equal(model.receiver.drain((value) => model.receive(value)), total);
    model.unsettled = 0;
  },
};

const managing: Record<string, Act> = {
  "open a sender"(model) {
    if (model.isClosed) {
      assert.throws(() => model.channel.sender(), ChannelClosedError);
    } else if (model.channel.maxSenders === 1) {
      // There is one, or the channel would be closed.
      assert.throws(() => model.channel.sender(), TooManyError);
    } else if (model.senders.length < sendersMax) {
      model.open();
    }
  },
  "close the channel"(model, _, count) {
    // Seldom, or little would be tried before it.
    if (count === 1) model.close();
  },
};

const waiting: Record<string, Act> = {
  async "send and receive while it waits"(model, from) {
    const value = model.make(from);
    const fit = model.fits(from, value);
    const sent = from.sender.send(value);
    if (model.isClosed) {
      return await assert.rejects(sent, (error: ChannelClosedError) => {
        return error.value === value || model.kind.tell(error.value) === model.kind.tell(value);
      });
    }
    model.publish(from);
    if (fit !== "yes") {
      // It may have had to wait: then values make room for it. Its own may come among them.
      model.accept(from, value);
      from.made++;
      const { sent: counted } = model.channel.stats();
      model.receiver.drain((received) => model.receive(received));
      model.unsettled = 0;
      await sent;
      assert.ok(model.channel.stats().sent >= counted);
      return;
    }
    await sent;
    model.accept(from, value);
    from.made++;
  },
  async "receive that waits for a send"(model, from) {
    if (model.total > 0 || model.isClosed) return;
    model.unsettled = 0;
    const received = model.receiver.receive();
    const value = model.make(from);
    model.publish(from);
    assert.equal(from.sender.trySend(value), true);
    model.accept(from, value);
    from.made++;
    model.receive(await received);
  },
  async "receive that is aborted"(model) {
    const abort = new AbortController();
    const received = model.receiver.receive({ signal: abort.signal });
    abort.abort(new Error("enough"));
    const hadOne = model.total > 0;
    model.unsettled = 0;
    if (hadOne) model.receive(await received);
    else if (model.isClosed) await assert.rejects(received, ChannelClosedError);
    else await assert.rejects(received, /enough/);
  },
  async receive(model) {
    if (model.total === 0) return;
    model.receive(await model.receiver.receive());
    model.unsettled = 0;
  },
  async "for await, left early"(model, _, count) {
    let left = Math.min(count, model.total);
    if (left === 0) return;
    for await (const value of model.receiver) {
      model.receive(value);
      if (--left === 0) break;
    }
    model.unsettled = 0;
  },
  async "next of an iterator"(model) {
    if (model.total === 0) return;
    const { done, value } = await model.receiver[Symbol.asyncIterator]().next();
    assert.equal(done, false);
    model.unsettled++;
    model.receive(value);
  },
  async batches(model, _, count) {
    if (model.total === 0) return;
    for await (const batch of model.receiver.batches({ max: count })) {
      const values = Array.from(batch as ArrayLike<unknown>);
      assert.ok(values.length >= 1 && values.length <= count);
      model.receiveAll(values);
      break;
    }
    model.unsettled = 0;
  },
  async "run and stop"(model) {
    // Before the first microtask, in which the writers publish.
    const run = model.receiver.run((value) => {
      model.turn();
      model.receive(value);
    });
    await run.stop();
    model.turn();
    model.unsettled = 0;
  },
};

const synchronous = { ...sending, ...receiving, ...managing };
const all = { ...synchronous, ...waiting };

/** Not more channels than before; there can be fewer, as those of a test file before this one go. */
function assertNoneLeft(alive: number): void {
  const left = symbols.millrace_channels_alive();
  assert.ok(left <= alive, `${left} channels are alive, before there were ${alive}`);
}

function operationsOf(acts: Record<string, Act>): fc.Arbitrary<Operation[]> {
  const operation = fc.record({
    name: fc.constantFrom(...Object.keys(acts)),
    who: fc.nat(maxSenders - 1),
    count: fc.integer({ min: 1, max: 12 }),
  });
  return fc.array(operation, { maxLength: 120, size: "max" });
}

function scenarioOf(kinds: readonly Kind[], acts: Record<string, Act>) {
  return fc.tuple(
    fc.constantFrom(...kinds.map(({ name }) => name)),
    fc.constantFrom(1, 2, 4, 8, 64),
    fc.constantFrom(...sequences),
    operationsOf(acts),
  );
}

function modelOf(
  kinds: readonly Kind[],
  name: string,
  capacity: number,
  sequence: number,
  channelKind: ChannelKind,
): Model {
  const kind = kinds.find((kind) => kind.name === name) as Kind;
  return new Model(kind, capacity, sequence, channelKind);
}

/** The sender an operation is for; undefined when it needs one and none is open. */
function chosen(model: Model, { name, who }: Operation): ModelSender | undefined {
  const open = model.senders.filter(({ isOpen }) => isOpen);
  const needsSender = name in sending || name.startsWith("send") || name.includes("for a send");
  return needsSender ? open[who % open.length] : model.senders[0];
}

const titles = [["fixed", fixedKinds], ["variable", recordKinds]] as const;
const lonely = titles.flatMap(([title, kinds]) =>
  (["mpsc", "spsc"] as const).map((channelKind) => [title, kinds, channelKind] as const)
);

for (const [title, kinds, channelKind] of lonely) {
  test(
    `${channelKind}: any sequence of calls behaves as arrays do, layouts of ${title} length`,
    testLimit,
    () => {
      const alive = symbols.millrace_channels_alive();
      fc.assert(
        fc.property(scenarioOf(kinds, synchronous), ([name, capacity, sequence, operations]) => {
          const model = modelOf(kinds, name, capacity, sequence, channelKind);
          for (const operation of operations) {
            const from = chosen(model, operation);
            if (from === undefined) continue;
            synchronous[operation.name]?.(model, from, operation.count);
            model.check();
          }
          model.finish();
        }),
        { numRuns: channelKind === "mpsc" ? 3000 : 600 },
      );
      assertNoneLeft(alive);
    },
  );

  test(
    `${channelKind}: the same with waits in between, layouts of ${title} length`,
    testLimit,
    async () => {
      const alive = symbols.millrace_channels_alive();
      await fc.assert(
        fc.asyncProperty(scenarioOf(kinds, all), async ([name, capacity, sequence, operations]) => {
          const model = modelOf(kinds, name, capacity, sequence, channelKind);
          for (const operation of operations) {
            const from = chosen(model, operation);
            if (from === undefined) continue;
            await all[operation.name]?.(model, from, operation.count);
            await Promise.resolve();
            model.turn();
            model.check();
          }
          model.finish();
        }),
        { numRuns: channelKind === "mpsc" ? 1500 : 300 },
      );
      assertNoneLeft(alive);
    },
  );
}

// ---- several receivers ----

interface ModelReceiver {
  readonly receiver: Receiver<unknown, unknown>;
  /** How many values it may have claimed and not taken, at most. */
  held: number;
  /** Of each sender, the index behind the last value it got. */
  readonly next: Map<ModelSender, number>;
}

const receiversMax = 3;

/** What is sent goes to one of several receivers; each may hold claims that no other can get at. */
class SharingModel extends Model {
  readonly receivers: ModelReceiver[] = [];
  readonly claim: number;
  /** The indices of the values in `sent`, and how many were published, by sender. */
  readonly #indices = new Map<ModelSender, { left: number[]; published: number }>();
  /** The greatest rest that receivers may have left to others: those that closed, or offered what they held. */
  returned = 0;
  /** Whether turns of the event loop end: then what is held is offered. */
  readonly hasTurns: boolean;
  /** Values before these may have been such rests, and come out of order. */
  readonly #maybeLate = new Map<ModelSender, number>();

  constructor(
    kind: Kind,
    capacity: number,
    sequence: number,
    channelKind: ChannelKind,
    claim: number,
    hasTurns: boolean,
  ) {
    super(kind, capacity, sequence, channelKind, claim);
    this.claim = claim;
    this.hasTurns = hasTurns;
    this.receivers.push({ receiver: this.receiver, held: 0, next: new Map() });
  }

  join(): void {
    this.receivers.push({ receiver: this.channel.receiver(), held: 0, next: new Map() });
  }

  leave(to: ModelReceiver): void {
    this.#leaves(to.held);
    to.receiver.close();
    this.receivers.splice(this.receivers.indexOf(to), 1);
    this.forgetHeld();
  }

  /** So many that were held can go to others, in one piece, after later ones. */
  #leaves(held: number): void {
    this.returned = Math.max(this.returned, held);
    if (held === 0) return;
    for (const [sender, { published }] of this.#indices) this.#maybeLate.set(sender, published);
  }

  /** Values that can be held by others than this one, at most. */
  heldByOthers(to: ModelReceiver): number {
    return this.receivers.reduce((sum, other) => other === to ? sum : sum + other.held, 0);
  }

  override fits(from: ModelSender, value: unknown): "yes" | "no" | "perhaps" {
    const fit = super.fits(from, value);
    // A claim that is held keeps what was released behind it from the sender.
    const isHeld = this.returned > 0 || this.receivers.some(({ held }) => held > 0);
    return fit === "yes" && isHeld ? "perhaps" : fit;
  }

  override accept(from: ModelSender, value: unknown): void {
    super.accept(from, value);
    let indices = this.#indices.get(from);
    if (indices === undefined) this.#indices.set(from, indices = { left: [], published: 0 });
    indices.left.push(indices.published++);
  }

  /** A value came to one of the receivers: nobody has had it, and it is not out of order. */
  take(to: ModelReceiver, value: unknown): void {
    const told = this.kind.tell(value);
    for (const sender of this.senders) {
      const place = sender.sent.findIndex((sent) => this.kind.tell(sent) === told);
      if (place < 0) continue;
      sender.sent.splice(place, 1);
      const index = this.#indices.get(sender)?.left.splice(place, 1)[0] as number;
      const next = to.next.get(sender) ?? 0;
      assert.ok(
        index >= next || index < (this.#maybeLate.get(sender) ?? 0),
        `got ${told} after the ${next}. of that sender`,
      );
      to.next.set(sender, Math.max(next, index + 1));
      return this.forgetHeld();
    }
    assert.fail(`received ${told}, which was not there`);
  }

  /** A receive has claimed up to `limit` values, or was in the middle of a claim. */
  hold(to: ModelReceiver, most: number): void {
    to.held = Math.min(this.total, Math.max(most, this.returned));
    if (this.hasTurns) this.#leaves(to.held);
  }

  /** What is not there is held by nobody. */
  forgetHeld(): void {
    for (const receiver of this.receivers) receiver.held = Math.min(receiver.held, this.total);
    this.returned = Math.min(this.returned, this.total);
  }

  /** It found nothing: then the others hold all there is. */
  missed(to: ModelReceiver): void {
    to.held = 0;
    assert.ok(this.total <= this.heldByOthers(to), `${this.total} are there, none was found`);
  }

  override check(): void {
    const stats = this.channel.stats();
    assert.equal(stats.sent, this.published);
    assert.equal(stats.size, this.total);
    assert.equal(stats.redelivered, 0);
    assert.equal(stats.receivers, this.receivers.length);
    assert.equal(stats.drained, this.isClosed && this.total === 0);
    assert.equal(this.channel.closed, this.isClosed);
    for (const { receiver } of this.receivers) assert.equal(receiver.size, this.total);
  }

  override finish(): void {
    for (const sender of this.senders) if (sender.isOpen) this.closeSender(sender);
    for (const to of this.receivers) {
      to.receiver.drain((value) => this.take(to, value));
      to.held = 0;
    }
    assert.equal(this.total, 0);
    for (const { receiver } of this.receivers) {
      assert.deepEqual(receiver.tryReceive(), { state: "closed" });
    }
    this.check();
    for (const { receiver } of this.receivers) receiver.close();
    assert.equal(this.channel.stats().receiver, "gone");
    this.channel[Symbol.dispose]();
  }
}

type SharingAct = (
  model: SharingModel,
  to: ModelReceiver,
  count: number,
  from: ModelSender | undefined,
) => void | Promise<void>;

const sharing: Record<string, SharingAct> = {
  tryReceive(model, to) {
    const result = to.receiver.tryReceive();
    if (result.state === "ok") {
      const held = to.held;
      model.take(to, result.value);
      return model.hold(to, Math.max(held, model.claim) - 1);
    }
    model.missed(to);
    assert.equal(result.state, model.isClosed && model.total === 0 ? "closed" : "empty");
  },
  receiveBatch(model, to, count) {
    const there = model.total;
    const held = to.held;
    const batch = Array.from(to.receiver.receiveBatch(count) as ArrayLike<unknown>);
    assert.ok(batch.length <= Math.min(count, there));
    for (const value of batch) model.take(to, value);
    if (batch.length < count) model.missed(to);
    else model.hold(to, Math.max(0, held - count));
  },
  "readable and release"(model, to, count) {
    const view = to.receiver.readable() as
      | { readonly length: number; at(index: number): unknown }
      | undefined;
    if (view === undefined) return model.missed(to);
    const { length } = view;
    const released = Math.min(count, length);
    const { payload } = model.kind;
    for (let index = 0; index < released; index++) {
      const value = view.at(index);
      model.take(to, payload === undefined ? value : payload.from(value as Uint8Array));
    }
    to.receiver.release(released);
    // This much it holds for certain.
    assert.ok(length - released <= model.total);
    if (model.hasTurns) model.hold(to, length - released);
    else to.held = length - released;
  },
  drain(model, to) {
    to.receiver.drain((value) => model.take(to, value));
    model.missed(to);
  },
  "open a receiver"(model) {
    if (model.receivers.length < receiversMax) model.join();
  },
  "close a receiver"(model, to) {
    if (model.receivers.length > 1) model.leave(to);
  },
};

const sharingWaits: Record<string, SharingAct> = {
  async "send while it waits"(model, _, __, from) {
    if (from === undefined) return;
    const value = model.make(from);
    const fit = model.fits(from, value);
    const sent = from.sender.send(value);
    if (model.isClosed) return await assert.rejects(sent, ChannelClosedError);
    model.publish(from);
    model.accept(from, value);
    from.made++;
    if (fit !== "yes") {
      for (const to of model.receivers) {
        to.receiver.drain((received) => model.take(to, received));
        to.held = 0;
      }
    }
    await sent;
  },
  async "all wait for one send"(model, _, __, from) {
    if (from === undefined || model.total > 0 || model.isClosed) return;
    const abort = new AbortController();
    const waiting = model.receivers.map(({ receiver }) =>
      receiver.receive({ signal: abort.signal })
    );
    const winner = Promise.any(
      waiting.map(async (received, place) => ({ place, value: await received })),
    );
    const value = model.make(from);
    model.publish(from);
    assert.equal(from.sender.trySend(value), true);
    model.accept(from, value);
    from.made++;
    const { place, value: got } = await winner;
    model.take(model.receivers[place] as ModelReceiver, got);
    abort.abort(new Error("enough"));
    const outcomes = await Promise.allSettled(waiting);
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  },
  async "ready"(model, to) {
    if (model.total <= model.heldByOthers(to)) return;
    assert.equal(await to.receiver.ready(), true);
    model.hold(to, Math.max(to.held, model.claim));
  },
  async "for await, left early"(model, to, count) {
    let left = Math.min(count, model.total - model.heldByOthers(to));
    if (left <= 0) return;
    for await (const value of to.receiver) {
      const held = to.held;
      model.take(to, value);
      model.hold(to, Math.max(held, model.claim) - 1);
      if (--left === 0) break;
    }
  },
  async "run and stop"(model, to) {
    const run = to.receiver.run((value) => {
      model.turn();
      model.take(to, value);
    });
    await run.stop();
    model.turn();
    // It has finished what it had claimed.
    to.held = 0;
  },
};

const sharingActs = { ...sharing, ...sharingWaits };
const sharingNames = [...Object.keys(sending), ...Object.keys(managing), ...Object.keys(sharing)];

function sharingScenarioOf(kinds: readonly Kind[], names: readonly string[]) {
  const operation = fc.record({
    name: fc.constantFrom(...names),
    who: fc.nat(maxSenders - 1),
    at: fc.nat(receiversMax - 1),
    count: fc.integer({ min: 1, max: 12 }),
  });
  return fc.tuple(
    fc.constantFrom(...kinds.map(({ name }) => name)),
    fc.constantFrom(1, 2, 4, 8, 64),
    fc.constantFrom(...sequences),
    fc.constantFrom(1, 1, 2, 5, 1000),
    fc.array(operation, { maxLength: 120, size: "max" }),
  );
}

type SharingScenario = ReturnType<typeof sharingScenarioOf> extends fc.Arbitrary<infer Scenario>
  ? Scenario
  : never;

/** Runs a scenario, an operation at a time; each may have to be waited for. */
function* steps(
  kinds: readonly Kind[],
  channelKind: ChannelKind,
  [name, capacity, sequence, claim, operations]: SharingScenario,
  hasTurns: boolean,
): Generator<void | Promise<void>, void, void> {
  const kind = kinds.find((kind) => kind.name === name) as Kind;
  const model = new SharingModel(kind, capacity, sequence, channelKind, claim, hasTurns);
  for (const operation of operations) {
    const open = model.senders.filter(({ isOpen }) => isOpen);
    const from = open[operation.who % open.length];
    const to = model.receivers[operation.at % model.receivers.length] as ModelReceiver;
    const act = sending[operation.name] ?? managing[operation.name];
    if (act !== undefined) {
      if (from !== undefined) yield act(model, from, operation.count);
    } else {
      yield sharingActs[operation.name]?.(model, to, operation.count, from);
    }
    model.check();
  }
  model.finish();
}

const sharedKinds = titles.flatMap(([title, kinds]) =>
  (["spmc", "mpmc"] as const).map((channelKind) => [title, kinds, channelKind] as const)
);

for (const [title, kinds, channelKind] of sharedKinds) {
  test(
    `${channelKind}: any sequence of calls of several receivers gives each value once, in order, layouts of ${title} length`,
    testLimit,
    () => {
      const alive = symbols.millrace_channels_alive();
      fc.assert(
        fc.property(sharingScenarioOf(kinds, sharingNames), (scenario) => {
          for (const _ of steps(kinds, channelKind, scenario, false));
        }),
        { numRuns: 1500 },
      );
      assertNoneLeft(alive);
    },
  );

  test(
    `${channelKind}: the same with waits in between, layouts of ${title} length`,
    testLimit,
    async () => {
      const alive = symbols.millrace_channels_alive();
      const names = [
        ...sharingNames.filter((name) => name !== "push"),
        ...Object.keys(sharingWaits),
      ];
      await fc.assert(
        fc.asyncProperty(sharingScenarioOf(kinds, names), async (scenario) => {
          for (const step of steps(kinds, channelKind, scenario, true)) await step;
        }),
        { numRuns: 600 },
      );
      assertNoneLeft(alive);
    },
  );
}

// ---- layouts there and back ----

const bigintUpTo = (least: bigint, greatest: bigint) => fc.bigInt({ min: least, max: greatest });

/** Every scalar layout, with any value it takes. */
const scalars = {
  u8: { layout: u8, value: fc.nat(0xff) },
  i8: { layout: i8, value: fc.integer({ min: -0x80, max: 0x7f }) },
  u16: { layout: u16, value: fc.nat(0xffff) },
  i16: { layout: i16, value: fc.integer({ min: -0x8000, max: 0x7fff }) },
  u32: { layout: u32, value: fc.integer({ min: 0, max: 0x7fff_ffff }).map((half) => half * 2 + 1) },
  i32: { layout: i32, value: fc.integer() },
  f32: { layout: f32, value: fc.float() },
  f64: { layout: f64, value: fc.double() },
  u64: { layout: u64, value: bigintUpTo(0n, 2n ** 64n - 1n) },
  i64: { layout: i64, value: bigintUpTo(-(2n ** 63n), 2n ** 63n - 1n) },
} as unknown as Record<string, { layout: Layout<unknown>; value: fc.Arbitrary<unknown> }>;

const fieldName = fc.oneof(
  fc.string({ unit: "binary", maxLength: 8 }),
  fc.constantFrom(
    "constructor",
    "toString",
    "0",
    "12",
    "",
    "a.b",
    'a"b',
    "\u2028",
    "\ud800",
    "value",
  ),
).filter((name) => name !== "__proto__");

/** A random struct and values for it. */
function structWithValues(
  depth: number,
): fc.Arbitrary<{ layout: Layout<object>; values: object[] }> {
  return structFields(depth).chain(({ layout, value }) =>
    fc.array(value, { minLength: 1, maxLength: 12 }).map((values) => ({ layout, values }))
  );
}

function structFields(depth: number) {
  const scalar = fc.constantFrom(...Object.values(scalars));
  const field: fc.Arbitrary<{ layout: Layout<unknown>; value: fc.Arbitrary<unknown> }> = depth === 0
    ? scalar
    : fc.oneof({ weight: 3, arbitrary: scalar }, { weight: 1, arbitrary: structFields(depth - 1) });
  return structOf(field);
}

function structOf(
  field: fc.Arbitrary<{ layout: Layout<unknown>; value: fc.Arbitrary<unknown> }>,
): fc.Arbitrary<{ layout: Layout<object>; value: fc.Arbitrary<object> }> {
  const named = fc.uniqueArray(fc.tuple(fieldName, field), {
    minLength: 1,
    maxLength: 8,
    selector: ([name]) => name,
  });
  return named.map((fields) => {
    const layouts = Object.fromEntries(fields.map(([name, { layout }]) => [name, layout]));
    const value = fc.tuple(...fields.map(([_, { value }]) => value)).map((values) =>
      Object.fromEntries(fields.map(([name], index) => [name, values[index]]))
    );
    return {
      layout: struct(layouts as Parameters<typeof struct>[0]) as unknown as Layout<object>,
      value: value as fc.Arbitrary<object>,
    };
  });
}

test("a struct of any nested fields arrives as it was sent", testLimit, () => {
  fc.assert(
    fc.property(structWithValues(3), ({ layout, values }) => {
      expectRoundTrip(layout, values, values);
    }),
    { numRuns: 300 },
  );
});

test("any scalar arrives as it was sent", testLimit, () => {
  for (const { layout, value } of Object.values(scalars)) {
    fc.assert(
      fc.property(fc.array(value, { maxLength: 20 }), (values) => {
        expectRoundTrip(layout, values, values);
      }),
      { numRuns: 50 },
    );
  }
});

test("any bytes arrive as they were sent", testLimit, () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (values) => {
      expectRoundTrip(bytes, values, values);
    }),
    { numRuns: 200 },
  );
});

/** Any UTF-16, lone surrogates included. */
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.string({ unit: "grapheme", maxLength: 60 }),
  fc.string({ unit: "binary-ascii", maxLength: 60 }),
  fc.string({
    unit: fc.oneof(fc.nat(0xffff), fc.integer({ min: 0xd800, max: 0xdfff }), fc.nat(0x7f)).map((
      code,
    ) => String.fromCharCode(code)),
    maxLength: 60,
  }),
  fc.constantFrom("", "\ufeff", "\ufeffa", "\0", "a\ud800", "\udc00\ud800", "\u{10ffff}"),
);

test("any text arrives, a lone surrogate as U+FFFD", testLimit, () => {
  fc.assert(
    fc.property(fc.array(anyText, { maxLength: 20 }), (values) => {
      const expected = values.map((text) => decoder.decode(encoder.encode("\ufeff" + text)));
      expectRoundTrip(utf8, values, expected);
    }),
    { numRuns: 400 },
  );
});

test("anything JSON can express arrives as JSON has it", testLimit, () => {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 4 }),
    fc.jsonValue({ stringUnit: "binary" }),
    anyText,
  );
  fc.assert(
    fc.property(fc.array(value, { maxLength: 10 }), (values) => {
      const expected = values.map((value) => JSON.parse(JSON.stringify(value)));
      expectRoundTrip(json, values as JsonValue[], expected as JsonValue[]);
    }),
    { numRuns: 300 },
  );
});

/** Sends in all ways and receives in all ways, around the end of the ring more than once. */
function expectRoundTrip<Value, Batch>(
  layout: Layout<Value, Batch>,
  values: readonly Value[],
  expected: readonly Value[],
): void {
  using channel = mpsc(layout, {
    // Begins 7 slots before the end of the ring.
    capacity: 2 ** 16,
    maxSenders: 1,
    initialSequence: 2 ** 31 - 7,
  });
  using receiver = channel.receiver();
  using sender = channel.sender();
  const received: Value[] = [];
  for (const value of values) {
    assert.equal(sender.trySend(value), true);
    const result = receiver.tryReceive();
    assert.equal(result.state, "ok");
    if (result.state === "ok") received.push(result.value);
  }
  assert.deepEqual(received, expected);
  const inBatches: Value[] = [];
  for (let sent = 0; sent < values.length;) {
    sent += sender.sendBatch(values, sent);
    inBatches.push(...Array.from(receiver.receiveBatch(1000) as ArrayLike<Value>));
  }
  assert.deepEqual(inBatches, expected);
  const written: Value[] = [];
  const writer = sender.writer({ chunk: 4 });
  for (const value of values) {
    while (!writer.tryPush(value)) receiver.drain((value) => written.push(value));
  }
  writer.flush();
  receiver.drain((value) => written.push(value));
  assert.deepEqual(written, expected);
}
