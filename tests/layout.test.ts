import assert from "node:assert/strict";
import test from "node:test";
import {
  bytes,
  custom,
  f32,
  f64,
  i16,
  i32,
  i64,
  i8,
  json,
  type JsonValue,
  type Layout,
  mpsc,
  Receiver,
  Sender,
  struct,
  StructWindow,
  u16,
  u32,
  u64,
  u8,
  utf8,
  type ValueOf,
} from "../mod.ts";
import { throws } from "./support/bounded.ts";
import { fill, pair, range, takeAll } from "./support/channels.ts";
import { reversed } from "./support/worker_tasks.ts";

type Scalar<Value> = {
  readonly name: string;
  readonly layout: Layout<Value, ArrayLike<Value>>;
  readonly Elements: {
    new (values: Value[]): ArrayLike<Value>;
    readonly BYTES_PER_ELEMENT: number;
  };
  readonly good: readonly Value[];
  readonly bad: readonly unknown[];
};

const numbers = [
  { name: "u8", layout: u8, Elements: Uint8Array, good: [0, 255], bad: [-1, 256] },
  { name: "i8", layout: i8, Elements: Int8Array, good: [-128, 127], bad: [-129, 128] },
  { name: "u16", layout: u16, Elements: Uint16Array, good: [0, 65535], bad: [-1, 65536] },
  { name: "i16", layout: i16, Elements: Int16Array, good: [-32768, 32767], bad: [-32769, 32768] },
  { name: "u32", layout: u32, Elements: Uint32Array, good: [0, 2 ** 32 - 1], bad: [-1, 2 ** 32] },
  {
    name: "i32",
    layout: i32,
    Elements: Int32Array,
    good: [-(2 ** 31), 2 ** 31 - 1],
    bad: [-(2 ** 31) - 1, 2 ** 31],
  },
] as readonly Scalar<number>[];
const integers = numbers.map((scalar) => ({
  ...scalar,
  bad: [...scalar.bad, 0.5, NaN, Infinity, -Infinity],
}));
const floats = [
  {
    name: "f32",
    layout: f32,
    Elements: Float32Array,
    good: [0, -0, 0.5, -1.25, Math.fround(0.1), NaN, Infinity, -Infinity, 3.4028234663852886e38],
    bad: [3.5e38, -3.5e38],
  },
  {
    name: "f64",
    layout: f64,
    Elements: Float64Array,
    good: [0, -0, 0.1, NaN, Infinity, -Infinity, Number.MAX_VALUE, Number.MIN_VALUE],
    bad: [],
  },
] as readonly Scalar<number>[];
const bigints = [
  {
    name: "u64",
    layout: u64,
    Elements: BigUint64Array,
    good: [0n, 2n ** 64n - 1n],
    bad: [-1n, 2n ** 64n],
  },
  {
    name: "i64",
    layout: i64,
    Elements: BigInt64Array,
    good: [-(2n ** 63n), 2n ** 63n - 1n],
    bad: [-(2n ** 63n) - 1n, 2n ** 63n],
  },
] as readonly Scalar<bigint>[];
const scalars = [...integers, ...floats, ...bigints] as readonly Scalar<unknown>[];

/** Values that are of no scalar layout's type. */
const neverScalar: readonly unknown[] = [
  undefined,
  null,
  true,
  "1",
  {},
  [1],
  () => 1,
  Symbol("1"),
  { valueOf: () => 1 },
];

test("every scalar layout delivers the ends of its range unchanged", () => {
  for (const { name, layout, good, Elements } of scalars) {
    using both = pair(layout);
    for (const value of good) assert.ok(both.sender.trySend(value), name);
    assert.deepEqual(takeAll(both.receiver), good, name);
    assert.equal(both.sender.sendBatch(good), good.length);
    assert.deepEqual(both.receiver.receiveBatch(100), new Elements([...good]), name);
  }
});

test("trySend() throws a RangeError for a number outside the layout's range, and sends nothing", () => {
  for (const { name, layout, bad } of scalars) {
    using both = pair(layout);
    for (const value of bad) {
      throws(() => both.sender.trySend(value), {
        name: "RangeError",
        message: new RegExp(`^Cannot send as ${name}: expected .*received`),
      });
    }
    assert.deepEqual(both.receiver.tryReceive(), { state: "empty" });
    assert.ok(both.sender.trySend(layout === u64 || layout === i64 ? 1n : 1), name);
  }
});

