/**
 * The kinds of channel besides mpsc, through the public API: who may open what, what is shared out and
 * how, and how each of them ends.
 */

import assert from "node:assert/strict";
import test from "node:test";
import {
  bytes,
  type Channel,
  type ChannelOptions,
  json,
  type Layout,
  mpmc,
  mpsc,
  Receiver,
  type ReceiversOptions,
  Sender,
  type SendersOptions,
  spmc,
  spsc,
  u32,
  utf8,
} from "../mod.ts";
import {
  channelClosed,
  endpointClosed,
  isPending,
  nextTurn,
  refusalOf,
  rejects,
  throws,
  until,
  within,
} from "./support/bounded.ts";
import {
  channelsAlive,
  channelsSettled,
  collect,
  fill,
  range,
  takeAll,
} from "./support/channels.ts";
import { TestWorker } from "./support/workers.ts";

type Options = ChannelOptions & SendersOptions & ReceiversOptions;
type Create = <Value, Batch>(layout: Layout<Value, Batch>, options?: Options) => Channel<
  Value,
  Batch
>;

const kinds: Record<string, Create> = { mpsc, spsc, spmc, mpmc };
/** The kinds whose receivers share the rings. */
const shared = ["spmc", "mpmc"] as const;
const create = (kind: string) => kinds[kind] as Create;

const tooManySenders = { name: "TooManyError", code: "TOO_MANY_SENDERS" };
const tooManyReceivers = { name: "TooManyError", code: "TOO_MANY_RECEIVERS" };
const taken = { name: "ReceiverTakenError", code: "RECEIVER_TAKEN" };
const ticketUsed = { name: "TicketError", code: "TICKET_USED" };

/** A channel, a sender and several receivers, all in this thread. */
function open<Value, Batch>(
  kind: string,
  layout: Layout<Value, Batch>,
  count: number,
  options?: Options,
) {
  const channel = create(kind)(layout, options);
  const receivers = range(count).map(() => channel.receiver());
  const sender = channel.sender();
  return {
    channel,
    sender,
    receivers,
    first: receivers[0] as Receiver<Value, Batch>,
    second: receivers[1] as Receiver<Value, Batch>,
    [Symbol.dispose]() {
      sender.close();
      for (const receiver of receivers) receiver.close();
      channel[Symbol.dispose]();
    },
  };
}

const byNumber = (a: number, b: number) => a - b;

// ---- limits and bad input ----

test("each kind has the places it is named after, unless told otherwise", () => {
  const places = Object.entries(kinds).map(([kind, create]) => {
    using channel = create(u32);
    return [kind, channel.capacity, channel.maxSenders, channel.maxReceivers];
  });
  assert.deepEqual(places, [
    ["mpsc", 1024, 256, 1],
    ["spsc", 1024, 1, 1],
    ["spmc", 1024, 1, 16],
    ["mpmc", 1024, 256, 16],
  ]);
});

test("maxReceivers and claim outside their range are refused by an error that names them", () => {
  const bad = [0, -1, 1.5, NaN, Infinity, "4", null, 4n, {}, []];
  for (const kind of shared) {
    for (const value of [...bad, 65]) {
      throws(() => create(kind)(u32, { maxReceivers: value as number }), {
        name: refusalOf(value),
        message: /maxReceivers must be an integer from 1 to 64, received /,
      });
    }
    for (const value of [...bad, 2 ** 30 + 1]) {
      throws(() => create(kind)(u32, { claim: value as number }), {
        name: refusalOf(value),
        message: /claim must be an integer from 1 to 1073741824, received /,
      });
    }
    for (const options of [{ maxReceivers: 64 }, { maxReceivers: 1 }, { claim: 2 ** 30 }]) {
      using channel = create(kind)(u32, options);
      assert.equal(channel.maxReceivers, options.maxReceivers ?? 16);
    }
  }
  for (const kind of ["mpsc", "spsc"]) {
    throws(() => create(kind)(u32, { maxReceivers: 2 }), {
      name: "RangeError",
      message: /maxReceivers must be 1, received 2/,
    });
  }
  for (const kind of ["spsc", "spmc"]) {
    throws(() => create(kind)(u32, { maxSenders: 2 }), {
      name: "RangeError",
      message: /maxSenders must be 1, received 2/,
    });
  }
});

for (const kind of Object.keys(kinds)) {
  test(`${kind}() refuses what is no layout, no options, or out of range`, () => {
    for (const layout of [undefined, null, "u32", {}, []]) {
      throws(() => create(kind)(layout as unknown as typeof u32), { name: "TypeError" });
    }
    for (const options of [null, 4, "options"]) {
      throws(() => create(kind)(u32, options as unknown as Options), { name: "TypeError" });
    }
    throws(() => create(kind)(u32, { capacity: 0 }), { name: "RangeError" });
    throws(() => create(kind)(u32, { initialSequence: -1 }), { name: "RangeError" });
    throws(() => create(kind)(u32, { pollBudget: -1 }), { name: "RangeError" });
    throws(() => create(kind)(u32, { wait: "soon" as "spin" }), { name: "TypeError" });
  });
}

