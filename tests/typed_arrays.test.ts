/**
 * Typed arrays that are not what they seem: of another realm, without their memory, of a class of their own.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";
import {
  bytes,
  custom,
  f64,
  i64,
  type Layout,
  mpsc,
  Pool,
  pool,
  Receiver,
  Sender,
  type SenderTicket,
  u32,
  u8,
} from "../mod.ts";
import { rejects, throws, within } from "./support/bounded.ts";
import { pair, takeAll } from "./support/channels.ts";

const realm = createContext({});
/** Evaluates in another realm: its arrays are no instances of those here. */
function elsewhere<Value>(expression: string): Value {
  return runInContext(expression, realm) as Value;
}

const raw = custom<Uint8Array>({
  name: "test/raw",
  encode: (value) => value,
  decode: (view) => view.slice(),
});

test("typed arrays of another realm are sent, and filled, as those of this one", async () => {
  const sample = elsewhere<Uint8Array>("new Uint8Array([1, 2, 3])");
  assert.equal(sample instanceof Uint8Array, false);
  for (const layout of [bytes, raw]) {
    using both = pair(layout);
    assert.equal(both.sender.trySend(sample), true);
    assert.equal(both.sender.sendBatch([sample, sample]), 2);
    for (const received of takeAll(both.receiver)) {
      assert.deepEqual(received, new Uint8Array([1, 2, 3]));
    }
  }
  using doubles = pair(f64);
  await doubles.sender.sendAll(elsewhere<Float64Array>("new Float64Array([0.5, -0, NaN])"));
  const into = elsewhere<Float64Array>("new Float64Array(4)");
  assert.equal(doubles.receiver.receiveBatch(into), 3);
  assert.deepEqual([...into], [0.5, -0, NaN, 0]);
  using bigints = pair(i64);
  assert.equal(bigints.sender.sendBatch(elsewhere<bigint[]>("[1n, -1n]")), 2);
  const out = elsewhere<bigint[]>("[0n, 0n, 0n]");
  assert.equal(bigints.receiver.receiveBatch(out), 2);
  assert.deepEqual([...out], [1n, -1n, 0n]);
  bigints.sender.sendBatch([1n]);
  throws(() => bigints.receiver.receiveBatch(elsewhere<BigInt64Array>("new Int8Array(2)")), {
    name: "TypeError",
    message: /an array or a BigInt64Array, received an Int8Array/,
  });
});

test("a ticket whose parts are of another realm is good", () => {
  using channel = mpsc(u32, { capacity: 8 });
  const ticket = channel.senderTicket();
  const right = elsewhere<BigUint64Array>("new BigUint64Array(4)");
  right.set(ticket.right);
  using sender = Sender.open({ ...ticket, right } as SenderTicket<number, Uint32Array>);
  const rest = channel.receiverTicket();
  using receiver = Receiver.open({ ...rest, right: new BigUint64Array(rest.right) });
  sender.trySend(7);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 7 });
});

const constructors = { Uint8Array, Float64Array };
type Name = keyof typeof constructors;

test("what a ticket says at the first look counts, whatever it says later", () => {
  using channel = mpsc(u32, { capacity: 8 });
  using slabs = pool({ slab: 64, count: 1 });
  /** Each part can be read once; then it is something else. */
  const once = <Ticket extends object>(ticket: Ticket): Ticket =>
    Object.defineProperties(
      {},
      Object.fromEntries(
        Object.entries(ticket).map(([name, value]) => {
          let looks = 0;
          return [name, { enumerable: true, get: () => looks++ === 0 ? value : new Uint8Array(1) }];
        }),
      ),
    ) as Ticket;
  using sender = Sender.open(once(channel.senderTicket()));
  using receiver = Receiver.open(once(channel.receiverTicket()));
  using _slabs = Pool.open(once(slabs.ticket()));
  sender.trySend(7);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 7 });
  const right = new BigUint64Array(channel.senderTicket().right);
  Object.defineProperty(right, "length", { value: 1000 });
  Object.defineProperty(right, "byteLength", { value: 1000 });
  assert.equal(channel.revoke({ ...channel.senderTicket(), right }), true);
});

/** Typed arrays whose memory has gone. */
const gone: Record<string, (name: Name) => ArrayLike<unknown>> = {
  transferred(name) {
    const array = new constructors[name](4);
    structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
    return array;
  },
  "transferred in another realm"(name) {
    const array = elsewhere<Uint8Array>(`new ${name}(4)`);
    structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
    return array;
  },
  "out of the bounds of a buffer that shrank"(name) {
    const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
    const array = new constructors[name](buffer, 32, 4);
    buffer.resize(34);
    return array;
  },
  "behind the end of a buffer that shrank"(name) {
    const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
    const array = new constructors[name](buffer, 32);
    buffer.resize(8);
    return array;
  },
};
const refused = { name: "TypeError", message: /^Cannot .* whose buffer was transferred away or/ };

