import assert from "node:assert/strict";
import test from "node:test";
import { custom, type Layout, mpmc, mpsc, type Receiver, spmc, u32, utf8 } from "../mod.ts";
import {
  channelClosed,
  endpointClosed,
  isPending,
  nextTurn,
  refusalOf,
  rejects,
  throws,
  within,
} from "./support/bounded.ts";
import { collect, fill, pair, range, takeAll } from "./support/channels.ts";

const timeout = { name: "TimeoutError", code: "TIMEOUT" };

// ---- tryReceive and receive ----

test("tryReceive() is ok with a value, empty without, closed when closed and drained", () => {
  using both = pair(u32);
  const { channel, sender, receiver } = both;
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });
  sender.sendBatch([1, 2]);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 1 });
  channel.close();
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 2 });
  assert.deepEqual(receiver.tryReceive(), { state: "closed" });
  assert.deepEqual(receiver.tryReceive(), { state: "closed" });
});

test("tryReceive() does not pass by receives that wait", async () => {
  using both = pair(u32);
  const { sender, receiver } = both;
  const waiting = receiver.receive();
  sender.trySend(1);
  const result = receiver.tryReceive();
  assert.equal(await within(waiting, "the waiting receive", 2000), 1);
  assert.deepEqual(result, { state: "empty" });
});

test("receiveBatch(), drain(), readable() and iteration do not pass by receives that wait", async () => {
  const others: Record<string, (receiver: ReturnType<typeof opened>["receiver"]) => unknown> = {
    receiveBatch: (receiver) => receiver.receiveBatch(1),
    drain: (receiver) => receiver.drain(() => {}),
    readable: (receiver) => {
      const view = receiver.readable();
      if (view !== undefined) receiver.release();
    },
    iterate: (receiver) => void receiver[Symbol.asyncIterator]().next(),
  };
  const opened = () => pair(u32);
  for (const [name, receiveOtherwise] of Object.entries(others)) {
    using both = opened();
    const waiting = both.receiver.receive();
    both.sender.trySend(1);
    receiveOtherwise(both.receiver);
    assert.equal(await within(waiting, `the receive before ${name}`, 2000), 1);
    both.sender.trySend(2);
    both.sender.trySend(3);
    await nextTurn();
  }
});

test("receive() resolves to values in the order of the calls, before and after they are sent", async () => {
  using both = pair(u32, { capacity: 64 });
  const { sender, receiver } = both;
  sender.sendBatch([0, 1]);
  const receives = range(10).map(() => receiver.receive());
  await nextTurn();
  sender.sendBatch([2, 3, 4]);
  await nextTurn();
  for (const value of range(5)) await sender.send(value + 5);
  assert.deepEqual(await within(Promise.all(receives), "all receives"), range(10));
});

test("receive() takes turns between senders, so that none starves", async () => {
  using channel = mpsc(u32, { capacity: 8 });
  using receiver = channel.receiver();
  const senders = range(3).map(() => channel.sender());
  let counts = [0, 0, 0];
  for (let round = 0; round < 30; round++) {
    for (const [index, sender] of senders.entries()) fill(sender, () => index);
    for (let count = 0; count < 8; count++) counts[await receiver.receive()]!++;
  }
  assert.ok(counts.every((count) => count > 30), `${counts}`);
  counts = [];
  for (const sender of senders) sender.close();
});

test("receive() with a signal gives up waiting and loses nothing", async () => {
  using both = pair(u32);
  const { sender, receiver } = both;
  const controller = new AbortController();
  const first = receiver.receive();
  const aborted = receiver.receive({ signal: controller.signal });
  const last = receiver.receive({ signal: new AbortController().signal });
  const reason = new Error("changed my mind");
  controller.abort(reason);
  assert.equal(await rejects(aborted, { name: "Error" }), reason);
  sender.sendBatch([1, 2]);
  assert.equal(await within(first, "the first"), 1);
  assert.equal(await within(last, "the last"), 2);
  assert.equal(
    await rejects(receiver.receive({ signal: controller.signal }), { name: "Error" }),
    reason,
  );
  sender.trySend(3);
  assert.equal(await receiver.receive(), 3);
});