for (const kind of ["spsc", "spmc"]) {
  test(`${kind}() has one sender at a time; the next opens when the end of the last was seen`, () => {
    using all = open(kind, u32, 1, { capacity: 4 });
    const { channel, sender, first } = all;
    const ticket = channel.senderTicket();
    throws(() => channel.sender(), tooManySenders);
    // What is refused for want of room can be tried again.
    throws(() => Sender.open(ticket), tooManySenders);
    assert.equal(sender.sendBatch([1, 2]), 2);
    sender.close();
    throws(() => Sender.open(ticket), tooManySenders);
    assert.deepEqual(takeAll(first), [1, 2]);
    assert.deepEqual(first.tryReceive(), { state: "empty" });
    using next = Sender.open(ticket);
    throws(() => Sender.open(ticket), ticketUsed);
    assert.ok(next.trySend(3));
    assert.deepEqual(takeAll(first), [3]);
    next.close();
    assert.deepEqual(first.tryReceive(), { state: "closed" });
    assert.equal(channel.stats().closed, "senders gone");
  });
}

test("spsc() has one receiver in its life, and ends with it", async () => {
  using all = open("spsc", u32, 1, { capacity: 2 });
  const { channel, sender, first } = all;
  const ticket = channel.receiverTicket();
  throws(() => channel.receiver(), taken);
  throws(() => Receiver.open(ticket), taken);
  fill(sender, (index) => index);
  const waiting = sender.send(7);
  first.close();
  throws(() => channel.receiver(), taken);
  await rejects(waiting, channelClosed);
  assert.equal(sender.trySend(8), false);
  assert.equal(channel.stats().closed, "receiver gone");
  await within(channel.drained(), "the end of a channel without a receiver");
});

for (const kind of shared) {
  test(`${kind}() opens maxReceivers receivers, and more only when one has closed`, () => {
    using all = open(kind, u32, 3, { maxReceivers: 3 });
    const { channel, receivers, second } = all;
    assert.equal(channel.stats().receivers, 3);
    const ticket = channel.receiverTicket();
    throws(() => channel.receiver(), tooManyReceivers);
    for (const _ of range(3)) throws(() => Receiver.open(ticket), tooManyReceivers);
    assert.equal(channel.stats().receiverTickets, 1);
    second.close();
    // The ticket is as good as it was: what is full now has room later.
    using opened = Receiver.open(ticket);
    throws(() => Receiver.open(ticket), ticketUsed);
    throws(() => channel.receiver(), tooManyReceivers);
    assert.deepEqual(opened.tryReceive(), { state: "empty" });
    for (const receiver of receivers) receiver.close();
    assert.equal(channel.closed, false);
    assert.equal(channel.stats().receivers, 1);
  });

  test(`${kind}() takes thousands of receivers one after the other`, () => {
    using all = open(kind, u32, 1, { maxReceivers: 2, capacity: 8, claim: 3 });
    const { channel, sender, first } = all;
    const got: number[] = [];
    for (let cycle = 0; cycle < 2000; cycle++) {
      assert.equal(sender.sendBatch([cycle, cycle, cycle]), 3);
      const ticketed = cycle % 2 === 0;
      using passing = ticketed ? Receiver.open(channel.receiverTicket()) : channel.receiver();
      const result = passing.tryReceive();
      assert.deepEqual(result, { state: "ok", value: cycle });
      passing.close();
      got.push(...takeAll(first));
    }
    assert.deepEqual(got, range(2000).flatMap((cycle) => [cycle, cycle]));
    assert.equal(channel.stats().receivers, 1);
    assert.equal(channel.stats().redelivered, 0);
    assert.equal(channel.size, 0);
  });

  test(`${kind}(): a closed receiver refuses everything, a second close does nothing`, async () => {
    using all = open(kind, u32, 2);
    const { first, second, sender, channel } = all;
    first.close();
    first.close();
    throws(() => first.tryReceive(), endpointClosed);
    throws(() => first.receiveSync(), endpointClosed);
    throws(() => first.receiveBatch(1), endpointClosed);
    throws(() => first.readable(), endpointClosed);
    throws(() => first.release(0), endpointClosed);
    throws(() => first.drain(() => {}), endpointClosed);
    throws(() => first.run(() => {}), endpointClosed);
    await rejects(first.receive(), endpointClosed);
    await rejects(first.ready(), endpointClosed);
    await rejects(first.batches().next(), endpointClosed);
    assert.equal(first.closed, true);
    assert.equal(channel.closed, false);
    assert.ok(sender.trySend(1));
    assert.equal(await second.receive(), 1);
  });

  test(`${kind}(): tickets of one role do not open the other, and are good once`, () => {
    using all = open(kind, u32, 1);
    const { channel } = all;
    const ticket = channel.receiverTicket();
    throws(() => Sender.open(ticket as unknown as Parameters<typeof Sender.open>[0]), {
      name: "TicketError",
      code: "TICKET_ROLE",
    });
    using opened = Receiver.open(ticket);
    throws(() => Receiver.open(ticket), ticketUsed);
    assert.equal(channel.revoke(ticket), false);
    assert.equal(opened.closed, false);
  });
}

