import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { mpsc, pool, u32 } from "../mod.ts";
import { limitsOf, PendingPromise, PendingQueue } from "../src/pending.ts";
import { isPending, rejectionOf, rejects, within } from "./support/bounded.ts";
import { fill, pair } from "./support/channels.ts";

const timeout = { name: "TimeoutError", code: "TIMEOUT" };

/** A wait by its name. */
class Named extends PendingPromise<string> {
  readonly name: string;

  constructor(name: string) {
    super();
    this.name = name;
    this.promise.catch(() => {});
  }
}

/** A queue of waits by their names, and what was given up in it. */
function named(...names: string[]) {
  const givenUp: boolean[] = [];
  const queue = new PendingQueue<Named>((wasFirst) => void givenUp.push(wasFirst));
  const waits = names.map((name) => new Named(name));
  for (const wait of waits) queue.push(wait, undefined);
  const rest = () => queue.takeAll().map(({ name }) => name);
  return { queue, waits: waits as [Named, Named, Named], givenUp, rest };
}

/** A signal that counts its listeners. */
function countedSignal() {
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners--;
    remove(...args);
  };
  return { controller, signal, listeners: () => listeners };
}

test("PendingQueue keeps the order, whatever is removed from where", () => {
  const { queue, waits: [a, b, c], rest } = named("a", "b", "c");
  assert.equal(queue.first, a);
  assert.equal(queue.remove(b), true);
  assert.equal(queue.remove(b), false);
  assert.deepEqual([queue.length, a.isPending, b.isPending], [2, true, false]);
  assert.equal(queue.shift(), a);
  assert.equal(queue.first, c);
  queue.push(new Named("d"), undefined);
  assert.equal(queue.remove(c), true);
  queue.push(new Named("e"), undefined);
  assert.deepEqual(rest(), ["d", "e"]);
  assert.deepEqual([queue.length, queue.first, queue.shift()], [0, undefined, undefined]);
});

test("PendingQueue: a wait of one queue is not removed by another", () => {
  const { waits: [a], rest } = named("a");
  assert.equal(named().queue.remove(a), false);
  assert.deepEqual(rest(), ["a"]);
});

test("PendingQueue: an abort takes its waits out of every queue, and leaves the others", async () => {
  const one = named("a", "b");
  const other = named("c");
  const { controller, signal, listeners } = countedSignal();
  const limits = limitsOf("wait", { signal });
  const aborted = ["x", "y", "z"].map((name) => new Named(name)) as [Named, Named, Named];
  one.queue.remove(one.waits[0]);
  one.queue.push(aborted[0], limits);
  one.queue.push(new Named("d"), undefined);
  one.queue.push(aborted[1], limits);
  other.queue.push(aborted[2], limits);
  assert.equal(listeners(), 1, "one listener, however many wait");
  const reason = { why: "enough" };
  controller.abort(reason);
  for (const { promise } of aborted) assert.equal(await rejectionOf(promise), reason);
  assert.deepEqual([one.rest(), other.rest()], [["b", "d"], ["c"]]);
  assert.deepEqual(one.givenUp, [false, false]);
  assert.equal(listeners(), 0);
});

test("PendingQueue: a wait that ends takes its listener and its timer with it", async () => {
  const { queue, givenUp } = named();
  const { controller, signal, listeners } = countedSignal();
  const wait = new Named("a");
  queue.push(wait, limitsOf("wait", { signal, timeout: 1 }));
  const later = new Named("b");
  queue.push(later, limitsOf("wait", { signal }));
  queue.remove(wait);
  wait.resolve("done");
  assert.equal(listeners(), 1);
  queue.remove(later);
  assert.equal(listeners(), 0);
  controller.abort();
  assert.equal(await wait.promise, "done");
  assert.ok(await isPending(later.promise));
  assert.deepEqual(givenUp, []);
});

test("PendingQueue: a timeout rejects with TimeoutError, and says whether the first has gone", async () => {
  const { queue, givenUp } = named();
  const [first, second] = [new Named("a"), new Named("b")];
  const keepsAlive = setInterval(() => {}, 1000);
  queue.push(first, limitsOf("catch a fish", { timeout: 20 }));
  queue.push(second, limitsOf("catch a fish", { timeout: 0 }));
  await rejects(second.promise, { ...timeout, message: /^Cannot catch a fish: waited 0 ms/ });
  assert.deepEqual(givenUp, [false]);
  await rejects(first.promise, timeout);
  assert.deepEqual(givenUp, [false, true]);
  clearInterval(keepsAlive);
});

test("PendingQueue: a timeout longer than a timer lasts does not fire at once", async () => {
  const { queue } = named();
  for (const timeout of [2 ** 31, 2 ** 40, Infinity]) {
    const wait = new Named("a");
    queue.push(wait, limitsOf("wait", { timeout }));
    assert.ok(await isPending(wait.promise));
    queue.remove(wait);
  }
});