test("receive() with a signal leaves no listener behind", async () => {
  using both = pair(u32);
  const listening = new Set<unknown>();
  const { signal } = new AbortController();
  const { addEventListener, removeEventListener } = signal;
  Object.assign(signal, {
    addEventListener(type: "abort", listener: () => void, options: AddEventListenerOptions) {
      listening.add(listener);
      addEventListener.call(signal, type, listener, options);
    },
    removeEventListener(type: "abort", listener: () => void) {
      listening.delete(listener);
      removeEventListener.call(signal, type, listener);
    },
  });
  for (const value of range(5)) {
    const received = both.receiver.receive({ signal });
    both.sender.trySend(value);
    assert.equal(await within(received, "a value"), value);
  }
  const ready = both.receiver.ready({ signal });
  both.channel.close();
  assert.equal(await within(ready, "the end"), false);
  assert.equal(listening.size, 0);
});

test("ready() says whether something can be received, without taking it", async () => {
  using both = pair(u32);
  const { channel, sender, receiver } = both;
  const ready = receiver.ready();
  assert.ok(await isPending(ready));
  sender.trySend(1);
  assert.equal(await within(ready, "a value"), true);
  assert.equal(await receiver.ready(), true);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 1 });
  const controller = new AbortController();
  const aborted = receiver.ready({ signal: controller.signal });
  controller.abort(new Error("enough"));
  await rejects(aborted, { name: "Error", message: /enough/ });
  channel.close();
  assert.equal(await receiver.ready(), false);
});

// ---- receiveSync ----

test("receiveSync() receives what is there, and throws TimeoutError when nothing comes", () => {
  using both = pair(u32);
  const { channel, sender, receiver } = both;
  sender.trySend(1);
  assert.equal(receiver.receiveSync(), 1);
  for (const wait of ["spin", "yield", "sleep", "block", "timed", "phased"] as const) {
    throws(() => receiver.receiveSync({ wait, timeout: 1 }), timeout);
  }
  throws(() => receiver.receiveSync({ timeout: 0 }), timeout);
  channel.close();
  throws(() => receiver.receiveSync(), channelClosed);
});

test("receiveSync() throws for a wait it does not know, or a time that cannot be", () => {
  using both = pair(u32);
  both.sender.trySend(1);
  const receive = (options: unknown) => both.receiver.receiveSync(options as { timeout: number });
  throws(() => receive({ wait: "nap" }), { name: "TypeError", message: /received "nap"/ });
  throws(() => receive({ wait: "timed" }), { name: "TypeError", message: /needs a timeout/ });
  throws(() => receive({ timeout: -1 }), { name: "RangeError" });
  assert.equal(both.receiver.receiveSync(), 1);
});

// ---- limits of a wait ----

test("receive() and ready() with a timeout reject when the time is up, and lose nothing", async () => {
  using both = pair(u32);
  const { sender, receiver } = both;
  await rejects(receiver.receive({ timeout: 1 }), {
    ...timeout,
    message: /Cannot receive: waited/,
  });
  await rejects(receiver.ready({ timeout: 0 }), timeout);
  const first = receiver.receive({ timeout: 60_000 });
  const late = receiver.receive({ timeout: 1 });
  await rejects(late, timeout);
  sender.sendBatch([1, 2]);
  assert.equal(await within(first, "the first"), 1);
  assert.equal(await receiver.receive({ timeout: 0 }), 2);
  for (const verb of ["receive", "ready"] as const) {
    const call = (wanted: unknown) => receiver[verb]({ timeout: wanted as number });
    await rejects(call(-1), { name: "RangeError", message: /timeout must be/ });
    await rejects(call("1"), { name: "TypeError", message: /timeout must be/ });
  }
});

