/**
 * Values with code of their own (encode, toJSON, getters, accessors) that use the sender they are being
 * sent by.
 *
 * @module
 */

import assert from "node:assert/strict";
import test from "node:test";
import { bytes, custom, json, type Layout, struct, u32 } from "../mod.ts";
import type { Sender } from "../mod.ts";
import { rejectionOf, rejects, within } from "./support/bounded.ts";
import { fill, pair, takeAll } from "./support/channels.ts";

/** What a value does while it is written. */
let act: () => void = () => {};

interface Subject {
  readonly name: string;
  readonly layout: Layout<unknown>;
  readonly capacity: number;
  /** A value of so much; one that acts runs `act` while it is written. */
  value(of: number, acts?: boolean): unknown;
  /** The number it was made of. */
  read(value: unknown): number;
}

const subjects: Subject[] = [
  {
    name: "custom",
    layout: custom<[number, boolean]>({
      name: "reentry",
      encode: ([value, acts]) => {
        if (acts) act();
        return new Uint8Array(16).fill(value);
      },
      decode: (received) => [received[0] as number, false],
    }) as unknown as Layout<unknown>,
    capacity: 64,
    value: (of, acts = false) => [of, acts],
    read: (value) => (value as [number])[0],
  },
  {
    name: "json",
    layout: json as unknown as Layout<unknown>,
    capacity: 64,
    value: (of, acts = false) => ({
      toJSON: () => {
        if (acts) act();
        return ["a long name", of];
      },
    }),
    read: (value) => (value as [string, number])[1],
  },
  {
    name: "struct",
    layout: struct({ a: u32, b: u32 }) as unknown as Layout<unknown>,
    capacity: 4,
    value: (of, acts = false) => ({
      a: of,
      get b() {
        if (acts) act();
        return of;
      },
    }),
    read: (value) => {
      const { a, b } = value as { a: number; b: number };
      assert.equal(a, b);
      return a;
    },
  },
];

