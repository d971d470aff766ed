/**
 * select() and selectSync(): the first of several receivers, deadlines and signals; what it takes, from
 * which one, and what it leaves to others. The cases follow those of crossbeam-channel's select.
 */

import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import {
  after,
  type Channel,
  json,
  mpmc,
  mpsc,
  Receiver,
  select,
  type Selectable,
  type SelectOptions,
  selectSync,
  spmc,
  spsc,
  u32,
  utf8,
} from "../mod.ts";
import {
  endpointClosed,
  isPending,
  rejectionOf,
  rejects,
  throws,
  within,
} from "./support/bounded.ts";
import { range } from "./support/channels.ts";
import { TestWorker } from "./support/workers.ts";

type Numbers = Channel<number, Uint32Array>;
const kinds = { mpsc, spsc, spmc, mpmc };

/** Both ways, with the same face. */
const ways = {
  select: async (sources: readonly Selectable[], options: SelectOptions = {}) =>
    await within(select(sources, options), "select()"),
  selectSync: (sources: readonly Selectable[], { biased, timeout }: SelectOptions = {}) =>
    Promise.resolve().then(() => selectSync(sources, { biased, timeout })),
};

function numbers(count: number, make: (layout: typeof u32) => Numbers = (layout) => mpsc(layout)) {
  const channels = range(count).map(() => make(u32));
  const senders = channels.map((channel) => channel.sender());
  const receivers = channels.map((channel) => channel.receiver());
  return {
    channels,
    senders,
    receivers,
    [Symbol.dispose]() {
      for (const endpoint of [...senders, ...receivers]) endpoint.close();
      for (const channel of channels) channel[Symbol.dispose]();
    },
  };
}