test("an aborted signal rejects receive() and ready() also when a value is there, which stays", async () => {
  using both = pair(u32);
  const { sender, receiver } = both;
  const signal = AbortSignal.abort(new Error("never mind"));
  sender.trySend(1);
  for (const verb of ["receive", "ready"] as const) {
    await rejects(receiver[verb]({ signal }), { name: "Error", message: /never mind/ });
  }
  assert.deepEqual(takeAll(receiver), [1]);
});

test("a time that is up while the event loop has to turn does not hide a value that is there", async () => {
  using both = pair(u32, { capacity: 1 << 16 });
  const total = fill(both.sender, (index) => index);
  // Now and then the event loop has to turn before a call is answered.
  for (const value of range(total)) {
    assert.equal(await both.receiver.receive({ timeout: 0 }), value);
  }
});

// ---- code of the layout, or of a target, that uses the receiver ----

/** Numbers below 256. Decoding one of them calls `inside`, once. */
function reentrant() {
  const state = { on: 1, inside: (): unknown => undefined, thrown: [] as unknown[] };
  const layout = custom<number>({
    name: "receiver.test reentrant",
    encode: (value) => Uint8Array.of(value),
    decode: ([value = 0]) => {
      if (value === state.on) {
        try {
          const result = state.inside();
          if (result instanceof Promise) result.catch((error) => state.thrown.push(error));
        } catch (error) {
          state.thrown.push(error);
        }
      }
      return value;
    },
  });
  return { state, layout };
}

type NumberReceiver = Receiver<number, number[]>;

const insideVerbs: Record<string, (receiver: NumberReceiver) => unknown> = {
  tryReceive: (receiver) => receiver.tryReceive(),
  receive: (receiver) => receiver.receive(),
  ready: (receiver) => receiver.ready(),
  receiveSync: (receiver) => receiver.receiveSync({ timeout: 1 }),
  receiveBatch: (receiver) => receiver.receiveBatch(2),
  "receiveBatch into an array": (receiver) => receiver.receiveBatch([0, 0]),
  peek: (receiver) => receiver.peek(),
  readable: (receiver) => receiver.readable(),
  drain: (receiver) => receiver.drain(() => {}),
  values: (receiver) => receiver.values().next(),
  batches: (receiver) => receiver.batches().next(),
  run: (receiver) => receiver.run(() => {}),
};

