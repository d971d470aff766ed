/**
 * A single-threaded sequence of calls has one outcome: run twice, on two fresh channels, every answer,
 * every error and every counter is the same, in every kind.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type Channel,
  json,
  type JsonValue,
  type Layout,
  MillraceError,
  mpmc,
  mpsc,
  type Receiver,
  type Sender,
  spmc,
  spsc,
  u32,
  type Writer,
} from "../mod.ts";

const testLimit = { timeout: 120_000 };
const limits = { maxSenders: 4, maxReceivers: 4 };

interface Setting {
  readonly capacity: number;
  readonly initialSequence: number;
  readonly claim: number;
}

const kinds = {
  spsc: (layout: Layout<JsonValue, unknown>, { capacity, initialSequence }: Setting) =>
    spsc(layout, { capacity, initialSequence }),
  mpsc: (layout: Layout<JsonValue, unknown>, { capacity, initialSequence }: Setting) =>
    mpsc(layout, { capacity, initialSequence, maxSenders: limits.maxSenders }),
  spmc: (layout: Layout<JsonValue, unknown>, setting: Setting) =>
    spmc(layout, { ...setting, maxReceivers: limits.maxReceivers }),
  mpmc: (layout: Layout<JsonValue, unknown>, setting: Setting) =>
    mpmc(layout, { ...setting, ...limits }),
};

const layouts = { u32, json } as unknown as Record<string, Layout<JsonValue, unknown>>;

/** What a sequence of calls is made on. Endpoints that were closed stay: calls on them are calls, too. */
interface Stage {
  readonly channel: Channel<JsonValue, unknown>;
  readonly senders: Sender<JsonValue, unknown>[];
  readonly writers: Writer<JsonValue>[];
  readonly receivers: Receiver<JsonValue, unknown>[];
  made: number;
}

type Act = (stage: Stage, who: number, count: number) => unknown;

const senderOf = ({ senders }: Stage, who: number) =>
  senders[who % senders.length] as Sender<JsonValue, unknown>;
const writerOf = ({ writers }: Stage, who: number) =>
  writers[who % writers.length] as Writer<JsonValue>;
const receiverOf = ({ receivers }: Stage, who: number) =>
  receivers[who % receivers.length] as Receiver<JsonValue, unknown>;
const list = (values: unknown) => Array.from(values as ArrayLike<unknown>);

const acts: Record<string, Act> = {
  trySend: (stage, who) => senderOf(stage, who).trySend(stage.made++),
  sendBatch(stage, who, count) {
    return senderOf(stage, who).sendBatch(Array.from({ length: count }, () => stage.made++));
  },
  tryPush(stage, who, count) {
    const writer = writerOf(stage, who);
    return Array.from({ length: count }, () => writer.tryPush(stage.made++));
  },
  flush: (stage, who) => writerOf(stage, who).flush(),
  reserve(stage, who, count) {
    const room = senderOf(stage, who).reserve(count);
    return room && { length: (room as Uint8Array).length };
  },
  "reserve and commit"(stage, who, count) {
    const room = senderOf(stage, who).reserve(count) as Uint32Array | Uint8Array | undefined;
    // A digit for each byte of JSON, or a number for each slot.
    room?.fill(0x31);
    if (room !== undefined) senderOf(stage, who).commit();
    return room?.length;
  },
  "a value that is refused": (stage, who) => senderOf(stage, who).trySend(-1n as unknown as number),
  tryReceive: (stage, who) => receiverOf(stage, who).tryReceive(),
  receiveBatch: (stage, who, count) => list(receiverOf(stage, who).receiveBatch(count)),
  "readable and release"(stage, who, count) {
    const view = receiverOf(stage, who).readable() as Uint32Array | undefined;
    if (view === undefined) return undefined;
    const values = Array.from({ length: view.length }, (_, index) => String(view.at(index)));
    receiverOf(stage, who).release(Math.min(count, view.length));
    return values;
  },
  drain(stage, who) {
    const values: unknown[] = [];
    receiverOf(stage, who).drain((value) => values.push(value));
    return values;
  },
  "open a sender"(stage) {
    const sender = stage.channel.sender();
    stage.senders.push(sender);
    stage.writers.push(sender.writer({ chunk: 3 }));
  },
  "close a sender": (stage, who) => senderOf(stage, who).close(),
  "open a receiver"(stage) {
    stage.receivers.push(stage.channel.receiver());
  },
  "close a receiver": (stage, who) => receiverOf(stage, who).close(),
  // Seldom, or little would happen after it.
  "close the channel": (stage, _, count) => count === 1 && stage.channel.close("enough"),
};

/** The same outcome, told as text: whoever differs in a digit differs. */
function tell(act: () => unknown): string {
  try {
    return String(JSON.stringify(act()));
  } catch (error) {
    const { name, message } = error as Error;
    const { code, value } = error as { code?: string; value?: unknown };
    const isExpected = error instanceof MillraceError || error instanceof TypeError ||
      error instanceof RangeError;
    if (!isExpected) throw error;
    return JSON.stringify({ name, code, message, value: String(value) });
  }
}

type Call = readonly [name: string, who: number, count: number];

/** Makes the calls on a fresh channel. Gives every answer, with what was counted after it. */
function trace(
  kind: keyof typeof kinds,
  layout: string,
  setting: Setting,
  calls: readonly Call[],
): string[] {
  using channel = kinds[kind](layouts[layout] as Layout<JsonValue, unknown>, setting);
  const sender = channel.sender();
  const stage: Stage = {
    channel,
    senders: [sender],
    writers: [sender.writer({ chunk: 3 })],
    receivers: [channel.receiver()],
    made: 0,
  };
  try {
    return calls.map(([name, who, count]) => {
      const answer = tell(() => acts[name]?.(stage, who, count));
      const { timeMs: _, ...counted } = channel.stats();
      return `${name}: ${answer}, ${JSON.stringify(counted)}`;
    });
  } finally {
    for (const endpoint of [...stage.senders, ...stage.receivers]) endpoint.close();
  }
}

const callsArbitrary = fc.array(
  fc.tuple(
    // Opening and closing seldom, sending and receiving often.
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.constantFrom(...Object.keys(acts).filter((n) => !/pen|clo/.test(n))),
      },
      { weight: 1, arbitrary: fc.constantFrom(...Object.keys(acts)) },
    ),
    fc.nat(7),
    fc.integer({ min: 1, max: 12 }),
  ),
  { maxLength: 100, size: "max" },
);

for (const kind of Object.keys(kinds) as (keyof typeof kinds)[]) {
  test(`${kind}: a sequence of calls in one thread has one outcome`, testLimit, () => {
    let received = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.keys(layouts)),
        fc.record({
          capacity: fc.constantFrom(1, 2, 8, 64),
          initialSequence: fc.constantFrom(0, 2 ** 31 - 3, 2 ** 32 - 5),
          claim: fc.constantFrom(1, 3, 16),
        }),
        callsArbitrary,
        (layout, { capacity, ...rest }, calls) => {
          const setting = { capacity: layout === "json" ? capacity * 16 : capacity, ...rest };
          const first = trace(kind, layout, setting, calls);
          assert.deepEqual(trace(kind, layout, setting, calls), first);
          received += first.filter((line) => line.startsWith('tryReceive: {"state":"ok"')).length;
        },
      ),
      { numRuns: 300 },
    );
    assert.ok(received > 100, `${received} values were received`);
  });
}
