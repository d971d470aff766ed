import assert from "node:assert/strict";
import test from "node:test";
import {
  bytes,
  custom,
  mpmc,
  mpsc,
  pool,
  type Receiver,
  type Sender,
  spmc,
  spsc,
  u32,
} from "../mod.ts";
import { isPending, nextTurn, rejects, throws, within } from "./support/bounded.ts";
import { collect, fill, pair, range, takeAll } from "./support/channels.ts";

const kinds = { mpsc, spsc, spmc, mpmc };
const timeout = { name: "TimeoutError", code: "TIMEOUT" };

/** Far beyond what a turn of the event loop takes: only a loop that starves everything gets there. */
const starvedMs = 20_000;

/** Keeps this thread busy for so long. */
function burn(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

// ---- options ----

test("values() gives what the plain iteration gives", async () => {
  using both = pair(u32);
  both.sender.sendBatch([1, 2, 3]);
  both.channel.close();
  assert.deepEqual(await collect(both.receiver.values()), [1, 2, 3]);
});

for (const verb of ["values", "batches"] as const) {
  test(`${verb}() with a timeout waits so long for each item, and loses none`, async () => {
    using both = pair(u32);
    const items: AsyncGenerator<unknown, void, void> = both.receiver[verb]({ timeout: 1 });
    both.sender.sendBatch([1]);
    assert.deepEqual((await items.next()).value, verb === "values" ? 1 : Uint32Array.of(1));
    await rejects(items.next(), timeout);
    both.sender.sendBatch([2]);
    const { value } = await within(items.next(), "the next item");
    assert.deepEqual(value, verb === "values" ? 2 : Uint32Array.of(2));
  });

  test(`${verb}() with a signal ends with its reason, also when an item is there`, async () => {
    using both = pair(u32);
    const controller = new AbortController();
    const items: AsyncGenerator<unknown, void, void> = both.receiver[verb]({
      signal: controller.signal,
    });
    const next = items.next();
    assert.ok(await isPending(next));
    controller.abort(new Error("enough"));
    await rejects(next, { name: "Error", message: /enough/ });
    both.sender.trySend(1);
    await rejects(items.next(), { name: "Error", message: /enough/ });
    assert.deepEqual(takeAll(both.receiver), [1]);
  });

  test(`return() of ${verb}() ends calls of next() that wait, which take nothing`, async () => {
    for (const make of Object.values(kinds)) {
      using channel = make(u32, { capacity: 8 });
      using sender = channel.sender();
      using receiver = channel.receiver();
      const items: AsyncGenerator<unknown, void, void> = receiver[verb]();
      const waiting = [items.next(), items.next()];
      const other = receiver.receive();
      assert.ok(await isPending(waiting[0] as Promise<unknown>));
      assert.equal((await within(items.return(), "return()")).done, true);
      for (const next of waiting) {
        assert.deepEqual(await within(next, "next()"), { done: true, value: undefined });
      }
      sender.sendBatch([1, 2]);
      assert.equal(await within(other, "a receive that waited behind them"), 1);
      assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 2 });
      assert.equal((await items.next()).done, true);
    }
  });

  test(`throw() and asyncDispose of ${verb}() end it as return() does`, async () => {
    using both = pair(u32);
    const thrown: AsyncGenerator<unknown, void, void> = both.receiver[verb]();
    const next = thrown.next();
    await rejects(thrown.throw(new Error("no more")), { name: "Error", message: /no more/ });
    assert.equal((await within(next, "next()")).done, true);
    {
      await using disposed = both.receiver[verb]();
      void disposed.next();
    }
    both.sender.trySend(1);
    assert.deepEqual(takeAll(both.receiver), [1]);
  });

  test(`a stream from ${verb}() that is cancelled while it waits takes nothing`, async () => {
    using both = pair(u32);
    // Not in the types of every runtime.
    const { from } = ReadableStream as unknown as {
      from(items: AsyncIterable<unknown>): ReadableStream<unknown>;
    };
    const reader = from.call(ReadableStream, both.receiver[verb]()).getReader();
    const read = reader.read();
    assert.ok(await isPending(read));
    await within(reader.cancel(), "the cancel");
    assert.equal((await within(read, "the read")).done, true);
    both.sender.trySend(1);
    await nextTurn();
    assert.deepEqual(takeAll(both.receiver), [1]);
  });
}

// ---- what cannot be decoded ----

/** Numbers below 100; those that are divisible by 10 cannot be decoded. */
const picky = custom<number>({
  name: "iteration.test picky",
  encode: (value) => Uint8Array.of(value),
  decode: ([value = 0]) => {
    if (value % 10 === 0) throw new RangeError(`cannot decode ${value}`);
    return value;
  },
});