/** Receives three values in all ways. */
const outsideVerbs: Record<string, (receiver: NumberReceiver) => Promise<number[]>> = {
  "receives that wait": (receiver) => Promise.all(range(3).map(() => receiver.receive())),
  tryReceive: (receiver) => until3(() => Promise.resolve(takeAll(receiver))),
  receiveBatch: (receiver) => until3(() => Promise.resolve(receiver.receiveBatch(3))),
  "receiveBatch into an array": (receiver) =>
    until3(() => {
      const out = [0, 0, 0];
      return Promise.resolve(out.slice(0, receiver.receiveBatch(out)));
    }),
  drain: (receiver) =>
    until3(() => {
      const drained: number[] = [];
      receiver.drain((value) => drained.push(value));
      return Promise.resolve(drained);
    }),
  values: (receiver) => {
    const values = receiver.values();
    return Promise.all(range(3).map(async () => (await values.next()).value as number));
  },
  batches: (receiver) => {
    const batches = receiver.batches();
    return until3(async () => (await batches.next()).value as number[]);
  },
  run: async (receiver) => {
    const handled: number[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const loop = receiver.run((value) => {
      if (handled.push(value) === 3) resolve();
    });
    await promise;
    await loop.stop();
    return handled;
  },
  stream: (receiver) => {
    const reader = receiver.toReadableStream().getReader();
    return Promise.all(range(3).map(async () => (await reader.read()).value as number));
  },
};

async function until3(more: () => Promise<number[]>): Promise<number[]> {
  const all: number[] = [];
  while (all.length < 3) {
    all.push(...await more());
    await nextTurn();
  }
  return all;
}

for (const [outer, receiveThree] of Object.entries(outsideVerbs)) {
  test(`decode that receives from its own receiver gets the error, and nothing else does: ${outer}`, async () => {
    for (const [inner, inside] of Object.entries(insideVerbs)) {
      const { state, layout } = reentrant();
      for (const make of [mpsc, mpmc]) {
        using channel = make(layout, { capacity: 64 });
        using sender = channel.sender();
        using receiver = channel.receiver();
        state.inside = () => inside(receiver);
        const three = receiveThree(receiver);
        sender.sendBatch([1, 2, 3]);
        assert.deepEqual(await within(three, `${outer} with ${inner}`), [1, 2, 3]);
        await nextTurn();
        // Of a batch that is cut short the value is decoded again.
        assert.ok(state.thrown.length >= 1, inner);
        for (const error of state.thrown.splice(0)) {
          assert.match(String(error), /own decode|run\(\) is consuming/, inner);
        }
        assert.deepEqual(receiver.tryReceive(), { state: "empty" });
      }
    }
  });
}

test("decode that closes its receiver has its value received, by no other as well", async () => {
  for (const make of [spmc, mpmc]) {
    const { state, layout } = reentrant();
    using channel = make(layout, { capacity: 64 });
    using sender = channel.sender();
    const receiver = channel.receiver();
    using other = channel.receiver();
    state.inside = () => receiver.close();
    sender.sendBatch([1, 2, 3]);
    assert.equal(await receiver.receive(), 1);
    assert.equal(receiver.closed, true);
    assert.deepEqual(takeAll(other), [2, 3]);
  }
});

test("decode that aborts another receive that waits takes nothing from it", async () => {
  const { state, layout } = reentrant();
  using both = pair(layout, { capacity: 64 });
  const controller = new AbortController();
  state.inside = () => controller.abort(new Error("enough"));
  const receives = [
    both.receiver.receive(),
    both.receiver.receive({ signal: controller.signal }),
    both.receiver.receive(),
  ] as const;
  both.sender.sendBatch([1, 2]);
  await rejects(receives[1], { name: "Error", message: /enough/ });
  assert.deepEqual(await within(Promise.all([receives[0], receives[2]]), "the others"), [1, 2]);
});

for (const layout of [u32, utf8 as unknown as Layout<number, Uint32Array>]) {
  const [one, two, three] = (layout === u32 ? [1, 2, 3] : ["1", "2", "3"]) as number[];
  const name = layout === u32 ? "numbers" : "text";

  test(`a target whose code receives from the receiver gets the error, and its batch is whole (${name})`, () => {
    using both = pair(layout, { capacity: 64 });
    const { sender, receiver } = both;
    sender.sendBatch([one, two, three] as number[]);
    let thrown: unknown;
    const target = new Proxy([0, 0], {
      set(values, key, value) {
        try {
          receiver.tryReceive();
        } catch (error) {
          thrown = error;
        }
        return Reflect.set(values, key, value);
      },
    });
    assert.equal(receiver.receiveBatch(target), 2);
    assert.deepEqual([...target], [one, two]);
    assert.match(String(thrown), /the array that is filled/);
    assert.deepEqual(takeAll(receiver), [three]);
  });

  test(`what a target refuses is received by the next call (${name})`, async () => {
    using both = pair(layout, { capacity: 64 });
    const { sender, receiver } = both;
    sender.sendBatch([one, two] as number[]);
    throws(() => receiver.receiveBatch(Object.freeze([0]) as unknown as number[]), {
      name: "TypeError",
    });
    assert.deepEqual(takeAll(receiver), [one, two]);
    sender.trySend(three as number);
    assert.equal(await receiver.receive(), three);
  });

  test(`a target whose length changes or is none takes what fits, or nothing (${name})`, () => {
    using both = pair(layout, { capacity: 64 });
    const { sender, receiver } = both;
    sender.sendBatch([one, two, three] as number[]);
    for (const length of [NaN, -1, 0.5, "2", undefined]) {
      const target = new Proxy([0], {
        get: (values, key) => key === "length" ? length : Reflect.get(values, key),
      });
      assert.throws(() => receiver.receiveBatch(target), /the length of the target must be/);
    }
    let length = 1;
    const growing = new Proxy([0], {
      get: (values, key) => key === "length" ? length++ : Reflect.get(values, key),
    });
    assert.equal(receiver.receiveBatch(growing), 1);
    assert.deepEqual(takeAll(receiver), [two, three]);
  });
}

// ---- batches ----

test("receiveBatch() receives what is there up to a limit, over all senders", () => {
  using channel = mpsc(u32, { capacity: 8 });
  using receiver = channel.receiver();
  using first = channel.sender();
  using second = channel.sender();
  assert.deepEqual(receiver.receiveBatch(5), new Uint32Array(0));
  first.sendBatch([1, 2, 3]);
  second.sendBatch([4, 5, 6]);
  const batch = receiver.receiveBatch(5);
  assert.equal(batch.length, 5);
  const all = [...batch, ...receiver.receiveBatch(5)];
  assert.deepEqual(all.filter((value) => value <= 3), [1, 2, 3]);
  assert.deepEqual(all.filter((value) => value > 3), [4, 5, 6]);
  const target = new Array<number>(4).fill(0);
  first.sendBatch([7, 8]);
  assert.equal(receiver.receiveBatch(target), 2);
  assert.deepEqual(target, [7, 8, 0, 0]);
  assert.equal(receiver.receiveBatch([]), 0);
});

test("receiveBatch() gives batches of their own, which later values do not change", () => {
  using both = pair(u32, { capacity: 4 });
  const batches: Uint32Array[] = [];
  for (let round = 0; round < 10; round++) {
    both.sender.sendBatch([round, round, round]);
    batches.push(both.receiver.receiveBatch(4));
  }
  assert.ok(batches.every((batch, round) => batch.join() === [round, round, round].join()));
});

test("receiveBatch() throws for a target that cannot be", () => {
  using both = pair(u32);
  const receive = (target: unknown) => both.receiver.receiveBatch(target as number);
  for (const target of [0, -1, 1.5, NaN, Infinity]) {
    throws(() => receive(target), { name: "RangeError", message: /of 1 or more/ });
  }
  for (const target of [undefined, null, "1", {}, new DataView(new ArrayBuffer(8))]) {
    throws(() => receive(target), { name: "TypeError" });
  }
});

test("batches() gives all that is there at a time, up to max, until the channel ends", async () => {
  using both = pair(u32, { capacity: 64 });
  const { channel, sender, receiver } = both;
  sender.sendBatch(range(10));
  const batches = receiver.batches({ max: 4 });
  const first = await within(batches.next(), "a batch");
  assert.deepEqual(first.value, new Uint32Array([0, 1, 2, 3]));
  const rest = collect(batches);
  await nextTurn();
  sender.sendBatch([10, 11]);
  await nextTurn();
  channel.close();
  assert.deepEqual((await rest).flatMap((batch) => [...batch]), range(12).slice(4));
});

test("batches() rejects for a max that cannot be", async () => {
  using both = pair(u32);
  for (const max of [0, -1, 1.5, NaN]) {
    await rejects(both.receiver.batches({ max }).next(), { name: "RangeError" });
  }
});

test("batches() with a signal gives up waiting", async () => {
  using both = pair(u32);
  const controller = new AbortController();
  const next = both.receiver.batches({ signal: controller.signal }).next();
  assert.ok(await isPending(next));
  controller.abort(new Error("enough"));
  await rejects(next, { name: "Error", message: /enough/ });
});

// ---- iteration ----

test("for await ends when the channel is closed and drained", async () => {
  using both = pair(utf8, { capacity: 64 });
  const { channel, sender, receiver } = both;
  const sent = (async () => {
    for (const value of range(100)) await sender.send(`${value}`);
    channel.close();
  })();
  assert.deepEqual(await collect(receiver), range(100).map(String));
  await sent;
  assert.deepEqual(receiver.tryReceive(), { state: "closed" });
});

test("for await can be left and entered again without losing a value", async () => {
  using both = pair(u32, { capacity: 256 });
  const { channel, sender, receiver } = both;
  sender.sendBatch(range(200));
  channel.close();
  const received: number[] = [];
  while (received.length < 200) {
    for await (const value of receiver) {
      received.push(value);
      if (value % 7 === 0) break;
    }
  }
  assert.deepEqual(received, range(200));
});

test("next() of an iterator gives the place of a value back to a sender that waits", async () => {
  using both = pair(u32, { capacity: 256 });
  const { sender, receiver } = both;
  fill(sender, (index) => index);
  const waiting = sender.send(256);
  const iterator = receiver[Symbol.asyncIterator]();
  assert.deepEqual(await iterator.next(), { done: false, value: 0 });
  await within(waiting, "room after one value of 256 was received", 2000);
});

test("next() after return() of an iterator is done", async () => {
  using both = pair(u32);
  const iterator = both.receiver[Symbol.asyncIterator]();
  await iterator.return?.();
  const next = await within(iterator.next(), "the iterator", 2000);
  assert.equal(next.done, true);
});

test("next() called several times at once serves in order", async () => {
  using both = pair(u32);
  const iterator = both.receiver[Symbol.asyncIterator]();
  const nexts = range(5).map(() => iterator.next());
  both.sender.sendBatch([0, 1, 2]);
  await nextTurn();
  both.channel.close();
  const results = await within(Promise.all(nexts), "the iterator");
  assert.deepEqual(results.map(({ value }) => value), [0, 1, 2, undefined, undefined]);
  assert.deepEqual(results.map(({ done }) => done === true), [false, false, false, true, true]);
});

// ---- in place ----

test("readable() takes nothing before release(), which takes as many as are wanted", () => {
  using both = pair(u32, { capacity: 8 });
  const { sender, receiver } = both;
  assert.equal(receiver.readable(), undefined);
  sender.sendBatch([1, 2, 3, 4]);
  assert.deepEqual([...(receiver.readable() ?? [])], [1, 2, 3, 4]);
  assert.deepEqual([...(receiver.readable() ?? [])], [1, 2, 3, 4]);
  receiver.release(1);
  receiver.release(2);
  throws(() => receiver.release(2), {
    name: "RangeError",
    message: /the 1 left of readable\(\), received 2/,
  });
  assert.equal(receiver.size, 1);
  receiver.release();
  assert.equal(receiver.size, 0);
  receiver.release(0);
  throws(() => receiver.release(1), { name: "RangeError" });
  for (const count of [-1, 0.5, NaN, "1"]) {
    throws(() => receiver.release(count as number), { name: refusalOf(count) });
  }
});

test("readable() gives the room of what was released to the sender", () => {
  using both = pair(u32, { capacity: 4 });
  const { sender, receiver } = both;
  assert.equal(fill(sender, (index) => index), 4);
  receiver.readable();
  receiver.release(3);
  assert.equal(fill(sender, (index) => index + 4), 3);
  const seen: number[] = [];
  for (let view = receiver.readable(); view !== undefined; view = receiver.readable()) {
    seen.push(...view);
    receiver.release();
  }
  assert.deepEqual(seen, [3, 4, 5, 6]);
});

test("release() throws when another receive came between", async () => {
  const between: Record<string, (receiver: ReturnType<typeof opened>["receiver"]) => unknown> = {
    tryReceive: (receiver) => receiver.tryReceive(),
    receive: (receiver) => receiver.receive(),
    receiveSync: (receiver) => receiver.receiveSync(),
    receiveBatch: (receiver) => receiver.receiveBatch(1),
    next: (receiver) => receiver[Symbol.asyncIterator]().next(),
    drain: (receiver) => receiver.drain(() => {}),
  };
  const opened = () => pair(u32);
  for (const [name, receiveOtherwise] of Object.entries(between)) {
    using both = opened();
    both.sender.sendBatch([1, 2, 3]);
    both.receiver.readable();
    await receiveOtherwise(both.receiver);
    throws(() => both.receiver.release(2), { name: "RangeError" });
    const left = takeAll(both.receiver);
    assert.deepEqual(left, name === "drain" ? [] : [2, 3], name);
  }
});

test("a receive that waits and readable() never release what was not seen", async () => {
  using both = pair(u32);
  const { sender, receiver } = both;
  const waiting = receiver.receive();
  sender.sendBatch([1, 2]);
  const seen = [...(receiver.readable() ?? [])];
  const first = await within(waiting, "the waiting receive");
  try {
    receiver.release(1);
  } catch (error) {
    assert.ok(error instanceof RangeError, `${error}`);
  }
  const all = [first, ...seen, ...takeAll(receiver)];
  assert.ok(all.includes(1) && all.includes(2), `${all}`);
  assert.ok(sender.trySend(3));
  assert.equal(takeAll(receiver).at(-1), 3);
});

// ---- drain ----

test("drain() hands out everything that is there, and says how many", () => {
  using channel = mpsc(u32, { capacity: 256 });
  using receiver = channel.receiver();
  const senders = [channel.sender(), channel.sender()];
  const received: number[] = [];
  assert.equal(receiver.drain((value) => received.push(value)), 0);
  for (const sender of senders) assert.equal(sender.sendBatch(range(200)), 200);
  assert.equal(receiver.drain((value) => received.push(value)), 400);
  assert.equal(received.length, 400);
  assert.equal(channel.size, 0);
  throws(() => receiver.drain(undefined as unknown as () => void), { name: "TypeError" });
  for (const sender of senders) sender.close();
});

test("drain() loses no value but the one whose handler threw", () => {
  using both = pair(u32, { capacity: 256 });
  both.sender.sendBatch(range(100));
  const received: number[] = [];
  throws(() =>
    both.receiver.drain((value) => {
      received.push(value);
      if (value === 70) throw new Error("no more");
    }), { name: "Error", message: /no more/ });
  assert.deepEqual(received, range(71));
  assert.equal(both.channel.size, 29);
  assert.deepEqual(takeAll(both.receiver), range(100).slice(71));
});

test("drain() ends when its handler closes the receiver", () => {
  using both = pair(u32);
  both.sender.sendBatch(range(10));
  let count = 0;
  const drained = both.receiver.drain((value) => {
    count++;
    if (value === 3) both.receiver.close();
  });
  assert.deepEqual([count, drained], [4, 4]);
  throws(() => both.receiver.tryReceive(), endpointClosed);
});

// ---- streams ----

test("toReadableStream() gives every value and ends with the channel", async () => {
  using both = pair(u32, { capacity: 4 });
  const sent = both.sender.sendAll(range(100)).then(() => both.channel.close());
  const received = await within(Array.fromAsync(both.receiver.toReadableStream()), "the stream");
  assert.deepEqual(received, range(100));
  await sent;
});

test("toReadableStream() takes nothing that nobody asked for", async () => {
  using both = pair(u32, { capacity: 4 });
  both.sender.sendBatch([1, 2, 3]);
  const reader = both.receiver.toReadableStream().getReader();
  await nextTurn();
  assert.equal(both.receiver.size, 3);
  assert.deepEqual(await reader.read(), { done: false, value: 1 });
  await nextTurn();
  assert.equal(both.receiver.size, 2);
  reader.releaseLock();
  assert.deepEqual(takeAll(both.receiver), [2, 3]);
});

test("toReadableStream() holds back the sender through the whole pipe", async () => {
  using source = pair(u32, { capacity: 2 });
  using sink = pair(u32, { capacity: 2 });
  const piped = source.receiver.toReadableStream()
    .pipeThrough(
      new TransformStream<number, number>({
        transform: (value, controller) => controller.enqueue(value * 2),
      }),
    )
    .pipeTo(sink.sender.toWritableStream());
  const sent = source.sender.sendAll(range(50)).then(() => source.channel.close());
  assert.ok(await isPending(sent, 10), "nobody reads, so somewhere it must stop");
  assert.deepEqual(await collect(sink.receiver), range(50).map((value) => value * 2));
  await within(Promise.all([sent, piped]), "the pipe");
});

test("toReadableStream() closes the receiver when cancelled, also while a read waits", async () => {
  using both = pair(u32);
  const reader = both.receiver.toReadableStream().getReader();
  const read = reader.read();
  await nextTurn();
  await within(reader.cancel("enough"), "the cancel");
  assert.deepEqual(await within(read, "the read"), { done: true, value: undefined });
  assert.equal(both.receiver.closed, true);
  assert.equal(both.sender.trySend(1), false);
});

test("toReadableStream() errors with the reason of the close", async () => {
  using both = pair(u32);
  both.sender.trySend(1);
  both.channel.close(new Error("dry"));
  const reader = both.receiver.toReadableStream().getReader();
  assert.deepEqual(await reader.read(), { done: false, value: 1 });
  const error = await rejects(reader.read(), channelClosed);
  assert.equal((error.cause as Error).message, "dry");
});

// ---- close ----

test("close() rejects receives that wait, ends iterations, and is idempotent", async () => {
  using both = pair(u32);
  const { receiver } = both;
  const waiting = [receiver.receive(), receiver.ready()];
  const values = receiver[Symbol.asyncIterator]();
  const next = values.next();
  const batch = receiver.batches().next();
  receiver.close();
  receiver.close();
  for (const receive of waiting) await rejects(receive, endpointClosed);
  for (const end of [next, values.next(), batch]) {
    assert.deepEqual(await end, { done: true, value: undefined });
  }
});

test("every method of a closed receiver says so", async () => {
  using both = pair(u32, { capacity: 4 });
  const { receiver } = both;
  both.sender.trySend(1);
  receiver.close();
  throws(() => receiver.tryReceive(), endpointClosed);
  throws(() => receiver.peek(), endpointClosed);
  await rejects(receiver.receive(), endpointClosed);
  await rejects(receiver.ready(), endpointClosed);
  throws(() => receiver.receiveSync(), endpointClosed);
  throws(() => receiver.receiveBatch(1), endpointClosed);
  throws(() => receiver.receiveBatch([0]), endpointClosed);
  await rejects(receiver[Symbol.asyncIterator]().next(), endpointClosed);
  await rejects(receiver.batches().next(), endpointClosed);
  throws(() => receiver.readable(), endpointClosed);
  throws(() => receiver.release(), endpointClosed);
  throws(() => receiver.drain(() => {}), endpointClosed);
  throws(() => receiver.run(() => {}), endpointClosed);
  throws(() => receiver.size, endpointClosed);
  await rejects(receiver.toReadableStream().getReader().read(), endpointClosed);
  assert.equal(receiver.closed, true);
  assert.equal(receiver.capacity, 4);
  assert.equal(receiver.ref(), receiver);
  assert.equal(receiver.unref(), receiver);
  receiver.close();
  receiver[Symbol.dispose]();
  await receiver[Symbol.asyncDispose]();
});
