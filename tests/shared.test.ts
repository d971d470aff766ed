/**
 * Channels in shared memory, as other processes see them, between the Workers of one: nobody knows here
 * who it is that sleeps, so the wait word itself is rung, and the ringer of whoever sleeps on his event
 * loop hears it.
 */

import assert from "node:assert/strict";
import test from "node:test";
import {
  type Channel,
  type ChannelOptions,
  type Layout,
  mpmc,
  mpsc,
  type ReceiversOptions,
  type SendersOptions,
  spmc,
  spsc,
  u32,
} from "../mod.ts";
import { channelClosed, rejects, throws, until, within } from "./support/bounded.ts";
import { range } from "./support/channels.ts";
import { Workshop } from "./support/foreign.ts";
import { runRingers, runUnwatched } from "./support/runtime.ts";
import { TestWorker, workerKinds } from "./support/workers.ts";

type Options = ChannelOptions & SendersOptions & ReceiversOptions;
type Create = <Value, Batch>(layout: Layout<Value, Batch>, options?: Options) => Channel<
  Value,
  Batch
>;

const kinds: Record<string, Create> = { mpsc, spsc, spmc, mpmc };
const asleep = { shared: true, pollBudget: 0 } as const;

/** Waits until somebody has gone to sleep on the channel, `times` times in all. */
async function untilAsleep<Value, Batch>(
  channel: Channel<Value, Batch>,
  times: number,
): Promise<void> {
  await until(() => {
    const { timesSlept, receiverTimesSlept } = channel.stats();
    return timesSlept + receiverTimesSlept >= times;
  }, "they sleep");
}

test("shared must be a boolean", () => {
  throws(() => mpsc(u32, { shared: 1 as unknown as boolean }), {
    name: "TypeError",
    message: /shared must be a boolean, received 1/,
  });
});

for (const [kind, create] of Object.entries(kinds)) {
  for (const worker of workerKinds) {
    test(`${kind}: event loops that sleep are woken in both directions, ${worker} Worker`, async () => {
      using there = create(u32, asleep);
      using back = create(u32, asleep);
      await using echo = new TestWorker(worker);
      const echoed = echo.call("echo", there.receiverTicket(), back.senderTicket());
      using sender = there.sender();
      using receiver = back.receiver();
      for (const value of range(100)) {
        const reply = receiver.receive();
        await sender.send(value);
        assert.equal(await within(reply, "a reply"), value);
      }
      sender.close();
      assert.equal(await echoed, 100);
      await rejects(receiver.receive(), channelClosed);
      receiver.close();
    });
  }

  test(`${kind}: a sender that sleeps for want of room is woken, and drained() with it`, async () => {
    using channel = create(u32, { ...asleep, capacity: 2 });
    await using worker = new TestWorker("web");
    await worker.call("openSender", channel.senderTicket());
    const values = range(50);
    const sent = worker.call("send", "send", values);
    await untilAsleep(channel, 1);
    using receiver = channel.receiver();
    const drained = channel.drained();
    const received: number[] = [];
    while (received.length < values.length) {
      received.push(await within(receiver.receive(), "a value"));
    }
    assert.deepEqual(received, values);
    await sent;
    await worker.call("closeSender");
    await rejects(receiver.receive(), channelClosed);
    await within(drained, "drained()");
    receiver.close();
  });

  test(`${kind}: blocked threads are woken by event loops, and the reverse`, async () => {
    using there = create(u32, { ...asleep, capacity: 1, wait: "block" });
    await using worker = new TestWorker("node");
    const received = worker.call("receiveAll", there.receiverTicket(), "receiveSync");
    using sender = there.sender();
    for (const value of range(50)) await within(sender.send(value), "room");
    sender.close();
    assert.deepEqual(await received, range(50));
  });

  test(`${kind}: close() wakes everyone who sleeps`, async () => {
    using channel = create(u32, {
      ...asleep,
      capacity: 2,
      maxReceivers: kind.endsWith("mc") ? 3 : 1,
    });
    const receivers = range(kind.endsWith("mc") ? 3 : 1).map(() => channel.receiver());
    await using worker = new TestWorker("web");
    await worker.call("openSender", channel.senderTicket());
    const waiting = receivers.map((receiver) => rejects(receiver.receive(), channelClosed));
    await untilAsleep(channel, receivers.length);
    const drained = channel.drained();
    channel.close();
    await within(Promise.all(waiting), "the end");
    await within(drained, "drained()");
    for (const receiver of receivers) receiver.close();
  });
}

test("a sender that sleeps for room is woken by the close of the last receiver", async () => {
  using channel = mpsc(u32, { ...asleep, capacity: 2 });
  await using worker = new TestWorker("web");
  using receiver = channel.receiver();
  await worker.call("openSender", channel.senderTicket());
  const sent = rejects(worker.call("send", "send", range(5)), channelClosed);
  await untilAsleep(channel, 1);
  receiver.close();
  await within(sent, "the error");
});

for (
  const [scene, what] of [
    [
      "sleepers die",
      "a Worker that sleeps, and with it its ringer, is terminated; the others are not disturbed",
    ],
    ["watchers end", "the ringer that watches ends with the last endpoint, and nothing is left"],
  ] as const
) {
  // In a process of its own: it counts ringers, and other files may have some.
  test(what, () => runRingers(scene));
}

test("eventFd() on shared memory: the descriptor is written by whoever is told of the arm", async () => {
  using channel = mpsc(u32, asleep);
  using receiver = channel.receiver();
  await using worker = new TestWorker("web");
  await worker.call("openSender", channel.senderTicket());
  const eventFd = receiver.eventFd();
  for (let round = 0; round < 20; round++) {
    assert.equal(eventFd.arm(), true);
    await worker.call("send", "trySend", [round]);
    await until(() => channel.size === 1, "the value is there");
    assert.equal(eventFd.arm(), false);
    assert.deepEqual(receiver.tryReceive(), { state: "ok", value: round });
  }
  receiver.close();
});

// ---- wakers that are no JavaScript: nobody but the ringer can ring for them ----

test("a native thread wakes event loops that sleep, through the ringer alone", async () => {
  using workshop = new Workshop();
  // In a process in which no sleeper looks by itself.
  await runUnwatched("a native thread answers", workshop.compile("native_echo.c", "library"));
});