for (const [how, choose] of Object.entries(ways)) {
  test(`${how}() takes from exactly one, of every kind and layout`, async () => {
    for (const make of Object.values(kinds)) {
      using all = numbers(3, (layout) => make(layout, { capacity: 8 }));
      const { senders, receivers } = all;
      for (const sender of senders) sender.sendBatch([1, 2]);
      const taken = [0, 0, 0];
      for (let left = 6; left > 0; left--) {
        const chosen = await choose(receivers);
        assert.equal(chosen.state, "ok");
        assert.equal(chosen.source, receivers[chosen.index]);
        assert.equal("value" in chosen && chosen.value, ++taken[chosen.index]!);
        const there = receivers.reduce((sum, receiver) => sum + receiver.size, 0);
        assert.equal(there, left - 1);
      }
      const last = await choose([...receivers, after(0)]);
      assert.equal(last.state, "elapsed");
    }
    using texts = mpsc(utf8);
    using things = mpsc(json<{ a: number }>());
    const sources = [texts.receiver(), things.receiver()] as const;
    things.sender().trySend({ a: 1 });
    const chosen = await choose(sources);
    assert.deepEqual("value" in chosen && chosen.value, { a: 1 });
  });

  test(`${how}() with biased takes the first that is ready; without, each in its turn by chance`, async () => {
    using all = numbers(3);
    const { senders, receivers } = all;
    for (const sender of senders) sender.sendBatch(range(300));
    for (let turn = 0; turn < 300; turn++) {
      assert.equal((await choose(receivers, { biased: true })).index, 0);
    }
    assert.equal((await choose(receivers, { biased: true })).index, 1);
    const counts = [0, 0, 0];
    for (let turn = 0; turn < 200; turn++) counts[(await choose(receivers)).index]!++;
    // Of two by chance, 200 times: fewer than 40 of one comes once in 10^18 runs.
    assert.ok(counts[0] === 0 && counts[1]! > 40 && counts[2]! > 40, `${counts}`);
  });

  test(`${how}() tells that a channel has ended, and with what`, async () => {
    using all = numbers(3);
    const { channels, senders, receivers } = all;
    senders[0]!.trySend(1);
    senders[0]!.close();
    channels[1]!.close(new RangeError("the river is dry"));
    assert.deepEqual(await choose([receivers[0]]), {
      state: "ok",
      source: receivers[0],
      index: 0,
      value: 1,
    });
    assert.deepEqual(await choose([undefined, receivers[0]]), {
      state: "closed",
      source: receivers[0],
      index: 1,
      error: undefined,
    });
    const failed = await choose([receivers[2], receivers[1]]);
    assert.ok(failed.state === "closed" && failed.index === 1);
    assert.equal((failed.error?.cause as Error).message, "the river is dry");
  });

  test(`${how}() counts a deadline from where it was made; a timeout is an error`, async () => {
    using all = numbers(2);
    const { senders, receivers } = all;
    const deadline = after(10);
    assert.equal((await choose([...receivers, deadline])).state, "elapsed");
    assert.equal(deadline.left, 0);
    senders[1]!.trySend(7);
    assert.equal((await choose([...receivers, deadline], { biased: true })).index, 1);
    assert.equal((await choose([...receivers, deadline], { biased: true })).state, "elapsed");
    const error = await rejectionOf(choose(receivers, { timeout: 1 }));
    assert.equal((error as Error).name, "TimeoutError");
    assert.equal((error as { code?: string }).code, "TIMEOUT");
    assert.equal((await choose([after(5), after(100_000)])).index, 0);
  });

  test(`${how}() refuses what cannot be waited for`, async () => {
    using all = numbers(1);
    const [receiver] = all.receivers;
    for (
      const bad of [[], [undefined], [7], ["x"], [null], [{}], 7, null, [receiver, all.senders[0]]]
    ) {
      await rejects(choose(bad as unknown as Selectable[]), { name: "TypeError" });
    }
    await rejects(choose([receiver], { biased: 1 as unknown as boolean }), { name: "TypeError" });
    await rejects(choose([receiver], { timeout: -1 }), { name: "RangeError" });
    throws(() => after(-1), { name: "RangeError" });
    throws(() => after("1" as unknown as number), { name: "TypeError" });
    const loop = receiver!.run(() => {});
    await rejects(choose([receiver]), { name: "TypeError" });
    await loop.stop();
    receiver!.close();
    await rejects(choose([receiver]), endpointClosed);
  });

  test(`${how}() comes after receives that wait, and one receiver may stand in it twice`, async () => {
    using all = numbers(2);
    const { senders, receivers } = all;
    const [first] = receivers as [Receiver<number, Uint32Array>];
    const waiting = first.receive();
    senders[0]!.sendBatch([1, 2]);
    const chosen = await choose([first, first]);
    assert.ok("value" in chosen && chosen.value === 2);
    assert.equal(await within(waiting, "the receive"), 1);
  });

  test(`${how}() over channels of Workers: each value once, until all have ended`, async () => {
    const shares = [spmc, mpmc, mpsc].map((make) => make(u32, { capacity: 4 }));
    const count = 2000;
    await using first = new TestWorker("web");
    await using second = new TestWorker("node");
    // The last channel has one receiver.
    const results = [
      first.call("selectAll", shares.map((channel) => channel.receiverTicket()), how as "select"),
      second.call(
        "selectAll",
        shares.slice(0, 2).map((channel) => channel.receiverTicket()),
        how as "select",
      ),
    ];
    await Promise.all(shares.map(async (channel) => {
      await using sender = channel.sender();
      for (let value = 0; value < count; value++) await sender.send(value);
    }));
    const [of1, of2] = await Promise.all(results) as [number[][], number[][]];
    for (const index of shares.keys()) {
      const values = [...of1[index] ?? [], ...of2[index] ?? []].sort((a, b) => a - b);
      assert.deepEqual(values, range(count));
    }
    for (const channel of shares) channel[Symbol.dispose]();
  });
}

