/**
 * Blocking calls whose only other side is in their own thread.
 *
 * @module
 */

import assert from "node:assert/strict";
import test from "node:test";
import {
  after,
  bytes,
  type Channel,
  type DeadlockError,
  mpmc,
  mpsc,
  Pool,
  pool,
  Receiver,
  selectSync,
  Sender,
  spmc,
  spsc,
  u32,
} from "../mod.ts";
import { assertError, rejects, throws, within } from "./support/bounded.ts";
import { collect, fill, range, takeAll } from "./support/channels.ts";
import { TestWorker } from "./support/workers.ts";

const kinds = { mpsc, spsc, spmc, mpmc };
const deadlock = { name: "DeadlockError", code: "DEADLOCK" };
const timeout = { name: "TimeoutError", code: "TIMEOUT" };
const strategies = ["spin", "yield", "sleep", "block", "timed", "phased"] as const;

type Numbers = Channel<number, Uint32Array>;

/** Every blocking call of a sender, for one value that finds no room. */
const sends: Record<string, (sender: Sender<number, Uint32Array>, timeout?: number) => void> = {
  sendSync: (sender, timeout) => sender.sendSync(9, { timeout }),
  sendAllSync: (sender, timeout) => sender.sendAllSync([9, 10], { timeout }),
  "writer.push": (sender, timeout) => sender.writer({ timeout }).push(9),
};

for (const [kind, make] of Object.entries(kinds)) {
  test(`${kind}: a blocking send on a full ring whose receiver is in this thread is a DeadlockError`, () => {
    for (const [verb, send] of Object.entries(sends)) {
      for (const limit of [undefined, 5000]) {
        using channel: Numbers = make(u32, { capacity: 4 });
        const sender = channel.sender();
        const receiver = channel.receiver();
        fill(sender, (value) => value);
        const error = throws(() => send(sender, limit), {
          ...deadlock,
          message:
            /^Cannot (send|send all|push): the ring is full, and nobody but this very thread/,
        });
        assert.equal((error as DeadlockError).sent, 0, verb);
        assert.deepEqual(takeAll(receiver), [0, 1, 2, 3]);
        sender.sendSync(4);
        assert.equal(receiver.receiveSync(), 4);
      }
    }
  });

  test(`${kind}: receiveSync() of nothing whose senders are in this thread is a DeadlockError`, () => {
    for (const wait of strategies) {
      using channel: Numbers = make(u32, { capacity: 4 });
      const receiver = channel.receiver();
      const options = wait === "timed" ? { wait, timeout: 5000 } : { wait };
      // Without a sender, which only this thread could open; and with one.
      throws(() => receiver.receiveSync(options), deadlock);
      const sender = channel.sender();
      throws(() => receiver.receiveSync(options), {
        ...deadlock,
        message: /^Cannot receive: there is nothing, and nobody but this very thread/,
      });
      sender.sendSync(1);
      assert.equal(receiver.receiveSync(options), 1);
      sender.close();
      throws(() => receiver.receiveSync(options), { name: "ChannelClosedError" });
    }
  });

  test(`${kind}: a ticket that others may open is no deadlock, until it is taken back`, () => {
    {
      using channel: Numbers = make(u32, { capacity: 4 });
      const sender = channel.sender();
      const ticket = channel.receiverTicket();
      fill(sender, (value) => value);
      throws(() => sender.sendSync(4, { timeout: 5 }), timeout);
      channel.revoke(ticket);
      throws(() => sender.sendSync(4, { timeout: 5000 }), deadlock);
      const native = channel.nativeReceiverTicket();
      throws(() => sender.sendSync(4, { timeout: 5 }), timeout);
      channel.revoke(native);
      throws(() => sender.sendSync(4), deadlock);
    }
    using channel: Numbers = make(u32, { capacity: 4 });
    const receiver = channel.receiver();
    const ticket = channel.senderTicket();
    throws(() => receiver.receiveSync({ timeout: 5 }), timeout);
    const sender = Sender.open(ticket);
    throws(() => receiver.receiveSync({ timeout: 5000 }), deadlock);
    sender.trySend(1);
    assert.equal(receiver.receiveSync(), 1);
  });

  test(`${kind}: a shared channel is no deadlock while others may connect, or are connected`, async () => {
    using channel: Numbers = make(u32, { capacity: 4, shared: true });
    {
      const sender = channel.sender();
      fill(sender, (value) => value);
      throws(() => sender.sendSync(4, { timeout: 5000 }), deadlock);
      const address = `@millrace-deadlock-${kind}-${crypto.randomUUID()}`;
      using share = channel.share(address, { senders: false });
      throws(() => sender.sendSync(4, { timeout: 5 }), timeout);
      // Connected to from this very thread: what the other side is, is not looked at so closely.
      const receiver = await Receiver.connect(address, { layout: u32 });
      assert.equal(share.connections, 1);
      share.close();
      assert.equal(receiver.receiveSync(), 0);
      sender.sendSync(4);
      throws(() =>
        receiver.receiveSync({ timeout: 5 }) + receiver.receiveSync({ timeout: 5 }) +
        receiver.receiveSync({ timeout: 5 }) + receiver.receiveSync({ timeout: 5 }) +
        receiver.receiveSync({ timeout: 5 }), timeout);
      receiver.close();
      sender.close();
    }
  });

  test(`${kind}: the other side in a Worker is no deadlock, and its end is none either`, async () => {
    await using worker = new TestWorker("web");
    {
      using channel: Numbers = make(u32, { capacity: 4 });
      const sender = channel.sender();
      await worker.call("openReceiver", channel.receiverTicket());
      fill(sender, (value) => value);
      throws(() => sender.sendSync(4, { timeout: 5 }), timeout);
      await worker.call("closeReceiver");
      throws(() => sender.sendSync(4), { name: "ChannelClosedError" });
    }
    using channel: Numbers = make(u32, { capacity: 4 });
    const receiver = channel.receiver();
    await worker.call("openSender", channel.senderTicket());
    throws(() => receiver.receiveSync({ timeout: 5 }), timeout);
    const sent = worker.call("send", "sendSync", range(100));
    for (const value of range(100)) assert.equal(receiver.receiveSync({ timeout: 20_000 }), value);
    await sent;
    await worker.call("closeSender");
    throws(() => receiver.receiveSync(), { name: "ChannelClosedError" });
  });
}