// ---- sharing out ----

for (const kind of shared) {
  test(`${kind}() gives each value to one receiver, in the order it was sent`, () => {
    using all = open(kind, u32, 3, { capacity: 4, initialSequence: 2 ** 31 - 6 });
    const { sender, receivers } = all;
    let next = 0;
    for (let round = 0; round < 50; round++) {
      assert.equal(sender.sendBatch([round * 3, round * 3 + 1, round * 3 + 2]), 3);
      for (const receiver of receivers) {
        assert.deepEqual(receiver.tryReceive(), { state: "ok", value: next++ });
      }
      for (const receiver of receivers) assert.deepEqual(receiver.tryReceive(), { state: "empty" });
    }
  });

  test(`${kind}() with claim gives a receiver so many at once, and no other those`, () => {
    using all = open(kind, u32, 2, { capacity: 16, claim: 4 });
    const { sender, first, second, channel } = all;
    assert.equal(sender.sendBatch(range(10)), 10);
    const take = (receiver: Receiver<number, Uint32Array>) => {
      const result = receiver.tryReceive();
      return result.state === "ok" ? result.value : result.state;
    };
    // 0-3 are the first's, 4-7 the second's, 8-9 whose turn it is.
    assert.deepEqual([take(first), take(second), take(first), take(second)], [0, 4, 1, 5]);
    assert.deepEqual([first, first, first, first, second].map(take), [2, 3, 8, 9, 6]);
    assert.deepEqual([take(first), take(second), take(second)], ["empty", 7, "empty"]);
    assert.equal(channel.size, 0);
  });

  test(`${kind}(): a receiver that holds an old claim keeps its place from being overwritten`, () => {
    using all = open(kind, u32, 2, { capacity: 4, claim: 2 });
    const { sender, first, second } = all;
    assert.equal(sender.sendBatch([0, 1, 2, 3]), 4);
    assert.deepEqual(first.tryReceive(), { state: "ok", value: 0 });
    // 0 is given back, 1 is claimed; 2 and 3 are given back behind it.
    assert.deepEqual(takeAll(second), [2, 3]);
    assert.equal(fill(sender, (index) => 4 + index), 1);
    assert.deepEqual(takeAll(second), [4]);
    assert.equal(fill(sender, (index) => 5 + index), 0);
    assert.deepEqual(first.tryReceive(), { state: "ok", value: 1 });
    assert.equal(fill(sender, (index) => 5 + index), 4);
    assert.deepEqual([...takeAll(first), ...takeAll(second)], [5, 6, 7, 8]);
  });

  test(`${kind}(): receiveBatch(), drain(), readable() and batches() share out, too`, async () => {
    using all = open(kind, u32, 2, { capacity: 16 });
    const { sender, first, second, channel } = all;
    sender.sendBatch(range(12));
    assert.deepEqual(Array.from(first.receiveBatch(3)), [0, 1, 2]);
    const out = new Uint32Array(2);
    assert.equal(second.receiveBatch(out), 2);
    assert.deepEqual(Array.from(out), [3, 4]);
    for await (const batch of first.batches({ max: 2 })) {
      assert.deepEqual(Array.from(batch), [5, 6]);
      break;
    }
    const view = second.readable() as Uint32Array;
    assert.deepEqual(Array.from(view), [7, 8, 9, 10, 11]);
    second.release(2);
    throws(() => second.release(4), { name: "RangeError" });
    assert.deepEqual(first.tryReceive(), { state: "empty" });
    assert.equal(channel.size, 3);
    const drained: number[] = [];
    assert.equal(second.drain((value) => drained.push(value)), 3);
    assert.deepEqual(drained, [9, 10, 11]);
    sender.sendBatch([12, 13]);
    assert.equal(first.drain((value) => drained.push(value)), 2);
  });

  test(`${kind}(): what several receivers wait for goes to one of them each`, async () => {
    for (const pollBudget of [0, 50]) {
      using all = open(kind, u32, 3, { pollBudget });
      const { sender, receivers } = all;
      const got: number[][] = receivers.map(() => []);
      const loops = receivers.map(async (receiver, index) => {
        for await (const value of receiver) got[index]?.push(value);
      });
      for (const value of range(60)) {
        assert.ok(sender.trySend(value));
        await nextTurn();
      }
      sender.close();
      await within(Promise.all(loops), "the ends of the loops");
      assert.deepEqual(got.flat().sort(byNumber), range(60));
      for (const values of got) assert.deepEqual(values, values.toSorted(byNumber));
    }
  });

  test(`${kind}(): a batch wakes as many sleepers as there are values`, async () => {
    using all = open(kind, u32, 4, { pollBudget: 0, capacity: 8 });
    const { sender, receivers, channel } = all;
    const waiting = receivers.map((receiver) => receiver.receive());
    await until(() => channel.stats().receiverTimesSlept === 4, "all four sleep");
    assert.equal(sender.sendBatch([0, 1, 2, 3]), 4);
    const values = await within(Promise.all(waiting), "a value for each");
    assert.deepEqual(values.sort(byNumber), [0, 1, 2, 3]);
  });

  test(`${kind}(): a receiver at work with what it got leaves the rest to the others`, async () => {
    using all = open(kind, u32, 2, { pollBudget: 0 });
    const { sender, first, second, channel } = all;
    const waiting = [first.receive(), second.receive()];
    await until(() => channel.stats().receiverTimesSlept === 2, "both sleep");
    sender.trySend(1);
    await within(Promise.any(waiting), "the first value", 2000);
    // Whoever got it looks for nothing more.
    sender.trySend(2);
    assert.deepEqual((await within(Promise.all(waiting), "both", 2000)).sort(), [1, 2]);
  });
}