for (const [what, make] of Object.entries(gone)) {
  test(`a typed array ${what} is a TypeError, not an empty one`, async () => {
    for (const layout of [bytes, raw] as Layout<unknown>[]) {
      using both = pair(layout);
      const { sender, receiver } = both;
      const value = make("Uint8Array");
      throws(() => sender.trySend(value), refused);
      throws(() => sender.sendSync(value), refused);
      throws(() => sender.sendBatch([value]), refused);
      throws(() => sender.writer().push(value), refused);
      await rejects(sender.send(value), refused);
      await rejects(sender.sendAll([value]), refused);
      // Without room it is refused at once as well.
      while (sender.trySend(new Uint8Array(100)));
      throws(() => sender.trySend(value), refused);
      await rejects(sender.send(value), refused);
      assert.ok(takeAll(receiver).every((received) => (received as Uint8Array).length === 100));
    }
    for (const [layout, name] of [[u8, "Uint8Array"], [f64, "Float64Array"]] as const) {
      using both = pair(layout as unknown as Layout<unknown>);
      const { sender, receiver } = both;
      const values = make(name);
      throws(() => sender.sendBatch(values), refused);
      throws(() => sender.sendAllSync(values), refused);
      await rejects(sender.sendAll(values), refused);
      sender.trySend(1);
      throws(() => receiver.receiveBatch(values), refused);
      assert.deepEqual(takeAll(receiver), [1]);
    }
  });
}

test("an empty typed array is sent, and filled, as what it is", () => {
  using both = pair(bytes);
  assert.equal(both.sender.trySend(new Uint8Array(0)), true);
  assert.deepEqual(takeAll(both.receiver), [new Uint8Array(0)]);
  using numbers = pair(u32);
  assert.equal(numbers.sender.sendBatch(new Uint32Array(0)), 0);
  assert.equal(numbers.receiver.receiveBatch(new Uint32Array(0)), 0);
});

test("sendAll() of a typed array that shrinks while it waits rejects, and says how many were sent", async () => {
  for (const length of [0, 3, 5]) {
    using both = pair(u32, { capacity: 4 });
    const buffer = new ArrayBuffer(40, { maxByteLength: 40 });
    const values = new Uint32Array(buffer);
    let sent = 0;
    const all = both.sender.sendAll(values, { onSent: (count) => sent = count });
    assert.equal(sent, 4);
    buffer.resize(4 * length);
    both.receiver.receiveBatch(4);
    await rejects(all, {
      name: "TypeError",
      message: new RegExp(`expected 10 values .*, received ${length} after 4 were`),
    });
    assert.equal(sent, 4);
  }
});

test("a message that waits while its buffer is transferred away is refused, and not sent empty", async () => {
  using both = pair(bytes, { capacity: 64 });
  const { sender, receiver } = both;
  while (sender.trySend(new Uint8Array(16)));
  const value = new Uint8Array(16);
  const waiting = sender.send(value);
  const behind = sender.send(new Uint8Array([1]));
  structuredClone(value.buffer, { transfer: [value.buffer] });
  const first = takeAll(receiver);
  await rejects(waiting, refused);
  await within(behind, "what is behind it");
  assert.deepEqual(takeAll(receiver).concat(first).filter(({ length }) => length !== 16), [
    new Uint8Array([1]),
  ]);
});

test("what only looks like a Uint8Array is a TypeError", () => {
  for (const layout of [bytes, raw]) {
    using both = pair(layout);
    for (const value of [Object.create(Uint8Array.prototype), new Proxy(new Uint8Array(4), {})]) {
      throws(() => both.sender.trySend(value), { name: "TypeError", message: /a Uint8Array, r/ });
    }
  }
});

test("what a subclass of a typed array says of itself is not believed", () => {
  class Liar extends Uint8Array {
    override get length() {
      return 2;
    }
    override get byteLength() {
      return 2;
    }
    override subarray(): never {
      throw new Error("asked");
    }
    override set(): never {
      throw new Error("asked");
    }
  }
  for (const layout of [bytes, raw]) {
    using both = pair(layout, { capacity: 64 });
    assert.equal(both.sender.trySend(new Uint8Array([9])), true);
    // Longer than it says: it is sent whole, or does not fit.
    throws(() => both.sender.trySend(new Liar(60)), { name: "RangeError", message: /of 60$/ });
    assert.equal(both.sender.trySend(new Liar(6)), true);
    assert.deepEqual(takeAll(both.receiver).map((value) => [...value].length), [1, 6]);
  }
  using numbers = pair(u8, { capacity: 4 });
  const { sender, receiver } = numbers;
  const liar = new Liar([1, 2, 3]);
  assert.equal(sender.sendBatch([7]), 1);
  assert.equal(sender.sendBatch(liar), 2);
  assert.equal(sender.sendBatch(liar, 1), 1);
  assert.deepEqual([...receiver.receiveBatch(8)], [7, 1, 2, 2]);
  sender.sendBatch([4, 5]);
  const into = new Liar(3);
  assert.equal(receiver.receiveBatch(into), 2);
  assert.deepEqual([...into], [4, 5, 0]);
});
