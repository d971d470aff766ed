/**
 * Weak senders: a right to open senders that keeps no channel open.
 *
 * @module
 */

import assert from "node:assert/strict";
import test from "node:test";
import { bytes, mpmc, mpsc, pool, Sender, spmc, spsc, u32, WeakSender } from "../mod.ts";
import { endpointClosed, throws, within } from "./support/bounded.ts";
import { channelsAlive, channelsSettled, collect, takeAll } from "./support/channels.ts";
import { TestWorker } from "./support/workers.ts";

const kinds = { mpsc, mpmc };

for (const [kind, make] of Object.entries(kinds)) {
  test(`${kind}: a weak sender opens senders as long as the channel is open, and does not keep it open`, async () => {
    using channel = make(u32, { capacity: 8 });
    const receiver = channel.receiver();
    const sender = channel.sender();
    using ofSender = sender.downgrade();
    using ofChannel = channel.weakSender();
    assert.ok(ofSender instanceof WeakSender);
    for (const [index, weak] of [ofSender, ofChannel].entries()) {
      using another = weak.upgrade();
      assert.equal(another?.trySend(index), true);
      assert.equal(channel.stats().senders, 2);
    }
    assert.equal(channel.stats().senderReferences, 1);
    const rest = collect(receiver);
    sender.close();
    assert.deepEqual(await rest, [0, 1]);
    assert.deepEqual([ofSender.upgrade(), ofChannel.upgrade()], [undefined, undefined]);
  });

  test(`${kind}: what a weak sender has opened keeps the channel open until it is closed`, async () => {
    using channel = make(u32, { capacity: 8 });
    const receiver = channel.receiver();
    const sender = channel.sender();
    using weak = sender.downgrade();
    const another = weak.upgrade() as Sender<number, Uint32Array>;
    sender.close();
    const third = weak.upgrade() as Sender<number, Uint32Array>;
    another.close();
    await within(third.send(7), "the send");
    third.close();
    assert.deepEqual(await collect(receiver), [7]);
    assert.equal(weak.upgrade(), undefined);
  });

  test(`${kind}: a weak sender of a closed channel opens nothing, and one that is closed says so`, () => {
    using channel = make(u32, { capacity: 8 });
    using weak = channel.weakSender();
    const sender = channel.sender();
    const other = sender.downgrade();
    channel.close();
    assert.equal(weak.upgrade(), undefined);
    other.close();
    other.close();
    throws(() => other.upgrade(), endpointClosed);
    sender.close();
    throws(() => sender.downgrade(), endpointClosed);
  });
}

test("a weak sender keeps the memory of its channel until it is closed, and nothing else", async () => {
  const before = await channelsSettled();
  let weak: WeakSender<number, Uint32Array>;
  {
    using channel = mpsc(u32);
    weak = channel.weakSender();
    assert.equal(channelsAlive(), before + 1);
  }
  assert.equal(weak.upgrade(), undefined);
  assert.equal(channelsAlive(), before + 1);
  weak.close();
  assert.equal(channelsAlive(), before);
});

test("a weak sender of a kind with one sender opens it when there is none", () => {
  for (const make of [spsc, spmc]) {
    using channel = make(u32, { capacity: 8 });
    const receiver = channel.receiver();
    using weak = channel.weakSender();
    using sender = weak.upgrade();
    assert.ok(sender);
    throws(() => weak.upgrade(), { name: "TooManyError" });
    sender.trySend(1);
    assert.deepEqual(takeAll(receiver), [1]);
  }
});

test("a weak sender opens senders with the pool of the channel", async () => {
  using slabs = pool({ slab: 1024, count: 2 });
  using channel = mpsc(bytes, { capacity: 256 }).withPool(slabs, { threshold: 64 });
  const receiver = channel.receiver();
  using sender = channel.sender();
  using weak = sender.downgrade();
  using another = weak.upgrade();
  assert.equal(another?.trySend(new Uint8Array(1000)), true);
  assert.equal((await receiver.receive()).length, 1000);
});

test("a weak sender elsewhere could open a sender: receiveSync() is no deadlock", async () => {
  await using worker = new TestWorker("web");
  using channel = mpsc(u32);
  const receiver = channel.receiver();
  using here = channel.weakSender();
  throws(() => receiver.receiveSync(), { name: "DeadlockError" });
  assert.equal(here.upgrade()?.closed, false);
  await worker.call("openSender", channel.senderTicket());
  throws(() => receiver.receiveSync({ timeout: 5 }), { name: "TimeoutError" });
});

test("a sender that is connected to another process has no weak one", async () => {
  using channel = mpsc(u32, { shared: true });
  const address = `@millrace-weak-${crypto.randomUUID()}`;
  using share = channel.share(address, { receivers: false });
  using sender = await Sender.connect(address, { layout: u32 });
  throws(() => sender.downgrade(), { name: "TypeError", message: /connect again/ });
  assert.equal(share.connections, 1);
  using weak = channel.weakSender();
  using another = weak.upgrade();
  assert.equal(another?.trySend(1), true);
});

test("a weak sender cannot be posted", () => {
  using channel = mpsc(u32);
  using weak = channel.weakSender();
  assert.throws(() => structuredClone(weak), { name: /DataCloneError|TypeError|Error/ });
});
