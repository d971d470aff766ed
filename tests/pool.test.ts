/**
 * The buffer pool: slabs change hands without a copy, misuse is an error, and none is ever lost.
 */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import {
  bytes,
  type Channel,
  custom,
  json,
  type Layout,
  mpmc,
  mpsc,
  Pool,
  pool,
  type PoolTicket,
  Receiver,
  Sender,
  type Slab,
  spmc,
  spsc,
  u32,
  utf8,
} from "../mod.ts";
import {
  channelClosed,
  endpointClosed,
  type ExpectedError,
  isPending,
  refusalOf,
  rejects,
  throws,
  until,
  within,
} from "./support/bounded.ts";
import { channelsAlive, channelsSettled, collect, takeAll } from "./support/channels.ts";
import { runUnwatched } from "./support/runtime.ts";
import type { PoolJob } from "./support/pool_worker.ts";

const testLimit = { timeout: 120_000 };
const stale: ExpectedError = { name: "SlabError", code: "SLAB_STALE" };
const foreign: ExpectedError = { name: "SlabError", code: "SLAB_FOREIGN" };
const notOwned: ExpectedError = { name: "SlabError", code: "SLAB_NOT_OWNED" };
const transferred: ExpectedError = { name: "MillraceError", code: "MEMORY_TRANSFERRED" };

/** A slab that must be there. */
function take(slabs: Pool, length?: number): Slab {
  const slab = length === undefined ? slabs.tryAlloc() : slabs.tryAlloc(length);
  assert.ok(slab !== undefined, "no slab is free");
  return slab;
}

/** Waits until every slab of the pool is free. */
async function allFree(slabs: Pool): Promise<void> {
  await until(
    () => slabs.stats().free === slabs.count,
    `every slab is free; now ${JSON.stringify(slabs.stats())}`,
  );
}

const workers = new Set<Worker>();
after(() => workers.forEach((worker) => worker.terminate()));

/** A Worker on a job; `said` is its first message. */
function start(job: PoolJob): { worker: Worker; said: Promise<unknown> } {
  const worker = new Worker(new URL("./support/pool_worker.ts", import.meta.url).href, {
    type: "module",
  });
  workers.add(worker);
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault?.();
    reject(new Error(event.message));
  };
  worker.postMessage(job);
  return { worker, said: within(promise, `the Worker's ${job.job}`, 30_000) };
}

// ---- allocating and freeing ----

test("alloc() gives writable memory, free() takes it away and gives it to the next", async () => {
  using slabs = pool({ slab: 5000, count: 1 });
  const slab = await slabs.alloc(3);
  const view = slab.bytes;
  assert.equal(view.length, 3);
  view.set([1, 2, 3]);
  assert.equal(slab.resize(2).bytes.length, 2);
  assert.equal(view.length, 3);
  assert.equal(slab.resize(5000).bytes[2], 3);
  assert.equal(view.length, 0);
  const whole = slab.bytes;
  assert.deepEqual(slabs.stats(), { free: 0, owned: 1, inFlight: 0, retired: 0, timesEmpty: 0 });
  slab.free();
  assert.equal(whole.length, 0);
  assert.equal(slab.bytes.length, 0);
  assert.equal(slab.closed, true);
  {
    using again = slabs.allocSync();
    assert.equal(again.length, 5000);
    assert.equal(again.handle.index, slab.handle.index);
    assert.notEqual(again.handle.generation, slab.handle.generation);
  }
  assert.equal(slabs.stats().free, 1);
});

test("slabs are apart, whatever their size", () => {
  for (const slab of [1, 127, 128, 4095, 4096, 4097]) {
    using slabs = pool({ slab, count: 3 });
    const all = [take(slabs), take(slabs), take(slabs)];
    all.forEach(({ bytes }, index) => bytes.fill(index + 1));
    for (const [index, { bytes }] of all.entries()) {
      assert.ok(bytes.every((byte) => byte === index + 1), `slab ${index} of ${slab} bytes`);
    }
  }
});

test("an empty pool: tryAlloc() gives undefined, alloc() waits in order, allocSync() times out", async () => {
  using slabs = pool({ slab: 16, count: 1 });
  const slab = take(slabs);
  assert.equal(slabs.tryAlloc(), undefined);
  throws(() => slabs.allocSync(16, { timeout: 1 }), { name: "TimeoutError" });
  const first = slabs.alloc(1);
  const second = slabs.alloc(2);
  assert.ok(await isPending(first));
  slab.free();
  const got = await within(first, "the first");
  assert.equal(got.length, 1);
  assert.ok(await isPending(second));
  got.free();
  (await within(second, "the second")).free();

  // A newcomer does not pass those who wait by, and who gave up waits no more.
  const held = take(slabs);
  const waiting = slabs.alloc();
  held.free();
  assert.equal(slabs.tryAlloc(), undefined);
  const last = await within(waiting, "the one that waited");
  const aborter = new AbortController();
  const aborted = slabs.alloc(1, { signal: aborter.signal });
  aborter.abort(new RangeError("enough"));
  await rejects(aborted, { name: "RangeError" });
  last.free();
  take(slabs).free();
});

test("alloc() that waits ends with its signal, and with the pool", async () => {
  using slabs = pool({ slab: 16, count: 1 });
  const slab = take(slabs);
  const aborter = new AbortController();
  const aborted = slabs.alloc(16, { signal: aborter.signal });
  const waiting = slabs.alloc();
  aborter.abort(new RangeError("enough"));
  await rejects(aborted, { name: "RangeError", message: /enough/ });
  await rejects(slabs.alloc(16, { signal: AbortSignal.abort(new RangeError("no")) }), {
    name: "RangeError",
  });
  slabs.close();
  await rejects(waiting, endpointClosed);
  assert.equal(slab.closed, true);
  throws(() => slabs.tryAlloc(), endpointClosed);
  await rejects(slabs.alloc(), endpointClosed);
  throws(() => slabs.stats(), endpointClosed);
});

test(
  "a waiting alloc() sleeps, and a free wakes it",
  // In a process in which nothing else does.
  () => runUnwatched("a slab is freed"),
);

// ---- misuse ----

test("pool() rejects what cannot be", () => {
  for (const slab of [0, -1, 1.5, 2 ** 30 + 1, NaN, "16"]) {
    throws(() => pool({ slab: slab as number, count: 1 }), {
      name: refusalOf(slab),
      message: /slab/,
    });
  }
  for (const count of [0, 2 ** 20 + 1, undefined]) {
    throws(() => pool({ slab: 16, count: count as number }), {
      name: refusalOf(count),
      message: /count/,
    });
  }
  throws(() => pool(undefined as never), { name: "TypeError" });
  using slabs = pool({ slab: 16, count: 1 });
  for (const length of [-1, 17, 0.5, null]) {
    throws(() => slabs.tryAlloc(length as number), { name: refusalOf(length), message: /0 to 16/ });
  }
  assert.equal(slabs.stats().free, 1);
});