test("both sides in a Worker, and the channel elsewhere, are no deadlock: it could be closed", async () => {
  await using worker = new TestWorker("web");
  using channel: Numbers = mpsc(u32, { capacity: 1 });
  await worker.call("openSender", channel.senderTicket());
  await worker.call("openReceiver", channel.receiverTicket());
  await worker.call("sendSync", 1);
  await rejects(worker.call("sendSync", 2, { timeout: 5 }), timeout);
});

test("receivers elsewhere may give back what they have claimed: no deadlock", async () => {
  await using worker = new TestWorker("web");
  using channel: Numbers = spmc(u32, { capacity: 4 });
  const receiver = channel.receiver();
  using sender = channel.sender();
  await worker.call("openReceiver", channel.receiverTicket());
  throws(() => receiver.receiveSync({ timeout: 5 }), timeout);
  assert.equal(sender.closed, false);
});

test("a loop of the same thread does not make push() block for ever: DeadlockError, and the loop goes on", async () => {
  using channel: Numbers = mpsc(u32, { capacity: 1024 });
  const received: number[] = [];
  const loop = channel.receiver().run((value) => void received.push(value));
  const sender = channel.sender();
  const writer = sender.writer();
  const pushAll = () => {
    for (const value of range(5000)) writer.push(value);
  };
  throws(pushAll, deadlock);
  assert.equal(await within(writer.ready().then(() => "room"), "room"), "room");
  await within(loop.stop(), "the loop");
  assert.deepEqual(received, range(1024));
});

test("a blocking send that waits for the slab of a pool: DeadlockError when nobody else could free one", async () => {
  using slabs = pool({ slab: 1024, count: 1 });
  using channel = mpsc(bytes, { capacity: 256 }).withPool(slabs, { threshold: 64 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  sender.sendSync(new Uint8Array(1000));
  throws(() => sender.sendSync(new Uint8Array(1000)), {
    ...deadlock,
    message: /^Cannot send: no slab is free, and nobody but this very thread/,
  });
  throws(() => slabs.allocSync(), {
    ...deadlock,
    message: /^Cannot allocate a slab: none is free, and nobody but this very thread/,
  });
  // A second pool, by a ticket: others might have it.
  const ticket = slabs.ticket();
  throws(() => slabs.allocSync(8, { timeout: 5 }), timeout);
  {
    using second = Pool.open(ticket);
    throws(() => second.allocSync(), deadlock);
  }
  const receiverTicket = channel.senderTicket();
  throws(() => slabs.allocSync(8, { timeout: 5 }), timeout);
  channel.revoke(receiverTicket);
  assert.equal((await receiver.receive()).length, 1000);
  sender.sendSync(new Uint8Array(1000));
  slabs.tryAlloc()?.free();
  using shared = pool({ slab: 64, count: 1, shared: true });
  const held = shared.allocSync();
  throws(() => shared.allocSync(8, { timeout: 5 }), timeout);
  held.free();
});

test("selectSync() of receivers whose senders are all in this thread is a DeadlockError; a deadline ends it", () => {
  using one: Numbers = mpsc(u32, { capacity: 1 });
  using other: Numbers = spmc(u32, { capacity: 1 });
  const receivers = [one.receiver(), other.receiver()] as const;
  throws(() => selectSync(receivers), deadlock);
  throws(() => selectSync(receivers, { timeout: 5000 }), deadlock);
  assert.equal(selectSync([...receivers, after(5)]).state, "elapsed");
  other.senderTicket();
  throws(() => selectSync(receivers, { timeout: 5 }), timeout);
});

test("sendAllSync() that would block for ever says how many were sent", async () => {
  using channel: Numbers = mpsc(u32, { capacity: 4 });
  const sender = channel.sender();
  const receiver = channel.receiver();
  const told: number[] = [];
  const error = throws(
    () => sender.sendAllSync(range(6), { onSent: (sent) => void told.push(sent) }),
    { ...deadlock, message: /; sent 4 of 6$/ },
  );
  assertError(error, deadlock);
  assert.deepEqual([(error as DeadlockError).sent, told], [4, [4]]);
  sender.close();
  assert.deepEqual(await collect(receiver), range(4));
});