test("trySend() throws an error with what was expected for a value of another type", () => {
  for (const { name, layout } of scalars) {
    using both = pair(layout);
    const other = layout === u64 || layout === i64 ? [1, 1.5, NaN] : [1n];
    for (const value of [...neverScalar, ...other]) {
      const what = `${name} ${typeof value}`;
      assert.throws(() => both.sender.trySend(value), (error: Error) => {
        assert.ok(error instanceof TypeError, what);
        assert.match(
          error.message,
          new RegExp(`^Cannot send as ${name}: expected .*received`),
          what,
        );
        return true;
      });
    }
    assert.deepEqual(both.receiver.tryReceive(), { state: "empty" });
  }
});

test("send(), sendSync(), sendAll() and push() refuse what trySend() refuses", async () => {
  using both = pair(u8);
  const { sender, receiver } = both;
  const wrong = { name: "RangeError", message: /expected an integer from 0 to 255, received 256/ };
  throws(() => sender.sendSync(256), wrong);
  throws(() => sender.sendBatch([256]), wrong);
  throws(() => sender.writer().push(256), wrong);
  await assert.rejects(sender.send(256), wrong);
  await assert.rejects(sender.sendAll([256]), wrong);
  throws(() => sender.sendAllSync([256]), wrong);
  assert.deepEqual(takeAll(receiver), []);
});

test("sendBatch() copies a typed array of the element type, and checks every other one", () => {
  for (const { name, layout, good, bad, Elements } of scalars) {
    using both = pair(layout, { capacity: 16 });
    const typed = new Elements([...good]);
    // From every position of the ring, so that batches wrap.
    for (let round = 0; round < 20; round++) {
      assert.equal(both.sender.sendBatch(typed), good.length, name);
      assert.deepEqual(both.receiver.receiveBatch(16), typed, name);
    }
    for (const value of bad) {
      const values = [...good, value];
      let sent = 0;
      assert.throws(() => {
        // The ring's end may cut the batch in two; the call that meets the bad value throws.
        for (let calls = 0; calls < 3; calls++) sent += both.sender.sendBatch(values, sent);
      }, RangeError);
      assert.deepEqual(takeAll(both.receiver), good.slice(0, sent), name);
    }
  }
  using both = pair(u8);
  throws(() => both.sender.sendBatch(new Uint16Array([1, 256])), { name: "RangeError" });
});

test("receiveBatch() fills arrays and typed arrays of the element type", () => {
  for (const { name, layout, good, Elements } of scalars) {
    using both = pair(layout);
    const { sender, receiver } = both;
    sender.sendBatch(good);
    const array: unknown[] = good.map(() => undefined);
    assert.equal(receiver.receiveBatch(array), good.length, name);
    assert.deepEqual(array, good, name);
    sender.sendBatch(good);
    const typed = new Elements(good.map(() => good[0]));
    assert.equal(receiver.receiveBatch(typed), good.length, name);
    assert.deepEqual(typed, new Elements([...good]), name);
    assert.equal(receiver.receiveBatch(typed), 0, name);
  }
});

test("receiveBatch() never cuts a value to fit a typed array of another element type", () => {
  using both = pair(u32);
  both.sender.trySend(300);
  const target = new Uint8Array(1);
  try {
    both.receiver.receiveBatch(target);
  } catch (error) {
    assert.ok(error instanceof TypeError);
    assert.deepEqual(takeAll(both.receiver), [300]);
    return;
  }
  assert.notEqual(target[0], 300 & 0xff);
});

test("reserve() and readable() of numbers give typed arrays in the ring itself", () => {
  for (const { name, layout, good, Elements } of scalars) {
    using both = pair(layout, { capacity: 4 });
    const { sender, receiver } = both;
    const value = good.at(-1);
    for (let round = 0; round < 10; round++) {
      const room = sender.reserve(1) as ArrayLike<unknown>;
      assert.ok(room instanceof Elements, name);
      assert.equal(room.length, 1);
      (room as { [index: number]: unknown })[0] = value;
      assert.deepEqual(receiver.tryReceive(), { state: "empty" });
      sender.commit();
      const view = receiver.readable() as ArrayLike<unknown>;
      assert.deepEqual(view, new Elements([value]), name);
      assert.equal(receiver.size, 1);
      receiver.release();
      assert.equal(receiver.size, 0);
    }
  }
});

// ---- structs ----

const order = struct({
  id: u64,
  side: u8,
  price: f64,
  at: struct({ x: i16, deep: struct({ y: f32, z: i64 }) }),
  quantity: u32,
  delta: i8,
});
type Order = ValueOf<typeof order>;