const rule = { name: "TypeError", message: /the value's own code .* uses the same sender/ };

/** Every way to use a sender. */
function verbsOf({ value }: Subject, sender: Sender<unknown>): [string, () => unknown][] {
  const writer = sender.writer();
  return [
    ["trySend", () => sender.trySend(value(99))],
    ["send", () => sender.send(value(99))],
    ["sendSync", () => sender.sendSync(value(99), { timeout: 1 })],
    ["sendBatch", () => sender.sendBatch([value(99)])],
    ["sendAll", () => sender.sendAll([value(99)])],
    ["sendAllSync", () => sender.sendAllSync([value(99)], { timeout: 1 })],
    ["ready", () => sender.ready()],
    ["reserve", () => sender.reserve(1)],
    ["commit", () => sender.commit(0)],
    ["writer.push", () => writer.push(value(99))],
    ["writer.tryPush", () => writer.tryPush(value(99))],
    ["writer.flush", () => writer.flush()],
    ["writer.ready", () => writer.ready()],
  ];
}

for (const subject of subjects) {
  const { name, layout, capacity, value, read } = subject;

  test(`${name}: code of a value that uses the same sender gets the error, and harms no other send`, async () => {
    for (const isFull of [false, true]) {
      using both = pair(layout, { capacity });
      const { sender, receiver } = both;
      for (const [verb, call] of verbsOf(subject, sender)) {
        const room = isFull ? fill(sender, () => value(0)) : 0;
        const errors: unknown[] = [];
        act = () => {
          try {
            const result = call();
            assert.ok(result instanceof Promise, `${verb} returned ${result}`);
            result.then(() => errors.push(`${verb} resolved`), (error) => errors.push(error));
          } catch (error) {
            errors.push(error);
          }
        };
        const sends = [sender.send(value(1, true)), sender.send(value(2)), sender.send(value(3))];
        const received: number[] = [];
        while (received.length < room + 3) received.push(read(await receiver.receive()));
        await within(Promise.all(sends), `${verb}: the sends`);
        assert.deepEqual(received.slice(room), [1, 2, 3], verb);
        assert.ok(errors.length > 0, verb);
        for (const error of errors) await rejects(Promise.reject(error), rule);
        assert.deepEqual(receiver.tryReceive(), { state: "empty" }, verb);
      }
    }
  });

  test(`${name}: a value whose own code ends its send, or the sender, is not sent`, async () => {
    using both = pair(layout, { capacity });
    const { sender, receiver } = both;
    const room = fill(sender, () => value(0));
    const controller = new AbortController();
    act = () => {};
    const aborted = rejectionOf(sender.send(value(7, true), { signal: controller.signal }));
    const behind = sender.send(value(8));
    act = () => controller.abort("gone");
    const received: number[] = [];
    while (received.length < room + 1) received.push(read(await receiver.receive()));
    assert.equal(await aborted, "gone");
    await within(behind, "the send behind");
    assert.deepEqual(received.slice(room), [8]);

    for (const isFull of [true, false]) {
      using inner = pair(layout, { capacity });
      const room = isFull ? fill(inner.sender, () => value(0)) : 0;
      act = isFull ? () => {} : () => inner.sender.close();
      const sends = [inner.sender.send(value(7, true)), inner.sender.send(value(8))];
      if (isFull) act = () => inner.sender.close();
      const ends = Promise.all(sends.map((send) => rejects(send, { name: "ChannelClosedError" })));
      const received = [];
      for await (const one of inner.receiver) received.push(read(one));
      await ends;
      assert.equal(received.length, room);
    }
  });

  test(`${name}: a batch of such values is sent as if they did nothing`, async () => {
    using both = pair(layout, { capacity: capacity * 4 });
    const { sender, receiver } = both;
    for (const [verb, call] of verbsOf(subject, sender)) {
      let error: unknown;
      act = () => {
        try {
          const result = call();
          if (result instanceof Promise) result.catch((caught) => void (error = caught));
          else assert.fail(`${verb} returned ${result}`);
        } catch (caught) {
          error = caught;
        }
      };
      const values = [value(1), value(2, true), value(3)];
      assert.equal(sender.sendBatch(values), 3, verb);
      await Promise.resolve();
      await rejects(Promise.reject(error), rule);
      const writer = sender.writer({ chunk: 8 });
      for (const one of values) writer.push(one);
      writer.flush();
      assert.deepEqual(takeAll(receiver).map(read), [1, 2, 3, 1, 2, 3], verb);
    }
  });
}

test("an accessor in a batch of numbers that uses the same sender gets the error; no stale slot is sent", () => {
  using both = pair(u32, { capacity: 8 });
  const { sender, receiver } = both;
  sender.sendBatch([901, 902, 903, 904, 905, 906, 907, 908]);
  receiver.receiveBatch(8);
  const writer = sender.writer({ chunk: 8 });
  // Its chunk is open: a push would be a plain store.
  writer.push(1);
  for (const call of [() => sender.trySend(77), () => writer.push(77), () => writer.tryPush(77)]) {
    const values = [2, 3, 4];
    let error: unknown;
    Object.defineProperty(values, 1, {
      get() {
        try {
          call();
        } catch (caught) {
          error = caught;
        }
        return 3;
      },
    });
    assert.equal(sender.sendBatch(values), 3);
    assert.match(String(error), rule.message);
    const received = takeAll(receiver);
    assert.deepEqual(received.slice(-3), [2, 3, 4]);
    assert.equal(received.includes(77), false);
  }
});

test("code of a value may use another sender, and the receiver", async () => {
  using both = pair(bytes, { capacity: 64 });
  using other = pair(u32, { capacity: 2 });
  const layout = custom<number>({
    name: "reentry: elsewhere",
    encode: (value) => {
      other.sender.trySend(value);
      takeAll(both.receiver);
      return new Uint8Array([value]);
    },
    decode: (received) => received[0] as number,
  });
  using subject = pair(layout, { capacity: 64 });
  await subject.sender.send(5);
  assert.deepEqual(takeAll(subject.receiver), [5]);
  assert.equal(takeAll(other.receiver)[0], 5);
});