test("double free, use after free and after send are errors", async () => {
  using slabs = pool({ slab: 16, count: 2 });
  using channel = mpsc(slabs.layout(), { capacity: 4 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const slab = take(slabs);
  const { handle } = slab;
  slab.free();
  throws(() => slab.free(), stale);
  throws(() => slab.resize(1), stale);
  throws(() => sender.trySend(slab), stale);
  throws(() => slabs.free(handle), stale);
  slab[Symbol.dispose]();

  const sent = take(slabs);
  const owned = sent.handle;
  assert.ok(sender.trySend(sent));
  throws(() => sent.free(), stale);
  throws(() => sender.trySend(sent), stale);
  throws(() => slabs.free(owned), stale);
  throws(() => slabs.free(sent.handle), notOwned); // on its way
  const received = await receiver.receive();
  throws(() => slabs.free(sent.handle), stale);
  throws(() => slabs.free(received.handle), notOwned); // the receiver's
  received.free();
  assert.equal(slabs.stats().free, 2);
});

test("a slab of another pool is refused", () => {
  using slabs = pool({ slab: 16, count: 2 });
  using others = pool({ slab: 16, count: 2 });
  using channel = mpsc(slabs.layout(), { capacity: 4 });
  const sender = channel.sender();
  const other = take(others);
  throws(() => sender.trySend(other), foreign);
  throws(() => slabs.free(other.handle), foreign);
  assert.equal(other.closed, false);
  other.free();
  throws(() => slabs.free({ ...take(slabs).handle, index: 2 }), foreign);
  throws(() => slabs.free({} as never), { name: "TypeError" });
  throws(() => slabs.free(undefined as never), { name: "TypeError" });
  for (const value of [undefined, 7, new Uint8Array(16), {}]) {
    throws(() => sender.trySend(value as never), { name: "TypeError", message: /Slab/ });
  }
});

test("freeing what another thread owns is refused", async () => {
  using slabs = pool({ slab: 16, count: 2 });
  const slab = take(slabs);
  const { said } = start({ job: "steal", pool: slabs.ticket(), handle: slab.handle });
  assert.equal((await said as { code: string }).code, "SLAB_NOT_OWNED");
  assert.equal(slab.bytes.length, 16);
});

test("a pool and a slab cannot be posted, and a pool's ticket is good once", async () => {
  using slabs = pool({ slab: 16, count: 2 });
  throws(() => structuredClone(slabs), { name: "DataCloneError" });
  throws(() => structuredClone(take(slabs)), { name: "DataCloneError" });
  const ticket = structuredClone(slabs.ticket());
  const again = Pool.open(ticket);
  assert.equal(again.count, 2);
  again.close();
  again.close();
  throws(() => Pool.open(ticket), { name: "TicketError", code: "TICKET_USED" });
  const revoked = slabs.ticket();
  assert.equal(slabs.revoke(revoked), true);
  assert.equal(slabs.revoke(revoked), false);
  throws(() => Pool.open(revoked), { name: "TicketError", code: "TICKET_USED" });
  throws(() => Pool.open({} as PoolTicket), { name: "TypeError" });
  throws(() => Pool.open({ ...ticket, bells: new SharedArrayBuffer(4) }), {
    name: "TicketError",
    code: "TICKET_FORGED",
  });
  using channel = mpsc(slabs.layout());
  throws(() => Pool.open(channel.senderTicket() as unknown as PoolTicket), { name: "TypeError" });
  const slabTicket = channel.senderTicket();
  throws(() => Pool.open({ ...slabs.ticket(), right: slabTicket.right }), {
    name: "TicketError",
    code: "TICKET_ROLE",
  });
  throws(() => Sender.open({ ...slabTicket, pool: undefined } as never), {
    name: "TicketError",
    code: "TICKET_FORGED",
  });
  using plain = mpsc(bytes);
  throws(
    () => Receiver.open({ ...plain.receiverTicket(), pool: slabTicket.pool } as never),
    { name: "TicketError", code: "TICKET_FORGED" },
  );
  await Promise.resolve();
});

test("memory the program transferred away is never given out again", () => {
  using slabs = pool({ slab: 16, count: 2 });
  const slab = take(slabs);
  const taken = structuredClone(slab.bytes, { transfer: [slab.bytes.buffer as ArrayBuffer] });
  using channel = mpsc(slabs.layout());
  throws(() => channel.sender().trySend(slab), {
    name: "MillraceError",
    code: "MEMORY_TRANSFERRED",
  });
  slab.free();
  assert.deepEqual(slabs.stats(), { free: 1, owned: 0, inFlight: 0, retired: 1, timesEmpty: 0 });
  const other = take(slabs);
  other.bytes.fill(9);
  assert.equal(slabs.tryAlloc(), undefined);
  assert.ok(taken.every((byte) => byte === 0));
  slabs.close();
  assert.equal(taken.length, 16); // mapped still: reading it is harmless
});

test("a slab whose memory was transferred after it was pushed is not published", async () => {
  using slabs = pool({ slab: 16, count: 4 });
  using channel = mpsc(slabs.layout());
  const sender = channel.sender();
  const receiver = channel.receiver();
  const writer = sender.writer({ chunk: 8 });
  const [first, lost, behind] = [take(slabs), take(slabs), take(slabs)];
  for (const slab of [first, lost, behind]) writer.push(slab);
  const taken = structuredClone(lost.bytes, { transfer: [lost.bytes.buffer as ArrayBuffer] });
  throws(() => writer.flush(), transferred);
  assert.deepEqual([lost.closed, behind.closed], [false, false]); // their owner's again
  writer.push(behind);
  writer.flush();
  lost.free();
  const received = [await receiver.receive(), await receiver.receive()];
  for (const slab of received) slab.free();
  assert.deepEqual(slabs.stats(), { free: 3, owned: 0, inFlight: 0, retired: 1, timesEmpty: 0 });
  for (const slab of [take(slabs), take(slabs), take(slabs)]) slab.bytes.fill(9);
  assert.ok(taken.every((byte) => byte === 0));
});

test("a pool that closes under a pushed slab whose memory is gone retires it", async () => {
  using slabs = pool({ slab: 16, count: 2 });
  using channel = mpsc(slabs.layout());
  const sender = channel.sender();
  const opened = Pool.open(slabs.ticket());
  const slab = take(opened);
  const writer = sender.writer({ chunk: 8 });
  writer.push(slab);
  structuredClone(slab.bytes, { transfer: [slab.bytes.buffer as ArrayBuffer] });
  opened.close();
  assert.deepEqual([slabs.stats().retired, slabs.stats().inFlight], [1, 0]);
  await Promise.resolve(); // the flush at the end of the turn
  throws(() => writer.flush(), transferred);
  const other = take(slabs);
  assert.ok(sender.trySend(other));
  assert.equal(slabs.tryAlloc(), undefined);
});

test("withPool(): a slab whose payload was transferred away carries nothing any more", async () => {
  using slabs = pool({ slab: 64, count: 2 });
  using channel = mpsc(bytes).withPool(slabs, { threshold: 8 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  sender.trySend(new Uint8Array(20).fill(1));
  const [payload] = receiver.readable() as unknown as [Uint8Array];
  const taken = structuredClone(payload, { transfer: [payload.buffer as ArrayBuffer] });
  await rejects(receiver.receive(), transferred);
  assert.deepEqual(slabs.stats(), { free: 1, owned: 0, inFlight: 0, retired: 1, timesEmpty: 0 });
  sender.trySend(new Uint8Array(20).fill(2));
  assert.equal((await receiver.receive())[0], 2);
  assert.equal(taken[0], 1);
});

test(
  "memory that a Worker transferred away outlives the Worker and the pool",
  testLimit,
  async () => {
    using slabs = pool({ slab: 4096, count: 1 });
    const { worker, said } = start({ job: "transfer", pool: slabs.ticket() });
    const memory = new Uint8Array(await said as ArrayBuffer);
    assert.equal(memory[0], 1);
    worker.terminate();
    await allFree(slabs); // nobody can tell that it was transferred
    // Its holder and the next owner of the slab do not meet.
    const slab = take(slabs);
    slab.bytes.fill(7);
    memory.fill(9);
    assert.ok(slab.bytes.every((byte) => byte === 7));
    slabs.close();
    assert.ok(memory.length === 4096 && memory.every((byte) => byte === 9)); // mapped still
  },
);

// ---- through channels ----

test("send() moves a slab to the receiver without a copy", async () => {
  using slabs = pool({ slab: 1 << 16, count: 4 });
  using channel = spsc(slabs.layout(), { capacity: 4, initialSequence: 2 ** 31 - 2 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  for (let round = 0; round < 10; round++) {
    const slab = await slabs.alloc(8 + round);
    const view = slab.bytes.fill(round);
    await sender.send(slab);
    assert.equal(view.length, 0);
    using received = await receiver.receive();
    assert.deepEqual(received.bytes, new Uint8Array(8 + round).fill(round));
  }
  assert.equal(slabs.stats().free, 4);
});

test("batches, iteration, writers and windows carry slabs", async () => {
  using slabs = pool({ slab: 16, count: 8 });
  using channel = mpsc(slabs.layout(), { capacity: 8 });
  const receiver = channel.receiver();
  const sender = channel.sender();
  const four = Array.from({ length: 4 }, (_, index) => {
    const slab = take(slabs);
    slab.bytes[0] = index;
    return slab;
  });
  assert.equal(sender.sendBatch(four), 4);
  throws(() => sender.reserve(1), { name: "TypeError" });
  const window = receiver.readable() as unknown as { length: number; at(i: number): Slab };
  assert.equal(window.length, 4);
  const second = window.at(1);
  assert.equal(second.bytes[0], 1);
  receiver.release(3); // those nobody looked at are free
  assert.equal(slabs.stats().inFlight, 1);
  second.free();
  const [last] = receiver.receiveBatch(8) as Slab[];
  assert.equal(last?.bytes[0], 3);
  last?.free();
  assert.equal(slabs.stats().free, 8);

  const writer = sender.writer({ chunk: 4 });
  const pushed = [take(slabs), take(slabs)];
  for (const slab of pushed) writer.push(slab);
  throws(() => pushed[0]?.free(), stale); // on its way
  writer.flush();
  assert.deepEqual(pushed.map(({ bytes }) => bytes.length), [0, 0]);
  sender.close();
  let count = 0;
  for await (const slab of receiver) {
    slab.free();
    count++;
  }
  assert.equal(count, 2);
  assert.equal(slabs.stats().free, 8);
});

test("a batch with a bad slab sends nothing of it, and every slab stays its owner's", () => {
  using slabs = pool({ slab: 16, count: 4 });
  using channel = mpsc(slabs.layout(), { capacity: 8 });
  const sender = channel.sender();
  const one = take(slabs);
  const two = take(slabs);
  throws(() => sender.sendBatch([one, two, one]), stale);
  one.bytes[0] = 1;
  assert.equal(sender.sendBatch([one, two]), 2);
  assert.equal(slabs.stats().inFlight, 2);
});

test("what a closed channel refuses stays its owner's", async () => {
  using slabs = pool({ slab: 16, count: 8 });
  using channel = mpsc(slabs.layout(), { capacity: 2 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const all = Array.from({ length: 6 }, () => take(slabs));
  const [a, b, c, d, e] = all as [Slab, Slab, Slab, Slab, Slab];
  assert.equal(sender.sendBatch([a, b]), 2);
  const waiting = sender.send(c);
  channel.close();
  const refused = await rejects(waiting, channelClosed) as Error & { value: unknown };
  assert.equal(refused.value, c);
  c.bytes[0] = 1; // still ours
  assert.equal(sender.trySend(d), false);
  assert.equal(d.length, 16);
  throws(() => sender.sendBatch([d, e]), channelClosed);
  assert.equal(e.length, 16);
  assert.equal((await collect(receiver)).length, 2);

  using second = mpsc(slabs.layout(), { capacity: 8 });
  const other = second.sender();
  const writer = other.writer({ chunk: 8 });
  writer.push(c);
  writer.push(d);
  second.close();
  const error = throws(() => writer.flush(), channelClosed) as Error & { value: Slab[] };
  assert.deepEqual(error.value, [c, d]);
  c.free();
  d.free();
});

test("slabs in flight return when their channel, or its receiver, is gone", async () => {
  using slabs = pool({ slab: 16, count: 8 });
  // No receiver ever.
  {
    using channel = mpsc(slabs.layout(), { capacity: 8 });
    using sender = channel.sender();
    sender.sendBatch([take(slabs), take(slabs)]);
    assert.equal(slabs.stats().inFlight, 2);
  }
  assert.equal(slabs.stats().free, 8);
  // The receiver closes, the sender lives on.
  {
    using channel = mpsc(slabs.layout(), { capacity: 8, initialSequence: 2 ** 31 - 1 });
    using sender = channel.sender();
    const receiver = channel.receiver();
    sender.sendBatch([take(slabs), take(slabs), take(slabs)]);
    const kept = await receiver.receive();
    const writer = sender.writer();
    const pushed = take(slabs);
    writer.push(pushed);
    receiver.close();
    assert.deepEqual([slabs.stats().inFlight, slabs.stats().owned], [1, 1]);
    throws(() => writer.flush(), channelClosed);
    assert.equal(pushed.length, 16); // it was never sent: still ours
    pushed.free();
    assert.equal(kept.length, 16); // received: it outlives its receiver
    kept.free();
  }
  assert.equal(slabs.stats().free, 8);
  // The pool that allocated is closed while slabs are on their way.
  {
    using channel = mpsc(slabs.layout(), { capacity: 8 });
    using receiver = channel.receiver();
    {
      using sender = channel.sender();
      using opened = Pool.open(slabs.ticket());
      sender.trySend(take(opened));
      sender.writer().push(take(opened));
    }
    const received = await receiver.receive();
    received.free();
  }
  await allFree(slabs);
});

test("memory goes with the last who has the pool or a channel of it", async () => {
  const before = await channelsSettled();
  const slabs = pool({ slab: 16, count: 2 });
  slabs.ticket(); // taken back by the close
  const channel = mpsc(slabs.layout(), { capacity: 2 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  sender.trySend(take(slabs));
  slabs.close();
  const slab = await receiver.receive();
  assert.equal(slab.length, 16);
  sender.close();
  receiver.close();
  channel[Symbol.dispose]();
  assert.equal(channelsAlive(), before + 1);
  slab.free();
  assert.equal(channelsAlive(), before);
});

test("a ticket that nobody uses keeps a pool only while somebody has it open", async () => {
  const before = await channelsSettled();
  const slabs = pool({ slab: 16, count: 2 });
  const second = Pool.open(slabs.ticket());
  const early = slabs.ticket();
  slabs.close();
  const late = second.ticket();
  Pool.open(early).close();
  assert.equal(channelsAlive(), before + 1);
  second.close();
  assert.equal(channelsAlive(), before);
  throws(() => Pool.open(late), { name: "TicketError", code: "TICKET_FREED" });
});

for (const [kind, make] of Object.entries({ mpsc, mpmc })) {
  test(`${kind}: slabs in flight return when a channel nobody receives is disposed of`, () => {
    using slabs = pool({ slab: 4096, count: 3 });
    using sender = (() => {
      using channel = make(bytes).withPool(slabs, { threshold: 8 });
      channel.receiverTicket();
      const sender = channel.sender();
      sender.trySend(new Uint8Array(4000));
      sender.trySend(new Uint8Array(4000));
      assert.equal(slabs.stats().inFlight, 2);
      return sender;
    })();
    assert.equal(slabs.stats().free, 3); // and the sender is still open
    assert.equal(sender.trySend(new Uint8Array(4000)), false);
    assert.equal(slabs.stats().free, 3);
  });
}

test(
  "a sender that waits for a slab is told by whoever closes the channel",
  testLimit,
  async () => {
    using slabs = pool({ slab: 4096, count: 1 });
    const held = take(slabs);
    const { setInterval: real } = globalThis;
    const { load } = Atomics;
    // No watch: whoever sleeps must be woken.
    globalThis.setInterval = (() => real(() => {}, 60_000)) as unknown as typeof setInterval;
    try {
      for (const how of ["close", "dispose", "receiver", "before the sleep"] as const) {
        using channel = mpsc(bytes, { capacity: 256, pollBudget: 0 })
          .withPool(slabs, { threshold: 64 });
        using sender = channel.sender();
        const receiver = channel.receiver();
        if (how === "before the sleep") {
          // As if another thread closed it between the look at the channel and the arm.
          Atomics.load = ((words: Int32Array, index: number) => {
            Atomics.load = load;
            channel.close();
            return load(words, index);
          }) as typeof Atomics.load;
        }
        const waiting = sender.send(new Uint8Array(1000));
        assert.equal(Atomics.load, load);
        if (how !== "before the sleep") assert.ok(await isPending(waiting));
        if (how === "close") channel.close();
        if (how === "dispose") channel[Symbol.dispose]();
        if (how === "receiver") receiver.close();
        await rejects(waiting, channelClosed);
        receiver.close();
      }
    } finally {
      globalThis.setInterval = real;
    }
    held.free();
  },
);

test("an alloc() that sleeps is told when a closing pool or receiver frees slabs", async () => {
  using slabs = pool({ slab: 4096, count: 1, pollBudget: 0 });
  const { setInterval: real } = globalThis;
  globalThis.setInterval = (() => real(() => {}, 60_000)) as unknown as typeof setInterval;
  try {
    using channel = mpsc(bytes).withPool(slabs, { threshold: 64 });
    using sender = channel.sender();
    const receiver = channel.receiver();
    sender.trySend(new Uint8Array(1000));
    const waiting = slabs.alloc();
    assert.ok(await isPending(waiting));
    receiver.close();
    (await within(waiting, "the slab in flight")).free();

    const opened = Pool.open(slabs.ticket());
    take(opened);
    const again = slabs.alloc();
    assert.ok(await isPending(again));
    opened.close();
    (await within(again, "the slab of the other pool")).free();
  } finally {
    globalThis.setInterval = real;
  }
});

test("Workers fill slabs and pass them on; every byte arrives", testLimit, async () => {
  using slabs = pool({ slab: 4096, count: 6 });
  using first = mpsc(slabs.layout(), { capacity: 8 });
  using second = mpsc(slabs.layout(), { capacity: 8 });
  const count = 300;
  const jobs: PoolJob[] = [
    { job: "pass", from: first.receiverTicket(), to: second.senderTicket() },
    { job: "produce", pool: slabs.ticket(), to: first.senderTicket(), count },
    { job: "produce", pool: slabs.ticket(), to: first.senderTicket(), count },
  ];
  const said = jobs.map((job) => start(job).said);
  const lengths = new Map<number, number>();
  await within(
    (async () => {
      for await (const slab of second.receiver()) {
        const value = ((slab.length - 1) & 0xff) + 1 & 0xff;
        assert.ok(slab.bytes.every((byte) => byte === value), `slab of ${slab.length} bytes`);
        lengths.set(slab.length, (lengths.get(slab.length) ?? 0) + 1);
        slab.free();
      }
    })(),
    "the slabs",
    60_000,
  );
  assert.deepEqual(await Promise.all(said), ["done", "done", "done"]);
  assert.equal(lengths.size, count);
  assert.ok([...lengths.values()].every((times) => times === 2));
  await allFree(slabs);
});

test("a Worker's slabs return when it is terminated", testLimit, async () => {
  using slabs = pool({ slab: 4096, count: 4 });
  const { worker, said } = start({ job: "hold", pool: slabs.ticket(), count: 4 });
  assert.equal(await said, "held");
  const waiting = slabs.alloc(); // asleep when the Worker dies: the watch finds out
  assert.ok(await isPending(waiting));
  worker.terminate();
  (await within(waiting, "a slab of the dead Worker")).free();
  await allFree(slabs);
});

test("no slab is lost when a Worker dies at any moment", testLimit, async () => {
  using slabs = pool({ slab: 4096, count: 12 });
  for (let round = 0; round < 12; round++) {
    const victims: Worker[] = [];
    using there = mpsc(slabs.layout(), { capacity: 4 });
    using back = mpsc(slabs.layout(), { capacity: 4 });
    const [one, two] = [
      start({
        job: "churn",
        pool: slabs.ticket(),
        to: there.senderTicket(),
        from: back.receiverTicket(),
        seed: round,
      }),
      start({
        job: "churn",
        pool: slabs.ticket(),
        to: back.senderTicket(),
        from: there.receiverTicket(),
        seed: round + 1000,
      }),
    ];
    assert.deepEqual(await Promise.all([one.said, two.said]), ["busy", "busy"]);
    victims.push(one.worker, two.worker);
    await new Promise((resolve) => setTimeout(resolve, round));
    for (const worker of victims) worker.terminate();
    // The channels live: what was sent and will never be received returns all the same.
    await allFree(slabs);
  }
});

// ---- receivers that share a channel ----

for (const [kind, make] of Object.entries({ mpmc, spmc })) {
  test(`${kind}: each slab goes to one receiver`, () => {
    using slabs = pool({ slab: 16, count: 12 });
    using channel = make(slabs.layout(), { capacity: 16, maxReceivers: 3 });
    const sender = channel.sender();
    const receivers = [channel.receiver(), channel.receiver()];
    const sent = Array.from({ length: 12 }, (_, index) => {
      const slab = take(slabs);
      slab.bytes[0] = index;
      return slab;
    });
    assert.equal(sender.sendBatch(sent), 12);
    const seen: number[] = [];
    for (let turn = 0; seen.length < 12; turn++) {
      const result = (receivers[turn & 1] as Receiver<Slab>).tryReceive();
      if (result.state !== "ok") continue;
      seen.push(result.value.bytes[0] as number);
      result.value.free();
    }
    assert.deepEqual(seen.toSorted((a, b) => a - b), sent.map((_, index) => index));
    assert.equal(slabs.stats().free, 12);

    sender.sendBatch([take(slabs), take(slabs)]);
    receivers[0]?.close();
    assert.equal(slabs.stats().inFlight, 2); // the other one can still receive
    receivers[1]?.close();
    assert.equal(slabs.stats().free, 12);
  });

  test(
    `${kind}: a receiver that dies leaves the others what it had not taken`,
    testLimit,
    async () => {
      using slabs = pool({ slab: 16, count: 4 });
      using channel = make(slabs.layout(), { capacity: 16, maxReceivers: 3 });
      const sender = channel.sender();
      const receiver = channel.receiver();
      for (let index = 1; index <= 4; index++) {
        const slab = take(slabs, 1);
        slab.bytes[0] = index;
        sender.trySend(slab);
      }
      const { worker, said } = start({ job: "peek", from: channel.receiverTicket() });
      assert.equal(await said, 4);
      worker.terminate();
      const received: Slab[] = [];
      while (received.length < 4) {
        received.push(await within(receiver.receive(), "what the dead one had"));
      }
      // The first was the dead one's own: it has returned to the pool.
      assert.deepEqual(received.map(({ closed }) => closed), [true, false, false, false]);
      assert.deepEqual(received.map(({ bytes }) => bytes[0]), [undefined, 2, 3, 4]);
      throws(() => received[0]?.free(), stale);
      for (const slab of received) slab[Symbol.dispose]();
      await allFree(slabs);
    },
  );

  test(`${kind}: messages in a pool come again whole`, testLimit, async () => {
    using slabs = pool({ slab: 4096, count: 4 });
    using channel = make(bytes, { capacity: 1024, maxReceivers: 3 })
      .withPool(slabs, { threshold: 16 });
    const sender = channel.sender();
    const receiver = channel.receiver();
    const messages = [1, 2, 3, 4].map((index) => new Uint8Array(1000 * index).fill(index));
    for (const message of messages) sender.trySend(message);
    const { worker, said } = start({ job: "peek", from: channel.receiverTicket() });
    assert.equal(await said, 4);
    worker.terminate();
    const received: Uint8Array[] = [];
    while (received.length < 4) {
      received.push(await within(receiver.receive(), "what the dead one had"));
    }
    assert.deepEqual(received, messages);
    await allFree(slabs);
  });
}

// ---- against a model ----

test("any sequence of steps agrees with a model", testLimit, () => {
  const count = 5;
  const capacity = 4;
  const step = fc.oneof(
    fc.constant({ kind: "alloc" } as const),
    fc.record({ kind: fc.constant("free" as const), at: fc.nat(7) }),
    fc.record({ kind: fc.constant("send" as const), at: fc.nat(7) }),
    fc.record({ kind: fc.constant("push" as const), at: fc.nat(7) }),
    fc.constant({ kind: "flush" } as const),
    fc.constant({ kind: "receive" } as const),
    fc.record({ kind: fc.constant("misuse" as const), at: fc.nat(20) }),
    fc.constant({ kind: "reopen" } as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      using slabs = pool({ slab: 64, count });
      let channel: Channel<Slab> = mpsc(slabs.layout(), { capacity, initialSequence: 2 ** 31 - 3 });
      let sender = channel.sender();
      let receiver = channel.receiver();
      let writer = sender.writer({ chunk: 100 });
      let next = 0;
      const held: { slab: Slab; value: number }[] = [];
      let pushed: { slab: Slab; value: number }[] = [];
      let ring: number[] = [];
      const gone: Slab[] = [];
      const check = () => {
        const free = count - held.length - pushed.length - ring.length;
        const { owned, inFlight, ...rest } = slabs.stats();
        assert.deepEqual(
          { free: rest.free, owned, inFlight },
          { free, owned: held.length, inFlight: ring.length + pushed.length },
        );
        for (const { slab, value } of held) assert.equal(slab.bytes[0], value);
        for (const slab of gone) assert.equal(slab.bytes.length, 0);
      };
      const publish = () => {
        for (const { slab, value } of pushed) {
          gone.push(slab);
          ring.push(value);
        }
        pushed = [];
      };
      for (const step of steps) {
        if (step.kind === "alloc") {
          const slab = slabs.tryAlloc();
          assert.equal(slab !== undefined, held.length + pushed.length + ring.length < count);
          if (slab === undefined) continue;
          const value = next++ & 0xff;
          slab.bytes[0] = value;
          held.push({ slab, value });
        } else if (step.kind === "receive") {
          const result = receiver.tryReceive();
          assert.equal(result.state, ring.length === 0 ? "empty" : "ok");
          if (result.state !== "ok") continue;
          assert.equal(result.value.bytes[0], ring[0]);
          held.push({ slab: result.value, value: ring.shift() as number });
        } else if (step.kind === "flush") {
          writer.flush();
          publish();
        } else if (step.kind === "misuse") {
          const slab = gone[step.at % gone.length];
          if (slab === undefined) continue;
          throws(() => slab.free(), stale);
          throws(() => sender.trySend(slab), stale);
        } else if (step.kind === "reopen") {
          // Closing publishes what was pushed; then everything in flight is lost, and returns.
          sender.close();
          publish();
          receiver.close();
          channel[Symbol.dispose]();
          ring = [];
          channel = mpsc(slabs.layout(), { capacity });
          sender = channel.sender();
          receiver = channel.receiver();
          writer = sender.writer({ chunk: 100 });
        } else {
          const at = step.at % held.length;
          const entry = held[at];
          if (entry === undefined) continue;
          if (step.kind === "free") {
            entry.slab.free();
            gone.push(entry.slab);
            held.splice(at, 1);
          } else {
            const hasRoom = ring.length + pushed.length < capacity;
            const isSent = step.kind === "send"
              ? sender.trySend(entry.slab)
              : writer.tryPush(entry.slab);
            assert.equal(isSent, hasRoom);
            if (step.kind === "push" && hasRoom) {
              pushed.push(entry);
            } else {
              // What was pushed before goes first, also when there was no room.
              publish();
              if (isSent) {
                gone.push(entry.slab);
                ring.push(entry.value);
              }
            }
            if (isSent) held.splice(at, 1);
          }
        }
        check();
      }
      writer.flush();
      sender.close();
      receiver.close();
      channel[Symbol.dispose]();
    }),
    { numRuns: 300 },
  );
});

// ---- withPool ----

const reversed = custom<string>({
  name: "pool reversed",
  encode: (value) => new TextEncoder().encode([...value].reverse().join("")),
  decode: (bytes) => [...new TextDecoder().decode(bytes.slice())].reverse().join(""),
});

const payloads: readonly {
  readonly name: string;
  readonly layout: Layout<unknown>;
  readonly make: (bytes: number) => unknown;
}[] = [
  {
    name: "bytes",
    layout: bytes as unknown as Layout<unknown>,
    make: (length) => new Uint8Array(length).map((_, index) => index * 7),
  },
  { name: "utf8", layout: utf8 as Layout<unknown>, make: (length) => "a".repeat(length) },
  {
    name: "utf8, not ASCII",
    layout: utf8 as Layout<unknown>,
    make: (length) => "ü".repeat(length >> 1) + "a".repeat(length & 1),
  },
  {
    name: "json",
    layout: json as Layout<unknown>,
    make: (length) => ({ text: "j".repeat(length), number: length }),
  },
  { name: "custom", layout: reversed as Layout<unknown>, make: (length) => "xy".repeat(length) },
];

for (const { name, layout, make } of payloads) {
  test(`withPool() sends ${name} of every length, around the threshold too`, async () => {
    using slabs = pool({ slab: 50_001, count: 4 });
    using channel = mpsc(layout, { capacity: 2048 }).withPool(slabs, { threshold: 500 });
    const sender = Sender.open(channel.senderTicket());
    const receiver = Receiver.open(channel.receiverTicket()) as Receiver<unknown>;
    const lengths = [0, 1, 250, 498, 499, 500, 501, 502, 1000, 1016, 1017, 4000, 20_000];
    for (const length of lengths) {
      const value = make(length);
      await within(sender.send(value), `the send of ${length}`);
      assert.deepEqual(await within(receiver.receive(), `${length} bytes`), value);
    }
    assert.equal(slabs.stats().free, 4);
    // Many at once, in order, more than there are slabs.
    const values = Array.from({ length: 60 }, (_, index) => make(index * 37 % 2500));
    const all = sender.sendAll(values);
    const received: unknown[] = [];
    while (received.length < values.length) {
      await within(receiver.ready(), "the next batch");
      received.push(...receiver.receiveBatch(3) as unknown[]);
    }
    await all;
    assert.deepEqual(received, values);
    assert.equal(slabs.stats().free, 4);
    const writer = sender.writer({ chunk: 3 });
    for (const value of values.slice(0, 3)) writer.push(value);
    sender.close();
    assert.deepEqual(await collect(receiver), values.slice(0, 3));
    receiver.close();
    assert.equal(slabs.stats().free, 4);
  });
}

/** Every way to send one message, without waiting for the receiver. */
const waysToSend: Record<string, (sender: Sender<Uint8Array>, value: Uint8Array) => unknown> = {
  send: (sender, value) => sender.send(value),
  trySend: (sender, value) => assert.equal(sender.trySend(value), true),
  sendSync: (sender, value) => sender.sendSync(value),
  sendBatch: (sender, value) => assert.equal(sender.sendBatch([value]), 1),
  sendAll: (sender, value) => sender.sendAll([value]),
  sendAllSync: (sender, value) => sender.sendAllSync([value]),
  writer(sender, value) {
    using writer = sender.writer();
    writer.push(value);
  },
  async ready(sender, value) {
    await sender.ready({ bytes: value.length });
    assert.equal(sender.trySend(value), true);
  },
};

test("withPool() sends whatever a slab holds, by every verb, through a ring of every size", async () => {
  const slabBytes = 40_000;
  for (const capacity of [1, 64, 128, 256, 4096, 65536]) {
    for (const threshold of [undefined, 0, 30, slabBytes]) {
      using slabs = pool({ slab: slabBytes, count: 2 });
      using channel = mpsc(bytes, { capacity }).withPool(
        slabs,
        threshold === undefined ? {} : { threshold },
      );
      const sender = channel.sender();
      const receiver = channel.receiver();
      const half = channel.capacity / 2;
      const lengths = [0, 15, 16, 17, half - 9, half - 8, half - 7, half, half + 1, 2 * half]
        .concat([16383, 16384, 16385, slabBytes])
        .filter((length) => length <= slabBytes);
      for (const [verb, send] of Object.entries(waysToSend)) {
        for (const length of lengths) {
          const what = `${verb} of ${length} bytes through ${capacity} above ${threshold}`;
          const value = new Uint8Array(length).fill(length);
          await within(Promise.resolve(send(sender, value)), what);
          assert.deepEqual(await within(receiver.receive(), what), value, what);
        }
      }
      assert.equal(slabs.stats().free, 2);
      throws(() => sender.trySend(new Uint8Array(Math.max(slabBytes, half) + 1)), {
        name: "RangeError",
        message: /40000 \(a slab\)/,
      });
    }
  }
});

test("withPool(): a message too long for the ring waits for a slab, also below the threshold", async () => {
  using slabs = pool({ slab: 4096, count: 1 });
  using channel = mpsc(bytes, { capacity: 1024 }).withPool(slabs);
  const sender = channel.sender();
  const receiver = channel.receiver();
  const slab = slabs.tryAlloc();
  const long = new Uint8Array(1000).fill(1);
  assert.equal(sender.trySend(long), false);
  const sent = sender.send(long);
  assert.equal(await isPending(sent), true);
  slab?.free();
  await within(sent, "the send");
  assert.deepEqual(await receiver.receive(), long);
});

test("withPool(): messages above the threshold use slabs, those below do not", async () => {
  using slabs = pool({ slab: 4096, count: 2 });
  using channel = mpsc(bytes, { capacity: 8192 }).withPool(slabs, { threshold: 100 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  sender.trySend(new Uint8Array(100));
  assert.equal(slabs.stats().inFlight, 0);
  sender.trySend(new Uint8Array(101));
  assert.equal(slabs.stats().inFlight, 1);
  sender.trySend(new Uint8Array(4096));
  assert.equal(slabs.stats().inFlight, 2);
  // No slab is free: through the ring.
  sender.trySend(new Uint8Array(200).fill(5));
  assert.deepEqual(takeAll(receiver).map(({ length }) => length), [100, 101, 4096, 200]);
  assert.equal(slabs.stats().free, 2);

  sender.trySend(new Uint8Array(3000).fill(3));
  const [payload] = receiver.readable() as Uint8Array[];
  assert.deepEqual(payload, new Uint8Array(3000).fill(3));
  assert.equal(slabs.stats().inFlight, 1);
  receiver.release();
  assert.equal(slabs.stats().free, 2);
  throws(() => sender.trySend(new Uint8Array(4097)), {
    name: "RangeError",
    message: /4096 \(a slab/,
  });
  await within(sender.ready({ bytes: 4096 }), "room for a slab's handle");
  await rejects(sender.ready({ bytes: 5000 }), { name: "RangeError" });

  // An iteration frees what it has seen.
  const loop = receiver[Symbol.asyncIterator]();
  for (let round = 0; round < 5; round++) {
    await sender.send(new Uint8Array(4000).fill(round));
    const { value } = await loop.next();
    assert.equal((value as Uint8Array)[0], round);
    assert.equal(slabs.stats().free, 2);
  }
});

test("withPool(): a message can have every byte of a slab, and no more", () => {
  using slabs = pool({ slab: 1003, count: 2 });
  using channel = mpsc(bytes, { capacity: 256 }).withPool(slabs, { threshold: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const message = new Uint8Array(1003).map((_, index) => index * 7);
  assert.ok(sender.trySend(message));
  assert.deepEqual(takeAll(receiver), [message]);
  throws(() => sender.trySend(new Uint8Array(1004)), { name: "RangeError", message: /1003 \(a/ });
});

test("withPool(): a message longer than the ring waits for a slab, and ends with the channel", async () => {
  using slabs = pool({ slab: 4096, count: 1 });
  using channel = mpsc(bytes, { capacity: 256 }).withPool(slabs, { threshold: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const held = take(slabs);
  assert.equal(sender.trySend(new Uint8Array(1000)), false);
  throws(() => sender.sendSync(new Uint8Array(1000), { timeout: 1 }), { name: "TimeoutError" });
  const waiting = sender.send(new Uint8Array(1000));
  const behind = sender.send(new Uint8Array(1));
  assert.ok(await isPending(waiting));
  held.free();
  await within(Promise.all([waiting, behind]), "the sends");
  assert.deepEqual(takeAll(receiver).map(({ length }) => length), [1000, 1]);

  const again = take(slabs);
  const all = sender.sendAll([new Uint8Array(1000), new Uint8Array(1001)]);
  assert.ok(await isPending(all));
  again.free();
  assert.equal((await within(receiver.receive(), "the first")).length, 1000);
  assert.equal((await within(receiver.receive(), "the second")).length, 1001);
  await all;

  const last = take(slabs);
  const refused = sender.send(new Uint8Array(1000));
  assert.ok(await isPending(refused));
  channel.close();
  await rejects(refused, channelClosed);
  last.free();
});

test("withPool(): a message of the threshold itself waits for room, and takes no slab", () => {
  using slabs = pool({ slab: 4096, count: 2 });
  using channel = mpsc(bytes, { capacity: 256 }).withPool(slabs, { threshold: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const message = new Uint8Array(64);
  for (let sent = 0; sent < 3; sent++) assert.ok(sender.trySend(message));
  // There is room for the handle of a slab, and not for the message.
  assert.equal(sender.trySend(message), false);
  assert.equal(slabs.stats().free, 2);
  assert.ok(sender.trySend(new Uint8Array(65)));
  assert.equal(slabs.stats().inFlight, 1);
  assert.deepEqual(takeAll(receiver).map(({ length }) => length), [64, 64, 64, 65]);
});

test("withPool(): with no slab free, what fits the ring waits for room in it", async () => {
  using slabs = pool({ slab: 4096, count: 1 });
  using channel = mpsc(bytes, { capacity: 256 }).withPool(slabs, { threshold: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const held = take(slabs);
  for (const length of [104, 104, 8]) assert.ok(sender.trySend(new Uint8Array(length)));
  receiver.receiveBatch(1);
  // There is room for the handle of a slab, and not for the message.
  assert.equal(sender.trySend(new Uint8Array(110)), false);
  const waiting = sender.send(new Uint8Array(110));
  assert.ok(await isPending(waiting));
  receiver.receiveBatch(1);
  await within(waiting, "room");
  assert.deepEqual(takeAll(receiver).map(({ length }) => length), [8, 110]);
  held.free();
});

test("withPool(): what is not sent or not received returns", () => {
  using slabs = pool({ slab: 4096, count: 4 });
  {
    using channel = mpsc(bytes, { capacity: 1024 }).withPool(slabs, { threshold: 64 });
    using sender = channel.sender();
    const receiver = channel.receiver();
    const writer = sender.writer({ chunk: 10 });
    sender.trySend(new Uint8Array(1000));
    writer.push(new Uint8Array(1001));
    assert.equal(slabs.stats().inFlight, 2);
    channel.close();
    const error = throws(() => writer.flush(), channelClosed) as Error & { value: Uint8Array[] };
    assert.deepEqual(error.value.map(({ length }) => length), [1001]);
    assert.equal(slabs.stats().inFlight, 1);
    receiver.close();
    assert.equal(slabs.stats().free, 4);
  }
  {
    using channel = mpsc(json, { capacity: 1024 }).withPool(slabs, { threshold: 64 });
    const sender = channel.sender();
    const bad = { text: "x".repeat(100), toJSON: () => undefined };
    throws(() => sender.trySend(bad as never), { name: "TypeError" });
    let calls = 0;
    const growing = { toJSON: () => "x".repeat(calls++ === 0 ? 100 : 10_000) };
    throws(() => sender.trySend(growing as never), { name: "RangeError" });
    const throwing = {
      toJSON() {
        if (calls++ > 2) throw new EvalError("no");
        return "x".repeat(100);
      },
    };
    throws(() => sender.trySend(throwing as never), { name: "EvalError" });
    assert.equal(slabs.stats().free, 4);
  }
});

test(
  "withPool(): a Worker that dies while it sends leaves whole messages and every slab",
  testLimit,
  async () => {
    using slabs = pool({ slab: 4096, count: 6 });
    for (let round = 0; round < 10; round++) {
      using channel = mpsc(bytes, { capacity: 4096 }).withPool(slabs, { threshold: 200 });
      const receiver = channel.receiver();
      const { worker, said } = start({ job: "stream", to: channel.senderTicket() });
      let index = 0;
      let isDying = false;
      for await (const message of receiver) {
        index++;
        assert.deepEqual(message, new Uint8Array(index * 997 % 4097).fill(index));
        if (index < 25 + round || isDying) continue;
        isDying = true;
        await said;
        worker.terminate();
      }
      await allFree(slabs);
      // The same with nobody to receive what it had sent.
      using unread = mpsc(bytes, { capacity: 4096 }).withPool(slabs, { threshold: 200 });
      const deaf = unread.receiver();
      const other = start({ job: "stream", to: unread.senderTicket() });
      for (let count = 0; count < 21; count++) await within(deaf.receive(), "a message");
      await other.said;
      deaf.close();
      other.worker.terminate();
      await allFree(slabs);
    }
  },
);

test("withPool(): what cannot be decoded is met once, and frees its slab", () => {
  const failing = custom<string>({
    name: "pool failing",
    encode: (value) => new TextEncoder().encode(value),
    decode: (bytes) => {
      if (bytes[0] === 66) throw new EvalError("B");
      return new TextDecoder().decode(bytes.slice());
    },
  });
  using slabs = pool({ slab: 4096, count: 4 });
  using channel = mpsc(failing, { capacity: 1024 }).withPool(slabs, { threshold: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  for (const letter of "ABC") sender.trySend(letter.repeat(100));
  assert.equal(receiver.receiveBatch(3).length, 1);
  assert.equal(slabs.stats().inFlight, 2);
  throws(() => receiver.receiveBatch(3), { name: "EvalError" });
  assert.equal(receiver.receiveBatch(3).length, 1);
  assert.equal(slabs.stats().free, 4);
});

test("what is behind an aborted wait for a slab, and needs none, is sent", async () => {
  using slabs = pool({ slab: 4096, count: 1 });
  using channel = mpsc(bytes, { capacity: 256, pollBudget: 0 }).withPool(slabs, { threshold: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const last = take(slabs);
  const aborter = new AbortController();
  const large = sender.send(new Uint8Array(2000), { signal: aborter.signal });
  const small = sender.send(new Uint8Array([7]));
  assert.ok(await isPending(small));
  aborter.abort(new RangeError("enough"));
  await rejects(large, { name: "RangeError", message: /enough/ });
  await within(small, "the send behind the aborted one");
  assert.deepEqual([...await receiver.receive()], [7]);
  last.free();
});

test("a slab that is looked at twice, or whose batch cannot be filled, is not lost", () => {
  using slabs = pool({ slab: 16, count: 2 });
  using channel = mpsc(slabs.layout(), { capacity: 4 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  sender.trySend(take(slabs));
  throws(() => receiver.receiveBatch(Object.freeze<Slab[]>([take(slabs)])), { name: "TypeError" });
  const [first] = Array.from({ length: 2 }, () => receiver.readable() as { at(i: number): Slab })
    .map((window) => window.at(0));
  const again = receiver.tryReceive();
  assert.ok(again.state === "ok" && again.value === first && !again.value.closed);
  again.value.free();
  assert.equal(slabs.stats().free, 1);
});

test("alloc() with something that is no signal takes no slab, now or later", async () => {
  using slabs = pool({ slab: 16, count: 1 });
  const slab = take(slabs);
  await rejects(slabs.alloc(16, { signal: {} as AbortSignal }), { name: "TypeError" });
  slab.free();
  take(slabs).free();
});

test("withPool() comes once, first, and for layouts of variable length", () => {
  using slabs = pool({ slab: 4096, count: 4 });
  using numbers = mpsc(u32);
  throws(() => numbers.withPool(slabs), { name: "TypeError" });
  using frames = mpsc(slabs.layout());
  throws(() => frames.withPool(slabs), { name: "TypeError" });
  using channel = mpsc(bytes);
  throws(() => channel.withPool({} as Pool), { name: "TypeError" });
  throws(() => channel.withPool(slabs, { threshold: -1 }), { name: "RangeError" });
  assert.equal(channel.withPool(slabs), channel);
  throws(() => channel.withPool(slabs), { name: "TypeError" });
  using late = mpsc(bytes);
  late.sender();
  throws(() => late.withPool(slabs), { name: "TypeError" });
  const closed = pool({ slab: 16, count: 1 });
  const layout = closed.layout();
  closed.close();
  throws(() => mpsc(layout), endpointClosed);
  using another = mpsc(bytes);
  throws(() => another.withPool(closed), endpointClosed);
});