const orderOf = (index: number): Order => ({
  id: BigInt(index) + 2n ** 60n,
  side: index % 256,
  price: index / 3,
  at: { x: 5 - (index % 32768), deep: { y: index / 2, z: -BigInt(index) } },
  quantity: index,
  delta: 7 - (index % 128),
});

test("struct() delivers nested fields of every type, and infers their types", () => {
  using both = pair(order, { capacity: 4 });
  const { sender, receiver } = both;
  for (let index = 0; index < 50; index++) {
    assert.ok(sender.trySend(orderOf(index)));
    const result = receiver.tryReceive();
    assert.equal(result.state, "ok");
    if (result.state !== "ok") return;
    const { id, at }: { id: bigint; at: { x: number; deep: { y: number; z: bigint } } } =
      result.value;
    assert.deepEqual([id, at.deep.z], [orderOf(index).id, -BigInt(index)]);
    assert.deepEqual(result.value, orderOf(index));
  }
  // @ts-expect-error: the field `quantity` is missing, and the type says so
  throws(() => sender.trySend({ ...orderOf(1), quantity: undefined }), { name: "TypeError" });
});

test("struct() of every scalar holds what the scalar holds, alone and in a nested struct", () => {
  for (const { name, layout, good, bad } of scalars) {
    const scalar = layout as Layout<number, Float64Array>;
    const nested = struct({ pad: u8, field: scalar, inner: struct({ pad: u8, field: scalar }) });
    using both = pair(nested);
    const { sender, receiver } = both;
    for (const value of good as number[]) {
      const whole = { pad: 1, field: value, inner: { pad: 2, field: value } };
      assert.ok(sender.trySend(whole));
      assert.deepEqual(takeAll(receiver), [whole], name);
    }
    for (const value of [...bad, ...neverScalar] as number[]) {
      const one = good[0] as number;
      for (
        const [path, whole] of [
          ["field", { pad: 1, field: value, inner: { pad: 2, field: one } }],
          ["inner.field", { pad: 1, field: one, inner: { pad: 2, field: value } }],
        ] as const
      ) {
        assert.throws(() => sender.trySend(whole), (error: Error) => {
          const isTyped = typeof value === typeof one;
          assert.ok(error instanceof (isTyped ? RangeError : TypeError), `${name}: ${error}`);
          assert.match(error.message, new RegExp(`field ${path}: expected .*received`), name);
          return true;
        });
      }
    }
    assert.deepEqual(receiver.tryReceive(), { state: "empty" });
  }
});

test("struct() names the field when a bigint is given for an integer", () => {
  for (const scalar of [u8, i8, u16, i16, u32, i32, f32, f64] as Layout<number, Uint8Array>[]) {
    using both = pair(struct({ a: scalar }));
    assert.throws(() => both.sender.trySend({ a: 1n as unknown as number }), (error: Error) => {
      assert.match(error.message, /field a: expected .*received 1n/);
      return true;
    });
  }
});

test("trySend() of a struct throws a TypeError for what is not an object, at any depth", () => {
  using both = pair(order);
  const { sender, receiver } = both;
  for (const value of [undefined, null, 1, "x", true, 1n] as unknown as Order[]) {
    throws(() => sender.trySend(value), { name: "TypeError", message: /expected an object/ });
    const inner = { ...orderOf(1), at: value as unknown as Order["at"] };
    throws(() => sender.trySend(inner), {
      name: "TypeError",
      message: /^Cannot send as a struct: field at: expected an object, received /,
    });
  }
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });
});

/** Makes a struct as where no code may be generated from strings. */
function withoutCodeGeneration<Made>(make: () => Made): Made {
  const original = globalThis.Function;
  globalThis.Function = function () {
    throw new EvalError("code generation from strings disallowed for this context");
  } as unknown as FunctionConstructor;
  try {
    return make();
  } finally {
    globalThis.Function = original;
  }
}