test("select() is woken by each source: a value, an end, a deadline, a signal", async () => {
  for (const make of Object.values(kinds)) {
    using all = numbers(2, (layout) => make(layout, { pollBudget: 0 }));
    const { senders, receivers, channels } = all;
    const stop = new AbortController();
    const waiting = [0, 1].map(async (index) => {
      const chosen = select([receivers[index], stop.signal]);
      assert.ok(await isPending(chosen));
      return { chosen };
    });
    for (const [index, sender] of senders.entries()) {
      const { chosen } = await waiting[index]!;
      sender.trySend(index);
      assert.equal((await within(chosen, "the value")).index, 0);
    }
    const ended = select([receivers[0], receivers[1]]);
    assert.ok(await isPending(ended));
    channels[1]!.close();
    assert.equal((await within(ended, "the end")).state, "closed");
    const aborted = select([receivers[0], stop.signal]);
    assert.ok(await isPending(aborted));
    stop.abort("enough");
    assert.deepEqual(await within(aborted, "the abort"), {
      state: "aborted",
      source: stop.signal,
      index: 1,
      reason: "enough",
    });
    const again = select([receivers[0], stop.signal]);
    assert.equal((await within(again, "the abort before")).state, "aborted");
  }
});

test("select() whose own signal aborts takes nothing", async () => {
  using all = numbers(1);
  const { senders, receivers } = all;
  const stop = new AbortController();
  const waiting = select(receivers, { signal: stop.signal });
  assert.ok(await isPending(waiting));
  stop.abort(new Error("enough"));
  await rejects(waiting, { name: "Error", message: /enough/ });
  senders[0]!.trySend(1);
  await rejects(select(receivers, { signal: stop.signal }), { name: "Error", message: /enough/ });
  assert.deepEqual(receivers[0]!.tryReceive(), { state: "ok", value: 1 });
});

test("select() withholds nothing: another receiver of a channel it has not chosen gets its values", async () => {
  for (const make of [spmc, mpmc]) {
    using shared = make(u32, { pollBudget: 0 });
    using other = mpsc(u32, { pollBudget: 0 });
    const [sender, a, b] = [shared.sender(), shared.receiver(), shared.receiver()];
    const [otherSender, c] = [other.sender(), other.receiver()];
    for (let round = 0; round < 20; round++) {
      // Both sources of the select become ready in one turn, and it takes one of them.
      const chosen = select([a, c]);
      const received = b.receive();
      assert.ok(await isPending(chosen));
      sender.trySend(round);
      otherSender.trySend(round);
      const { index } = await within(chosen, "select()");
      if (index === 1) assert.equal(await within(received, "the other receiver"), round);
      else {
        assert.ok(await isPending(received));
        sender.trySend(round);
        assert.equal(await within(received, "the next value"), round);
        assert.deepEqual(c.tryReceive(), { state: "ok", value: round });
      }
    }
    for (const endpoint of [sender, a, b, otherSender, c]) endpoint.close();
  }
});

test("select() in a loop lets timers run while values keep coming", async () => {
  using all = numbers(2);
  const { senders, receivers } = all;
  let fired = false;
  setTimeout(() => fired = true, 5);
  let turns = 0;
  while (!fired) {
    senders[turns % 2]!.trySend(turns);
    await select(receivers);
    assert.ok(++turns < 10_000_000);
  }
});

test("selectSync() refuses a signal, and more than 64 receivers", () => {
  using all = numbers(65);
  throws(() => selectSync([all.receivers[0], new AbortController().signal]), { name: "TypeError" });
  throws(() => selectSync(all.receivers), { name: "RangeError" });
  all.senders[63]!.trySend(1);
  assert.equal(selectSync(all.receivers.slice(0, 64)).index, 63);
});

test("selectSync() waits for what other processes send, too", async () => {
  using a = mpsc(u32, { shared: true });
  using b = mpmc(u32, { shared: true });
  const address = `@millrace-select-${process.pid}`;
  using share = b.share(address);
  const receivers = [a.receiver(), await Receiver.connect<number, Uint32Array>(address)] as const;
  b.sender().trySend(3);
  const chosen = selectSync(receivers, { timeout: 10_000 });
  assert.ok(chosen.state === "ok" && chosen.index === 1 && chosen.value === 3);
  assert.equal(selectSync([...receivers, after(20)]).state, "elapsed");
  for (const receiver of receivers) receiver.close();
  share.close();
});