test("mpmc(): receivers look at their own senders, and at those of the others when idle", () => {
  using channel = mpmc(u32, { capacity: 8, maxSenders: 4 });
  const receivers = [channel.receiver(), channel.receiver()];
  const senders = range(4).map(() => channel.sender());
  for (const [id, sender] of senders.entries()) sender.sendBatch([id * 10, id * 10 + 1]);
  const got = receivers.map((receiver) => range(2).map(() => receiver.receiveBatch(2)[0] ?? -1));
  // Each took from half of the senders.
  const from = got.map((values) => values.map((value) => Math.floor(value / 10) % 2));
  assert.deepEqual(new Set(from.map((ids) => String(ids))).size, 2, JSON.stringify(got));
  // One alone gets everything of all four.
  for (const [id, sender] of senders.entries()) sender.sendBatch([id * 10 + 2, id * 10 + 3]);
  assert.deepEqual(
    takeAll(receivers[0] as Receiver<number, Uint32Array>).sort(byNumber),
    [2, 3, 12, 13, 22, 23, 32, 33],
  );
});

test("mpmc(): no sender starves behind one that always has more", () => {
  using channel = mpmc(u32, { capacity: 64, maxSenders: 8 });
  const receivers = [channel.receiver(), channel.receiver()];
  const [greedy, ...modest] = range(5).map(() => channel.sender());
  const waited = new Map<number, number>();
  let longest = 0;
  for (let step = 0; step < 4000; step++) {
    fill(greedy as Sender<number, Uint32Array>, () => 0);
    for (const [index, sender] of modest.entries()) {
      if (!waited.has(index + 1) && sender.trySend(index + 1)) waited.set(index + 1, step);
    }
    const result = (receivers[step % 2] as Receiver<number, Uint32Array>).tryReceive();
    assert.equal(result.state, "ok");
    if (result.state !== "ok" || result.value === 0) continue;
    longest = Math.max(longest, step - (waited.get(result.value) as number));
    waited.delete(result.value);
  }
  for (const since of waited.values()) longest = Math.max(longest, 4000 - since);
  // Every eighth poll goes to the next ring in rotation; five rings and two receivers.
  assert.ok(longest <= 2 * 8 * 5, `one waited for ${longest} receives`);
});

// ---- records ----

const recordLayouts = {
  utf8: { layout: utf8, make: (index: number) => `${index}:${"é~".repeat(index % 7)}` },
  bytes: { layout: bytes, make: (index: number) => new Uint8Array(index % 19).fill(index) },
  json: { layout: json, make: (index: number) => [index, "x".repeat(index % 13)] },
} as unknown as Record<string, { layout: Layout<unknown>; make: (index: number) => unknown }>;

for (const kind of ["spsc", ...shared]) {
  for (const [name, { layout, make }] of Object.entries(recordLayouts)) {
    test(`${kind}(): ${name} of all lengths, around the end of the ring, with any claim`, () => {
      for (const claim of kind === "spsc" ? [1] : [1, 2, 3, 100]) {
        for (const initialSequence of [0, 2 ** 31 - 5, 2 ** 32 - 3]) {
          using all = open(kind, layout, kind === "spsc" ? 1 : 3, {
            capacity: 128,
            claim,
            initialSequence,
          });
          const { sender, receivers, channel } = all;
          const tell = (value: unknown) =>
            JSON.stringify(value instanceof Uint8Array ? Array.from(value) : value);
          const waiting = new Set<string>();
          let made = 0;
          for (let step = 0; made < 400; step++) {
            while (sender.trySend(make(made))) waiting.add(`${made % 1000} ${tell(make(made++))}`);
            const receiver = receivers[step % receivers.length] as Receiver<unknown>;
            const results = step % 3 === 0
              ? receiver.receiveBatch(2)
              : [receiver.tryReceive()].flatMap((result) =>
                result.state === "ok" ? [result.value] : []
              );
            for (const value of results) {
              const found = [...waiting].find((text) => text.endsWith(` ${tell(value)}`));
              assert.ok(found !== undefined, `${tell(value)} came, which nobody had sent`);
              waiting.delete(found);
            }
          }
          for (const receiver of receivers) {
            receiver.drain((value) => {
              const found = [...waiting].find((text) => text.endsWith(` ${tell(value)}`));
              assert.ok(found !== undefined && waiting.delete(found));
            });
          }
          assert.equal(waiting.size, 0);
          assert.equal(channel.size, 0);
          assert.equal(channel.stats().slotsUsed, 0);
        }
      }
    });
  }
}