test("trySend() of a struct names the field that is missing or wrong by its whole path", () => {
  const fields = { a: u8, in: struct({ b: u16, deep: struct({ c: u64 }) }) };
  const whole = { a: 1, in: { b: 2, deep: { c: 3n } } };
  const wrong: [value: unknown, path: string, expected: string][] = [
    [{ in: whole.in }, "a", "an integer from 0 to 255, received undefined"],
    [{ a: 1 }, "in", "an object, received undefined"],
    [{ a: 1, in: { b: 2 } }, "in.deep", "an object, received undefined"],
    [{ a: 1, in: { b: 2, deep: 7 } }, "in.deep", "an object, received 7"],
    [{ a: 1, in: { deep: { c: 3n } } }, "in.b", "an integer from 0 to 65535, received undefined"],
    [
      { a: 1, in: { b: 2, deep: {} } },
      "in.deep.c",
      "a bigint from 0n to 18446744073709551615n, received undefined",
    ],
  ];
  for (const layout of [struct(fields), withoutCodeGeneration(() => struct(fields))]) {
    using both = pair(layout);
    for (const [value, path, expected] of wrong) {
      const error = throws(() => both.sender.trySend(value as typeof whole), { name: "TypeError" });
      assert.equal(error.message, `Cannot send as a struct: field ${path}: expected ${expected}`);
    }
    assert.ok(both.sender.trySend(whole));
    assert.deepEqual(takeAll(both.receiver), [whole]);
  }
});

test("struct() takes odd field names as names, and nothing else", () => {
  const odd = struct({
    "a b": u8,
    '"]; throw new Error("code") //': u8,
    constructor: u8,
    "0": u8,
    "": u8,
    "\u2028\n\\": u8,
    toString: u8,
  });
  using both = pair(odd);
  const whole = {
    "a b": 1,
    '"]; throw new Error("code") //': 2,
    constructor: 3,
    "0": 4,
    "": 5,
    "\u2028\n\\": 6,
    toString: 7,
  };
  assert.ok(both.sender.trySend(whole));
  assert.deepEqual(takeAll(both.receiver), [whole]);
});

test("struct() throws for fields that cannot be", () => {
  const make = struct as unknown as (fields: unknown) => unknown;
  for (const fields of [undefined, null, 1, "x"]) throws(() => make(fields), { name: "TypeError" });
  for (const field of [undefined, null, 1, "u8", {}, utf8, bytes, json, { spec: { kind: "u9" } }]) {
    throws(() => make({ field }), { name: "TypeError", message: /field/ });
  }
  throws(() => make({ ["__proto__"]: u8 }), { name: "TypeError", message: /__proto__/ });
  throws(() => make({}), { name: "RangeError", message: /1 to 256 fields, received 0/ });
  const fields = (count: number) => Object.fromEntries(range(count).map((at) => [`f${at}`, u8]));
  throws(() => make(fields(257)), { name: "RangeError", message: /received 257/ });
  using both = pair(struct(fields(256)));
  assert.ok(both.sender.trySend(Object.fromEntries(range(256).map((at) => [`f${at}`, at]))));
  assert.equal((takeAll(both.receiver)[0] as Record<string, number>).f255, 255);
});

test("reserve() and readable() of structs give windows to set and read in place", () => {
  using both = pair(order, { capacity: 4 });
  const { sender, receiver } = both;
  for (let round = 0; round < 10; round++) {
    const room = sender.reserve(3);
    assert.ok(room instanceof StructWindow);
    assert.ok(room.length >= 1 && room.length <= 3);
    for (let index = 0; index < room.length; index++) room.set(index, orderOf(round + index));
    assert.deepEqual(room.at(0), orderOf(round));
    throws(() => room.set(room.length, orderOf(1)), { name: "RangeError" });
    throws(() => room.set(-1, orderOf(1)), { name: "RangeError" });
    throws(() => room.set(0, { ...orderOf(1), side: 256 }), { name: "RangeError" });
    room.set(0, orderOf(round));
    sender.commit(room.length);
    const view = receiver.readable() as StructWindow<Order>;
    assert.equal(view.length, room.length);
    assert.deepEqual(view.at(view.length - 1), orderOf(round + view.length - 1));
    assert.equal(view.at(view.length), undefined);
    assert.equal(view.at(-1), undefined);
    assert.equal(view.bytes.length % view.length, 0);
    receiver.release();
  }
});

test("batches of structs are arrays of objects", () => {
  using both = pair(order, { capacity: 8 });
  const { sender, receiver } = both;
  for (let round = 0; round < 10; round++) {
    const batch = range(5).map((index) => orderOf(round * 5 + index));
    assert.equal(sender.sendBatch(batch), 5);
    assert.deepEqual(receiver.receiveBatch(3), batch.slice(0, 3));
    const rest: Order[] = new Array(4);
    assert.equal(receiver.receiveBatch(rest), 2);
    assert.deepEqual(rest.slice(0, 2), batch.slice(3));
  }
});