test("PendingQueue: a signal that cannot be listened to leaves nothing in the queue", () => {
  const { queue, rest } = named();
  const refuses = {
    aborted: false,
    addEventListener: () => {
      throw new Error("no listeners here");
    },
    removeEventListener: () => {},
  } as unknown as AbortSignal;
  assert.throws(() => queue.push(new Named("a"), limitsOf("wait", { signal: refuses })), {
    message: "no listeners here",
  });
  const aborts = {
    aborted: false,
    reason: "gone",
    addEventListener(this: { aborted: boolean }) {
      this.aborted = true;
    },
    removeEventListener: () => {},
  } as unknown as AbortSignal;
  const limits = limitsOf("wait", { signal: aborts });
  assert.throws(() => queue.push(new Named("b"), limits), (reason) => reason === "gone");
  assert.deepEqual(rest(), []);
});

test("limitsOf() refuses what is no limit, and throws the reason of an aborted signal", () => {
  assert.equal(limitsOf("wait", undefined), undefined);
  assert.equal(limitsOf("wait", {}), undefined);
  for (const timeout of ["1", null, {}]) {
    assert.throws(() => limitsOf("wait", { timeout: timeout as number }), {
      name: "TypeError",
      message: /Cannot wait: timeout must be a number of milliseconds/,
    });
  }
  for (const timeout of [-1, NaN]) {
    assert.throws(() => limitsOf("wait", { timeout }), { name: "RangeError" });
  }
  const notSignals: unknown[] = [{}, null, 1, { aborted: false, addEventListener: () => {} }];
  for (const signal of notSignals) {
    assert.throws(() => limitsOf("wait", { signal: signal as AbortSignal }), { name: "TypeError" });
  }
  const signal = AbortSignal.abort("stop");
  assert.throws(() => limitsOf("wait", { signal }), (reason) => reason === "stop");
});

test("a signal that is aborted ends every wait of a sender, pool and channel, also where none is needed", async () => {
  using both = pair(u32, { capacity: 4 });
  const { channel, sender, receiver } = both;
  using slabs = pool({ slab: 64, count: 1 });
  const signal = AbortSignal.abort("stop");
  const calls = [
    () => sender.send(1, { signal }),
    () => sender.sendAll([1, 2], { signal }),
    () => sender.sendAll([], { signal }),
    () => sender.ready({ signal }),
    () => sender.writer().ready({ signal }),
    () => slabs.alloc(1, { signal }),
    () => channel.drained({ signal }),
  ];
  for (const call of calls) assert.equal(await rejectionOf(call()), "stop", String(call));
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });
  assert.equal(slabs.stats().free, 1);
});

test("a timeout ends every wait of a sender, pool and channel; what it waited for is not lost", async () => {
  using both = pair(u32, { capacity: 1 });
  const { channel, sender, receiver } = both;
  using slabs = pool({ slab: 64, count: 1 });
  using slab = await slabs.alloc();
  fill(sender, () => 7);
  const limits = { timeout: 1 };
  const calls = [
    () => sender.send(1, limits),
    () => sender.sendAll([1, 2], limits),
    () => sender.ready(limits),
    () => sender.writer().ready(limits),
    () => slabs.alloc(1, limits),
    () => channel.drained(limits),
  ];
  for (const call of calls) await rejects(call(), timeout);
  slab.free();
  assert.ok(slabs.tryAlloc());
  assert.equal(receiver.receiveBatch(9)[0], 7);
  assert.equal(sender.trySend(8), true);
  assert.equal(await within(receiver.receive(), "what was sent then"), 8);
  assert.deepEqual(receiver.tryReceive(), { state: "empty" });
});

test("a time that was up while the event loop was busy is no timeout, if there was room, a slab or the end by then", async () => {
  using both = pair(u32, { capacity: 1 });
  const { channel, sender, receiver } = both;
  using slabs = pool({ slab: 64, count: 1 });
  const slab = await slabs.alloc();
  fill(sender, () => 7);
  const limits = { timeout: 1 };
  const waits = [sender.sendAll([1], limits), slabs.alloc(8, limits), channel.drained(limits)];
  const until = performance.now() + 5;
  while (performance.now() < until);
  receiver.receiveBatch(1);
  slab.free();
  sender.trySend(0);
  receiver.receiveBatch(1);
  channel.close();
  receiver.receiveBatch(1);
  const ends = await within(Promise.allSettled(waits), "the waits");
  assert.deepEqual(ends.map(({ status }) => status), ["fulfilled", "fulfilled", "fulfilled"]);
});

const many = 200_000;

test(`${many} pending sends take about as long as as many that do not pile up`, async () => {
  using channel = mpsc(u32, { capacity: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const serve = async (waiting: number): Promise<number> => {
    const before = process.cpuUsage();
    for (let done = 0; done < many; done += waiting) {
      const sends = Array.from({ length: waiting }, (_, index) => sender.send(index));
      for (let got = 0; got < waiting;) {
        got += receiver.receiveBatch(64).length;
        if (got < waiting) await receiver.ready();
      }
      await Promise.all(sends);
    }
    // Of this process alone, whatever else the machine does.
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
  // A compiler or a collector can work in one attempt. A queue that is slow by itself, which took 100 times
  // as long, is so each time.
  let told = "";
  for (let attempt = 0; attempt < 3; attempt++) {
    const parts = await serve(1000);
    const all = await serve(many);
    if (all < 20 * parts) return;
    told += ` ${parts} ms in parts, ${all} ms at once;`;
  }
  assert.fail(told);
});