for (const kind of shared) {
  test(`${kind}(): readable() of records gives payloads of one claim, release() some of them`, () => {
    using all = open(kind, utf8, 2, { capacity: 256 });
    const { sender, first, second } = all;
    sender.sendBatch(["a", "bb", "ccc", "dddd"]);
    const payloads = first.readable() as Uint8Array[];
    const decoder = new TextDecoder();
    assert.deepEqual(payloads.map((payload) => decoder.decode(payload.slice())), [
      "a",
      "bb",
      "ccc",
      "dddd",
    ]);
    first.release(1);
    assert.deepEqual(second.tryReceive(), { state: "empty" });
    first.close();
    assert.deepEqual(takeAll(second), ["bb", "ccc", "dddd"]);
  });
}

// ---- joining, leaving, ending ----

for (const kind of shared) {
  test(`${kind}(): the unclaimed and the claimed rest of a closed receiver goes to the others`, () => {
    using all = open(kind, u32, 3, { claim: 4, capacity: 16 });
    const { sender, first, second, receivers, channel } = all;
    sender.sendBatch(range(10));
    assert.deepEqual(first.tryReceive(), { state: "ok", value: 0 });
    assert.deepEqual(second.tryReceive(), { state: "ok", value: 4 });
    first.close();
    second.close();
    assert.deepEqual(
      takeAll(receivers[2] as Receiver<number, Uint32Array>).sort(byNumber),
      [1, 2, 3, 5, 6, 7, 8, 9],
    );
    const { redelivered, received, size } = channel.stats();
    assert.deepEqual({ redelivered, received, size }, { redelivered: 0, received: 10, size: 0 });
    // All of it is free again.
    assert.equal(fill(sender, (index) => index), 16);
  });

  test(`${kind}(): the rest of a closed receiver wakes one that sleeps`, async () => {
    using all = open(kind, u32, 2, { claim: 4, pollBudget: 0 });
    const { sender, first, second, channel } = all;
    sender.sendBatch([1, 2]);
    // What is shown is not offered.
    assert.equal(first.readable()?.length, 2);
    const waiting = second.receive();
    await until(() => channel.stats().receiverTimesSlept === 1, "it sleeps");
    first.close();
    assert.equal(await within(waiting, "the rest", 2000), 1);
  });

  test(`${kind}(): a receiver that joins when every place is taken by a rest gets the rest`, () => {
    using all = open(kind, u32, 2, { claim: 8, maxReceivers: 2 });
    const { sender, first, second, channel } = all;
    const kept = channel.receiverTicket();
    sender.sendBatch([1, 2, 3]);
    assert.deepEqual(first.tryReceive(), { state: "ok", value: 1 });
    sender.sendBatch([4, 5, 6]);
    assert.deepEqual(second.tryReceive(), { state: "ok", value: 4 });
    first.close();
    second.close();
    using third = Receiver.open(kept);
    using fourth = channel.receiver();
    const got = [...takeAll(third), ...takeAll(fourth)];
    assert.deepEqual(got.sort(byNumber), [2, 3, 5, 6]);
    throws(() => channel.receiver(), tooManyReceivers);
  });

  test(`${kind}(): what another has taken over takes no place from a newcomer`, () => {
    using all = open(kind, u32, 2, { claim: 4, maxReceivers: 2 });
    const { sender, first, second, channel } = all;
    sender.sendBatch(range(8));
    assert.deepEqual(first.tryReceive(), { state: "ok", value: 0 });
    first.close();
    assert.deepEqual(second.tryReceive(), { state: "ok", value: 1 });
    using third = channel.receiver();
    throws(() => channel.receiver(), tooManyReceivers);
    assert.equal(channel.stats().receivers, 2);
    assert.deepEqual(takeAll(third), [4, 5, 6, 7]);
    assert.deepEqual(takeAll(second), [2, 3]);
  });

  test(`${kind}(): a trickle of values goes to the receivers that sleep in turn`, async () => {
    using all = open(kind, u32, 3, { pollBudget: 0 });
    const { sender, receivers, channel } = all;
    const rounds = 6;
    const got = receivers.map(() => 0);
    const receiving = receivers.map(async (receiver, index) => {
      for await (const _ of receiver) got[index] = (got[index] ?? 0) + 1;
    });
    for (let value = 0; value < rounds * 3; value++) {
      await until(() => channel.stats().receiverTimesSlept >= 3 + value, "all of them sleep");
      assert.ok(sender.trySend(value));
    }
    sender.close();
    await within(Promise.all(receiving), "the ends of the loops");
    // In turn, unless one took so long to look that the next was woken, too.
    assert.equal(got.reduce((sum, count) => sum + count), rounds * 3);
    assert.ok(got.every((count) => count > 0), `${got}`);
  });

  test(`${kind}(): a receiver that joins late gets what is left, one that leaves takes nothing`, async () => {
    using all = open(kind, u32, 1, { capacity: 8 });
    const { sender, first, channel } = all;
    fill(sender, (index) => index);
    assert.deepEqual(Array.from(first.receiveBatch(2)), [0, 1]);
    {
      using joined = channel.receiver();
      assert.equal(await joined.receive(), 2);
      const waiting = joined.receive();
      assert.equal(await waiting, 3);
    }
    assert.deepEqual(takeAll(first), [4, 5, 6, 7]);
  });

  test(`${kind}() is closed when the last receiver is gone, and not before`, async () => {
    using all = open(kind, u32, 2, { capacity: 2 });
    const { channel, sender, first, second } = all;
    fill(sender, (index) => index);
    const waiting = sender.send(7);
    first.close();
    assert.equal(channel.closed, false);
    assert.equal(channel.stats().receiver, "open");
    second.close();
    const error = await rejects(waiting, channelClosed) as Error & { value?: unknown };
    assert.equal(error.value, 7);
    assert.equal(channel.stats().closed, "receiver gone");
    assert.equal(channel.stats().receiver, "gone");
    assert.equal(sender.trySend(1), false);
    throws(() => sender.sendSync(1), channelClosed);
    throws(() => channel.receiver(), channelClosed);
    throws(() => channel.sender(), channelClosed);
    await within(channel.drained(), "the end of a channel without receivers");
  });

  test(`${kind}(): a ticket for a receiver keeps the channel open; opened or revoked, it does not`, async () => {
    for (const how of ["revoke", "open"] as const) {
      using all = open(kind, u32, 1, { capacity: 2 });
      const { channel, sender, first } = all;
      const tickets = [channel.receiverTicket(), channel.receiverTicket()] as const;
      first.close();
      assert.equal(channel.closed, false);
      fill(sender, (index) => index);
      const waiting = sender.send(7);
      assert.equal(channel.revoke(tickets[0]), true);
      assert.equal(channel.revoke(tickets[0]), false);
      assert.equal(channel.closed, false);
      if (how === "revoke") {
        assert.equal(channel.revoke(tickets[1]), true);
      } else {
        using last = Receiver.open(tickets[1]);
        assert.deepEqual(last.tryReceive(), { state: "ok", value: 0 });
        await within(waiting, "room for a value");
        assert.equal(channel.closed, false);
      }
      assert.equal(channel.stats().closed, "receiver gone");
      if (how === "revoke") await rejects(waiting, channelClosed);
      assert.equal(sender.trySend(1), false);
    }
  });

  test(`${kind}() without a receiver yet is not closed by a ticket that is revoked`, () => {
    using channel = create(kind)(u32);
    const sender = channel.sender();
    assert.equal(channel.revoke(channel.receiverTicket()), true);
    assert.equal(channel.closed, false);
    assert.ok(sender.trySend(1));
    using receiver = channel.receiver();
    assert.deepEqual(takeAll(receiver), [1]);
    sender.close();
  });
}