// ---- bytes, text, JSON ----

const texts = [
  "",
  "a",
  "ascii only",
  "Grüße",
  "€".repeat(7),
  "𝄞 🦕 \u0000 \u007f\u0080",
  "\ufeffwith a byte order mark",
  "x".repeat(200),
];

test("utf8 delivers every string, of every length, at every place in the ring", () => {
  using both = pair(utf8, { capacity: 512 });
  for (let round = 0; round < 40; round++) {
    for (const text of texts) {
      assert.ok(both.sender.trySend(text));
      assert.deepEqual(takeAll(both.receiver), [text]);
    }
  }
});

test("utf8 delivers a lone surrogate as U+FFFD", () => {
  using both = pair(utf8);
  both.sender.trySend("a\ud800b");
  assert.deepEqual(takeAll(both.receiver), ["a\ufffdb"]);
});

test("bytes delivers copies of its own", () => {
  using both = pair(bytes, { capacity: 256 });
  const { sender, receiver } = both;
  const received: Uint8Array[] = [];
  for (let length = 0; length < 100; length++) {
    const sent = new Uint8Array(length).fill(length);
    assert.ok(sender.trySend(sent));
    const result = receiver.tryReceive();
    assert.ok(result.state === "ok");
    assert.notEqual(result.value.buffer, sent.buffer);
    received.push(result.value);
  }
  // Later messages have overwritten the ring many times: the copies have not changed.
  assert.ok(
    received.every((copy, length) => copy.length === length && copy.every((b) => b === length)),
  );
  assert.ok(sender.trySend(new Uint8Array([1, 2, 3]).subarray(1)));
  assert.deepEqual(takeAll(receiver), [new Uint8Array([2, 3])]);
});

test("bytes, utf8 and json throw a TypeError for values of another type", () => {
  const wrong = (layout: Layout<unknown>, values: unknown[]) => {
    using both = pair(layout);
    for (const value of values) throws(() => both.sender.trySend(value), { name: "TypeError" });
    assert.deepEqual(both.receiver.tryReceive(), { state: "empty" });
  };
  const binary = [new ArrayBuffer(8), new Uint16Array(1), [1], "text", 1, null, undefined];
  wrong(bytes as Layout<unknown>, binary);
  wrong(utf8 as Layout<unknown>, [1, null, undefined, new String("x"), Symbol("x"), {}]);
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  wrong(json as unknown as Layout<unknown>, [undefined, () => 1, Symbol("x"), 1n, circular]);
});

test("json delivers any JSON value", () => {
  using both = pair(json);
  const values: JsonValue[] = [null, true, 0, -1.5, "", "Grüße", [], [1, [2]], {}, {
    a: { b: [null] },
  }];
  for (const value of values) assert.ok(both.sender.trySend(value));
  assert.deepEqual(takeAll(both.receiver), values);
});

test("json<T>() is the same layout with the type of the values", () => {
  using both = pair(json<{ id: number; tags: string[] }>());
  both.sender.trySend({ id: 1, tags: ["a"] });
  const result = both.receiver.tryReceive();
  assert.ok(result.state === "ok");
  const { id, tags }: { id: number; tags: string[] } = result.value;
  assert.deepEqual([id, tags], [1, ["a"]]);
});

test("a message of half the ring fits, whatever came before; one byte more is a RangeError", () => {
  for (const capacity of [64, 128, 256]) {
    const most = capacity / 2 - 8;
    for (let offset = 0; offset < capacity / 8; offset++) {
      using both = pair(bytes, { capacity });
      const { sender, receiver } = both;
      for (let at = 0; at < offset; at++) {
        assert.ok(sender.trySend(new Uint8Array(0)));
        assert.equal(receiver.receiveBatch(1).length, 1);
      }
      assert.ok(sender.trySend(new Uint8Array(most).fill(7)), `${capacity} at ${offset}`);
      throws(() => sender.trySend(new Uint8Array(most + 1)), {
        name: "RangeError",
        message: new RegExp(`at most ${most} bytes.*received one of ${most + 1}`),
      });
      assert.deepEqual(takeAll(receiver), [new Uint8Array(most).fill(7)]);
    }
  }
});

