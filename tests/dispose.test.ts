/**
 * Disposal of a channel: it waits for what was sent to be received, as long as that can happen.
 */

import assert from "node:assert/strict";
import test from "node:test";
import { mpmc, mpsc, Receiver, spmc, spsc, u32 } from "../mod.ts";
import { isPending, until, within } from "./support/bounded.ts";
import { channelsAlive, channelsSettled } from "./support/channels.ts";
import { runChild } from "./support/runtime.ts";
import { TestWorker } from "./support/workers.ts";

const kinds = { mpsc, spsc, spmc, mpmc };

const fails = [
  "nobody has received",
  "one value was received",
  "the body of for await throws",
  "a handler of run() throws",
  "drain() throws",
  "readable() is not released",
  "a sender waits for room",
];
const ends = ["for await is left", "batches() are left", "a stream is left"];

for (const kind of ["mpsc", "mpmc"]) {
  for (const mode of fails) {
    test(`await using an ${kind} channel shows the error of its block: ${mode}`, async () => {
      const child = await runChild("child_dispose.ts", [kind, mode]);
      assert.equal(child.code, 1, `${child.signal} ${child.stdout}${child.stderr}`);
      assert.match(child.stderr, /boom/);
    });
  }

  for (const mode of ends) {
    test(`await using an ${kind} channel ends with messages unread: ${mode}`, async () => {
      const child = await runChild("child_dispose.ts", [kind, mode]);
      assert.equal(child.code, 0, `${child.signal} ${child.stdout}${child.stderr}`);
      assert.equal(child.stdout.trim(), "the end");
    });
  }
}

for (const [kind, create] of Object.entries(kinds)) {
  test(`disposal of an ${kind} channel waits for a loop whose body is at work, a run() and a receive()`, async () => {
    const before = await channelsSettled();
    for (const how of ["for await", "batches", "stream", "run", "receive"] as const) {
      const got: number[] = [];
      const gate = Promise.withResolvers<void>();
      let consuming: Promise<unknown>;
      const channel = create(u32, { capacity: 8 });
      const receiver = channel.receiver();
      const take = async (value: number) => {
        got.push(value);
        await gate.promise;
      };
      const iterate = async () => {
        if (how === "batches") {
          for await (const batch of receiver.batches({ max: 1 })) await take(batch[0] as number);
        } else {
          const values = how === "stream" ? receiver.toReadableStream() : receiver;
          for await (const value of values) await take(value);
        }
      };
      const sender = channel.sender();
      if (how === "receive") consuming = receiver.receive().then(take);
      else if (how === "run") consuming = receiver.run(take).finished;
      else consuming = iterate();
      assert.ok(await isPending(consuming));
      sender.sendBatch(how === "receive" ? [1] : [1, 2, 3]);
      // What is at work at the latest when the disposal begins must be waited for.
      if (how !== "receive") await until(() => got.length === 1, "the first is at work");
      const disposal = channel[Symbol.asyncDispose]();
      if (how !== "receive") assert.ok(await isPending(disposal), how);
      gate.resolve();
      await within(disposal, `the disposal: ${how}`);
      await within(consuming, `the end of what receives: ${how}`);
      assert.deepEqual(got, how === "receive" ? [1] : [1, 2, 3], how);
      sender.close();
      receiver.close();
    }
    await until(() => channelsAlive() <= before, "the memory is given back");
  });

  test(`disposal of an ${kind} channel waits for a receiver of a Worker, until that is gone`, async () => {
    for (const end of ["receives", "closes", "dies"] as const) {
      const worker = new TestWorker("node");
      const channel = create(u32, { capacity: 8 });
      // Where there can be two, one of this thread that will never receive.
      const idle = channel.maxReceivers > 1 ? channel.receiver() : undefined;
      await worker.call("openReceiver", channel.receiverTicket());
      channel.sender().sendBatch([1, 2, 3]);
      const disposal = channel[Symbol.asyncDispose]();
      assert.ok(await isPending(disposal), end);
      if (end === "receives") {
        assert.deepEqual(await worker.call("receiveRest", "iterate"), [1, 2, 3]);
      } else if (end === "closes") await worker.call("closeReceiver");
      else await worker[Symbol.asyncDispose]();
      await within(disposal, `the disposal of a channel whose receiver ${end}`);
      idle?.close();
      await worker[Symbol.asyncDispose]();
    }
  });

  test(`disposal of an ${kind} channel waits for a ticket to be used, until it is revoked`, async () => {
    const channel = create(u32, { capacity: 8 });
    const [used, unused] = [channel.receiverTicket(), channel.receiverTicket()];
    channel.sender().sendBatch([1, 2, 3]);
    const disposal = channel[Symbol.asyncDispose]();
    assert.ok(await isPending(disposal));
    const receiver = Receiver.open(used);
    assert.equal(await receiver.receive(), 1);
    channel.revoke(unused);
    // Open and not receiving, in this very thread.
    await within(disposal, "the disposal");
    assert.deepEqual(receiver.receiveBatch(8).length, 2);
    receiver.close();
  });
}