for (const kind of ["spsc", ...shared]) {
  const count = kind === "spsc" ? 1 : 3;

  test(`${kind}(): close() wakes everyone, what was sent is received, then all have ended`, async () => {
    for (const pollBudget of [0, 50, "adaptive"] as const) {
      using all = open(kind, u32, count, { capacity: 4, pollBudget });
      const { channel, sender, receivers } = all;
      fill(sender, (index) => index);
      const sending = sender.send(9);
      channel.close();
      await rejects(sending, channelClosed);
      const drained = channel.drained();
      assert.equal(await isPending(drained), true);
      const got = await within(
        Promise.all(receivers.map((receiver) => Array.fromAsync(receiver))),
        "the end of the channel",
      );
      assert.deepEqual(got.flat().sort(byNumber), [0, 1, 2, 3]);
      await within(drained, "drained()");
      for (const receiver of receivers) {
        assert.deepEqual(receiver.tryReceive(), { state: "closed" });
        await rejects(receiver.receive(), channelClosed);
        assert.equal(await receiver.ready(), false);
      }
    }
  });

  test(`${kind}(): receives that sleep end with the channel, with its reason`, async () => {
    for (const how of ["close", "reason", "sender"] as const) {
      using all = open(kind, u32, count, { pollBudget: 0 });
      const { channel, sender, receivers } = all;
      const waiting = receivers.map((receiver) => receiver.receive());
      await until(() => channel.stats().receiverTimesSlept === count, "all sleep");
      if (how === "sender") sender.close();
      else if (how === "close") channel.close();
      else channel.close(new Error("the mill is closed"));
      for (const receive of waiting) {
        const error = await rejects(receive, channelClosed);
        if (how === "reason") assert.equal((error.cause as Error).message, "the mill is closed");
        else assert.equal("cause" in error, false);
      }
    }
  });

  test(`${kind}(): await using closes, waits until all is received, and frees the channel`, async () => {
    const before = await channelsSettled();
    const got: number[] = [];
    let loops: Promise<void>[] = [];
    {
      await using channel = create(kind)(u32, { pollBudget: 0 });
      loops = range(count).map(async () => {
        using receiver = channel.receiver();
        for await (const value of receiver) got.push(value);
      });
      using sender = channel.sender();
      sender.sendBatch(range(100));
    }
    // A loop takes some values ahead of its body.
    await within(Promise.all(loops), "the ends of the loops");
    assert.deepEqual(got.sort(byNumber), range(100));
    assert.equal(channelsAlive(), before);
  });

  test(`${kind}(): counters wrap`, () => {
    for (const initialSequence of [2 ** 31 - 3, 2 ** 32 - 3]) {
      for (const capacity of [1, 2, 4]) {
        using all = open(kind, u32, count, { capacity, initialSequence });
        const { sender, receivers } = all;
        for (let round = 0; round < 12; round++) {
          assert.equal(fill(sender, (index) => round * 10 + index), capacity);
          const receiver = receivers[round % count] as Receiver<number, Uint32Array>;
          assert.deepEqual(takeAll(receiver), range(capacity).map((index) => round * 10 + index));
        }
      }
    }
  });
}