for (const [name, make] of Object.entries(kinds)) {
  test(`what cannot be decoded counts as received, and nothing else is lost (${name})`, async () => {
    using channel = make(picky, { capacity: 256 });
    using sender = channel.sender();
    using receiver = channel.receiver();
    const bad = { name: "RangeError", message: /cannot decode 10/ };
    const send = () => assert.equal(sender.sendBatch([9, 10, 11]), 3);

    send();
    const values = receiver.values();
    assert.equal((await values.next()).value, 9);
    await rejects(values.next(), bad);
    assert.equal((await values.next()).value, 11);

    send();
    const batches = receiver.batches();
    assert.deepEqual((await batches.next()).value, [9]);
    await rejects(batches.next(), bad);
    assert.deepEqual((await batches.next()).value, [11]);
    await batches.return();

    send();
    assert.deepEqual(receiver.receiveBatch(3), [9]);
    throws(() => receiver.receiveBatch(3), bad);
    assert.deepEqual(receiver.receiveBatch(3), [11]);

    send();
    const drained: number[] = [];
    throws(() => receiver.drain((value) => drained.push(value)), bad);
    assert.equal(receiver.drain((value) => drained.push(value)), 1);
    assert.deepEqual(drained, [9, 11]);

    send();
    const handled: number[] = [];
    await rejects(
      receiver.run((value) => {
        handled.push(value);
      }).finished,
      bad,
    );
    await within(
      receiver.run((value) => {
        handled.push(value);
      }).stop(),
      "the loop",
    );
    assert.deepEqual(handled, [9, 11]);
    assert.equal(channel.size, 0);
  });
}

// ---- the event loop turns ----

/** Receives as long as something is there; `step` is called with every item. */
const loops: Record<
  string,
  (receiver: Receiver<number, Uint32Array>, step: () => boolean) => Promise<void>
> = {
  "for await": async (receiver, step) => {
    for await (const _ of receiver) if (!step()) break;
  },
  "receive()": async (receiver, step) => {
    do await receiver.receive(); while (step());
  },
  "receive(), two at a time": async (receiver, step) => {
    do await Promise.all([receiver.receive(), receiver.receive()]); while (step());
  },
  "ready()": async (receiver, step) => {
    do {
      await receiver.ready();
      receiver.tryReceive();
    } while (step());
  },
  "batches()": async (receiver, step) => {
    for await (const _ of receiver.batches({ max: 1 })) if (!step()) break;
  },
  "a stream": async (receiver, step) => {
    const reader = receiver.toReadableStream().getReader();
    do await reader.read(); while (step());
    reader.releaseLock();
  },
};

for (const [name, make] of Object.entries(kinds)) {
  for (const [verb, loop] of Object.entries(loops)) {
    for (const bodyMs of [0, 3]) {
      test(`a loop of ${verb} lets timers in while values keep coming (${name}, a body of ${bodyMs} ms)`, async () => {
        using channel = make(u32, { capacity: 4 });
        using sender = channel.sender();
        using receiver = channel.receiver();
        fill(sender, (index) => index);
        let timers = 0;
        const interval = setInterval(() => timers++, 1);
        const deadline = performance.now() + starvedMs;
        let steps = 0;
        await loop(receiver, () => {
          if (bodyMs > 0) burn(bodyMs);
          steps++;
          fill(sender, (index) => index);
          return timers < 3 && performance.now() < deadline;
        });
        clearInterval(interval);
        assert.ok(timers >= 3, `${timers} timers in ${steps} steps`);
      });
    }
  }
}

/** Sends as long as there is room; `step` is called with every promise that resolved. */
const sendLoops: Record<
  string,
  (sender: Sender<number, Uint32Array>, step: () => boolean) => Promise<void>
> = {
  "send()": async (sender, step) => {
    do await sender.send(1); while (step());
  },
  "sendAll()": async (sender, step) => {
    do await sender.sendAll([1]); while (step());
  },
  "ready() of a sender": async (sender, step) => {
    do {
      await sender.ready();
      sender.trySend(1);
    } while (step());
  },
  "ready() of a writer": async (sender, step) => {
    const writer = sender.writer();
    do {
      await writer.ready();
      writer.tryPush(1);
      writer.flush();
    } while (step());
  },
};