test("a message longer than the ring is refused by every way to send, and harms no other", async () => {
  using both = pair(utf8, { capacity: 64 });
  const { sender, receiver } = both;
  const long = "x".repeat(1000);
  const tooLong = { name: "RangeError", message: /at most 24 bytes/ };
  throws(() => sender.trySend(long), tooLong);
  throws(() => sender.sendSync(long), tooLong);
  throws(() => sender.writer().push(long), tooLong);
  throws(() => sender.sendBatch([long]), tooLong);
  throws(() => sender.reserve(1000), tooLong);
  await assert.rejects(sender.send(long), tooLong);
  await assert.rejects(sender.sendAll([long]), tooLong);
  throws(() => sender.trySend("€".repeat(9)), tooLong);
  assert.ok(sender.trySend("€".repeat(8)));
  assert.deepEqual(takeAll(receiver), ["€".repeat(8)]);
});

test("reserve() of bytes gives just so many, commit() sends as many as are wanted", () => {
  using both = pair(utf8, { capacity: 128 });
  const { sender, receiver } = both;
  for (let round = 0; round < 30; round++) {
    const room = sender.reserve(20) as Uint8Array;
    assert.equal(room.length, 20);
    const { written } = new TextEncoder().encodeInto(`round ${round}`, room);
    sender.commit(written);
    const payloads = receiver.readable() as Uint8Array[];
    assert.equal(payloads.length, 1);
    assert.equal(new TextDecoder().decode(payloads[0]?.slice()), `round ${round}`);
    receiver.release();
  }
  assert.equal((sender.reserve(0) as Uint8Array).length, 0);
  sender.commit();
  assert.deepEqual(takeAll(receiver), [""]);
});

test("readable() of records gives every payload of a run, release() takes some of them", () => {
  using both = pair(utf8, { capacity: 256 });
  const { sender, receiver } = both;
  sender.sendBatch(["one", "", "three", "four"]);
  const payloads = receiver.readable() as Uint8Array[];
  assert.deepEqual(payloads.map((payload) => payload.length), [3, 0, 5, 4]);
  receiver.release(2);
  assert.deepEqual(takeAll(receiver), ["three", "four"]);
});

// ---- custom layouts ----

test("custom() encodes and decodes with the user's functions", () => {
  const layout = custom<string>({ name: "test/reversed", ...reversed });
  using both = pair(layout, { capacity: 128 });
  for (const text of ["", "abc", "Grüße", "x".repeat(56)]) {
    for (let round = 0; round < 10; round++) {
      assert.ok(both.sender.trySend(text));
      assert.deepEqual(takeAll(both.receiver), [text]);
    }
  }
});

test("custom() travels in a ticket by its name", () => {
  const layout = custom<string>({ name: "test/ticket", ...reversed });
  using channel = mpsc(layout);
  using receiver = Receiver.open(channel.receiverTicket());
  using sender = Sender.open(channel.senderTicket());
  assert.ok(sender.trySend("river"));
  assert.deepEqual(takeAll(receiver), ["river"]);
});

test("every layout survives the way through a ticket's structured clone", () => {
  const through = <Value, Batch>(layout: Layout<Value, Batch>, value: Value) => {
    using channel = mpsc(layout);
    using receiver = Receiver.open(structuredClone(channel.receiverTicket()));
    using sender = Sender.open(structuredClone(channel.senderTicket()));
    assert.ok(sender.trySend(value));
    assert.deepEqual(takeAll(receiver), [value]);
  };
  for (const { layout, good } of scalars) through(layout, good[0]);
  through(order, orderOf(3));
  through(utf8, "Grüße");
  through(bytes, new Uint8Array([1]));
  through(json, { a: [1] });
});

test("a ring of every layout can be filled to its end and emptied, over and over", () => {
  const fillAndEmpty = <Value, Batch>(
    layout: Layout<Value, Batch>,
    valueOf: (index: number) => Value,
  ) => {
    using both = pair(layout, { capacity: 64 });
    for (let round = 0; round < 5; round++) {
      const sent = fill(both.sender, valueOf);
      assert.ok(sent > 0);
      assert.deepEqual(takeAll(both.receiver), range(sent).map(valueOf));
      both.sender.trySend(valueOf(0));
      both.receiver.receiveBatch(1);
    }
  };
  for (const { layout, good } of scalars) {
    fillAndEmpty(layout, (index) => good[index % good.length]);
  }
  fillAndEmpty(order, orderOf);
  fillAndEmpty(utf8, (index) => "é".repeat(index % 5));
  fillAndEmpty(bytes, (index) => new Uint8Array(index % 20).fill(index));
  fillAndEmpty(json, (index) => ({ index }));
});