for (const kind of shared) {
  test(`${kind}(): drained() waits for what a receiver has claimed and not given back`, async () => {
    using all = open(kind, u32, 2, { claim: 2 });
    const { channel, sender, first, second } = all;
    sender.sendBatch([1, 2]);
    assert.deepEqual(Array.from(first.readable() as Uint32Array), [1, 2]);
    channel.close();
    const drained = channel.drained();
    const ending = second.receive();
    ending.catch(() => {});
    assert.equal(await isPending(drained), true);
    assert.equal(await isPending(ending), true);
    assert.deepEqual(second.receiveBatch(1).length, 0);
    first.release();
    await within(drained, "drained()", 2000);
    await rejects(ending, channelClosed);
  });
}

// ---- aborts, run() ----

for (const kind of shared) {
  test(`${kind}(): a wake-up meant for a receive that is aborted goes to another receiver`, async () => {
    for (let round = 0; round < 60; round++) {
      using all = open(kind, u32, 2, { pollBudget: 0 });
      const { sender, first, second, channel } = all;
      const aborts = [new AbortController(), new AbortController()] as const;
      const receives = [first, second].map((receiver, index) =>
        receiver.receive({ signal: aborts[index as 0 | 1].signal })
      );
      // Asleep, or on the way there: after some microtasks, or some turns.
      if (round % 3 === 0) {
        await until(() => channel.stats().receiverTimesSlept === 2, "both sleep");
      } else {
        for (let ticks = round % 5; ticks > 0; ticks--) await Promise.resolve();
      }
      assert.ok(sender.trySend(round));
      // Whoever is woken: it is aborted before it has looked.
      const aborted = round % 2 as 0 | 1;
      aborts[aborted].abort(new Error("enough"));
      await rejects(receives[aborted] as Promise<number>, { name: "Error", message: /enough/ });
      const other = receives[1 - aborted] as Promise<number>;
      assert.equal(await within(other, "the value passed on", 2000), round);
    }
  });

  test(`${kind}(): so does one that comes between the last look and the sleep`, async () => {
    using all = open(kind, u32, 2, { pollBudget: 0 });
    const { sender, first, second, channel } = all;
    const other = second.receive();
    await until(() => channel.stats().receiverTimesSlept === 1, "it sleeps");
    const { waitAsync } = Atomics;
    // Where the turn has lasted long the receive begins to wait in the next one: then once more.
    for (let isSent = false; !isSent;) {
      const abort = new AbortController();
      // As if another thread sent just then.
      (Atomics as { waitAsync: unknown }).waitAsync = (
        ...given: Parameters<typeof Atomics.waitAsync>
      ) => {
        isSent = true;
        assert.ok(sender.trySend(7));
        return waitAsync(...given);
      };
      const aborted = (() => {
        try {
          return first.receive({ signal: abort.signal });
        } finally {
          (Atomics as { waitAsync: unknown }).waitAsync = waitAsync;
        }
      })();
      abort.abort(new Error("enough"));
      await rejects(aborted, { name: "Error", message: /enough/ });
      await nextTurn();
    }
    assert.equal(await within(other, "the value passed on", 2000), 7);
  });

  test(`${kind}(): a receiver closed when it was woken passes the wake-up on`, async () => {
    for (let round = 0; round < 30; round++) {
      using all = open(kind, u32, 2, { pollBudget: 0 });
      const { sender, receivers, channel } = all;
      const receives = receivers.map((receiver) => receiver.receive());
      for (const receive of receives) receive.catch(() => {});
      if (round % 3 === 0) {
        await until(() => channel.stats().receiverTimesSlept === 2, "both sleep");
      }
      assert.ok(sender.trySend(round));
      const closed = round % 2;
      receivers[closed]?.close();
      await rejects(receives[closed] as Promise<number>, endpointClosed);
      assert.equal(
        await within(receives[1 - closed] as Promise<number>, "the value", 2000),
        round,
      );
    }
  });

  test(`${kind}(): run() on several receivers hands out every value once`, async () => {
    using all = open(kind, u32, 3, { capacity: 16, pollBudget: 0 });
    const { sender, receivers, channel } = all;
    const got: number[][] = receivers.map(() => []);
    const runs = receivers.map((receiver, index) =>
      index === 0
        ? receiver.run((batch: Uint32Array) => void got[0]?.push(...batch), { batch: 4 })
        : receiver.run(async (value: number) => {
          got[index]?.push(value);
          if (value % 16 === 0) await nextTurn();
        })
    );
    throws(() => receivers[0]?.tryReceive(), { name: "TypeError", message: /run\(\)/ });
    for (let value = 0; value < 500; value++) await sender.send(value);
    // One leaves on the way; the others go on.
    await within((runs[0] as { stop(): Promise<void> }).stop(), "stop()");
    const before = got[0]?.length;
    await sender.sendAll(range(500).map((value) => value + 500));
    channel.close();
    await within(Promise.all(runs.map((run) => run.finished)), "the ends of the loops");
    assert.equal(got[0]?.length, before);
    assert.deepEqual(got.flat().sort(byNumber), range(1000));
    for (const values of got) assert.deepEqual(values, values.toSorted(byNumber));
    for (const [index, run] of runs.entries()) assert.equal(run.messages, got[index]?.length);
  });

  test(`${kind}(): a run() that throws leaves the rest to the others`, async () => {
    using all = open(kind, u32, 2, { claim: 8 });
    const { sender, first, second } = all;
    sender.sendBatch(range(8));
    const run = first.run((value) => {
      if (value === 2) throw new Error("the third");
    });
    await rejects(run.finished, { name: "Error", message: /the third/ });
    first.close();
    assert.deepEqual(takeAll(second), [3, 4, 5, 6, 7]);
  });

  test(`${kind}(): iterators of several receivers end when theirs is closed`, async () => {
    using all = open(kind, u32, 2, { pollBudget: 0 });
    const { sender, first, second, channel } = all;
    const loops = [collect(first), collect(second)];
    await until(() => channel.stats().receiverTimesSlept === 2, "both sleep");
    first.close();
    assert.deepEqual(await loops[0], []);
    sender.sendBatch([1, 2]);
    sender.close();
    assert.deepEqual(await loops[1], [1, 2]);
  });
}