for (const [verb, loop] of Object.entries(sendLoops)) {
  test(`a loop of ${verb} lets timers in while there is room, and sends everything once`, async () => {
    using both = pair(u32, { capacity: 4 });
    let timers = 0;
    const interval = setInterval(() => timers++, 1);
    const deadline = performance.now() + starvedMs;
    let steps = 0;
    let received = 0;
    await loop(both.sender, () => {
      steps++;
      received += both.receiver.drain(() => {});
      return timers < 3 && performance.now() < deadline;
    });
    clearInterval(interval);
    assert.ok(timers >= 3, `${timers} timers in ${steps} steps`);
    assert.equal(received, steps);
  });
}

test("a loop of alloc() lets timers in while a slab is free", async () => {
  using slabs = pool({ slab: 64, count: 1 });
  let timers = 0;
  const interval = setInterval(() => timers++, 1);
  const deadline = performance.now() + starvedMs;
  while (timers < 3 && performance.now() < deadline) (await slabs.alloc(1)).free();
  clearInterval(interval);
  assert.ok(timers >= 3);
});

test("what waits for the event loop to turn is served in order, and is lost by no other call", async () => {
  using both = pair(u32, { capacity: 1 << 16 });
  const { sender, receiver, channel } = both;
  const total = fill(sender, (index) => index);
  channel.close();
  const received: number[] = [];
  let calls = 0;
  // Enough to need many turns; every kind of receive in between.
  while (received.length < total) {
    const [first, second] = await Promise.all([receiver.receive(), receiver.receive()]);
    received.push(first, second);
    if (++calls % 100 === 0) {
      const waiting = receiver.receive();
      const result = receiver.tryReceive();
      const value = await waiting;
      received.push(value);
      if (result.state === "ok") received.push(result.value);
      received.push(...receiver.receiveBatch(1));
    }
  }
  assert.deepEqual(received, range(total));
});

// ---- before the thread blocks ----

/** Handles ten values, and then blocks this thread for a moment. */
const holders: Record<
  string,
  (receiver: Receiver<number, Uint32Array>, block: () => void) => Promise<void>
> = {
  "for await": async (receiver, block) => {
    let count = 0;
    for await (const _ of receiver) {
      if (++count === 10) {
        block();
        break;
      }
    }
  },
  "drain()": async (receiver, block) => {
    let count = 0;
    receiver.drain(() => {
      if (++count === 10) block();
    });
    await Promise.resolve();
  },
  "run()": async (receiver, block) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let count = 0;
    const loop = receiver.run(() => {
      if (++count !== 10) return;
      block();
      resolve();
    });
    loop.finished.catch(reject);
    await promise;
    await loop.stop();
  },
};

for (const [name, make] of Object.entries(kinds)) {
  for (const [verb, holder] of Object.entries(holders)) {
    test(`a body of ${verb} that blocks has given back what was handled (${name})`, async () => {
      using channel = make(u32, { capacity: 64 });
      using sender = channel.sender();
      using receiver = channel.receiver();
      using other = pair(u32);
      fill(sender, (index) => index);
      let room = 0;
      await within(
        holder(receiver, () => {
          throws(() => other.receiver.receiveSync({ timeout: 0.1 }), timeout);
          room = fill(sender, (index) => index);
        }),
        "the loop",
      );
      // Where another receiver would take over what a dead one had in hand, that is kept.
      assert.equal(room, name === "spmc" || name === "mpmc" ? 9 : 10);
    });
  }
}

test("a body of for await that waits has given back what was handled, where receivers share the channel", async () => {
  using channel = mpmc(u32, { capacity: 64 });
  using sender = channel.sender();
  using receiver = channel.receiver();
  fill(sender, (index) => index);
  let count = 0;
  for await (const _ of receiver) {
    if (++count < 10) continue;
    await nextTurn();
    assert.equal(fill(sender, (index) => index), 9);
    break;
  }
});

test("a message of half a ring finds room while the body of a for await blocks", async () => {
  using both = pair(bytes, { capacity: 512 });
  using other = pair(u32);
  const { sender, receiver } = both;
  // The half of the ring behind these does not take it: it must lie at the beginning.
  for (let count = 0; count < 13; count++) assert.ok(sender.trySend(new Uint8Array(8)));
  assert.ok(sender.trySend(new Uint8Array(0)));
  takeAll(receiver);
  for (let count = 0; count < 3; count++) assert.ok(sender.trySend(new Uint8Array(8)));
  let count = 0;
  for await (const _ of receiver) {
    if (++count < 3) continue;
    assert.equal(sender.trySend(new Uint8Array(248)), false);
    throws(() => other.receiver.receiveSync({ timeout: 0.1 }), timeout);
    assert.equal(sender.trySend(new Uint8Array(248)), true);
    break;
  }
});