// ---- Workers ----

for (const kind of ["spsc", ...shared]) {
  const count = kind === "spsc" ? 1 : 3;

  test(`${kind}(): Workers receive in every way, blocking ones too; each value comes once`, async () => {
    await using workers = await startAll(count);
    const ways = ["receiveSync", "iterate", "run", "batches", "receive", "tryReceive"] as const;
    for (const [round, way] of ways.entries()) {
      const claim = 1 + (round % 3);
      using channel = create(kind)(u32, { capacity: 8, claim, pollBudget: 0 });
      const receiving = workers.all.map((worker, index) =>
        worker.call(
          "receiveAll",
          channel.receiverTicket(),
          index === 0 ? way : ways[(round + index) % ways.length] as (typeof ways)[number],
        )
      );
      {
        using sender = channel.sender();
        for (let value = 0; value < 300; value++) await sender.send(value);
      }
      const got = await within(Promise.all(receiving), `${way} in Workers`);
      assert.deepEqual((got as number[][]).flat().sort(byNumber), range(300), way);
      // What one has claimed beside another value, and offers, can come late to another.
      if (claim === 1) {
        for (const values of got as number[][]) assert.deepEqual(values, values.toSorted(byNumber));
      }
      assert.equal(channel.stats().redelivered, 0);
    }
  });
}

for (const kind of shared) {
  test(`${kind}(): a blocked receiveSync() in a Worker is woken by a value, and by the end`, async () => {
    await using workers = await startAll(2);
    using channel = create(kind)(u32, { wait: "block" });
    for (const worker of workers.all) await worker.call("openReceiver", channel.receiverTicket());
    using sender = channel.sender();
    const blocked = workers.all.map((worker) => worker.call("receiveSync"));
    await until(() => channel.stats().receiverTimesSlept >= 2, "both block");
    sender.sendBatch([1, 2]);
    assert.deepEqual((await Promise.all(blocked)).map(Number).sort(), [1, 2]);
    const ending = workers.all.map((worker) => worker.call("receiveSync"));
    sender.close();
    await Promise.all(
      ending.map((receive) =>
        assert.rejects(receive, (error: { code?: string }) => error.code === "CHANNEL_CLOSED")
      ),
    );
    for (const worker of workers.all) await worker.call("closeReceiver");
    assert.equal(channel.stats().receiver, "gone");
  });
}

/** Workers, all stopped at the end. */
async function startAll(count: number) {
  const all = range(count).map(() => new TestWorker("web"));
  await Promise.all(all.map((worker) => worker.call("describe", 0)));
  return {
    all,
    async [Symbol.asyncDispose]() {
      for (const worker of all) await worker[Symbol.asyncDispose]();
    },
  };
}
