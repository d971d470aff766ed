import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { mpsc, Receiver, Sender, socketPair, u32 } from "../mod.ts";
import { channelClosed, rejects, until, within } from "./support/bounded.ts";
import { type Child, startChild } from "./support/runtime.ts";

const limitMs = 60_000;

/** A name that no other test, and no other run, has. */
function freshName(): string {
  return `@millrace-test-${process.pid}-${crypto.randomUUID()}`;
}

function start(task: string, address: string, count = 0): Child {
  return startChild("child_process.ts", [task, address, String(count)], { limitMs });
}

/** Waits for the end of a child that is expected to end by itself, and gives what it printed. */
async function output(child: Child): Promise<string> {
  const { code, stdout, stderr } = await child.ended;
  assert.equal(code, 0, stderr);
  return stdout;
}

async function kill(child: Child): Promise<void> {
  child.kill("SIGKILL");
  assert.equal((await child.ended).code === 0, false);
}

const shared = { shared: true, pollBudget: Infinity } as const;

test("what a sender in another process sends arrives in order, and its end is the channel's", async () => {
  using channel = mpsc(u32, { ...shared, capacity: 64 });
  const receiver = channel.receiver();
  const address = freshName();
  using share = channel.share(address, { receivers: false, limit: 1 });
  const child = start("send", address, 10_000);
  let expected = 0;
  for await (const value of receiver) assert.equal(value, expected++);
  assert.equal(expected, 10_000);
  assert.deepEqual([share.connections, share.closed], [0, true]);
  await output(child);
});

test("a killed sender's messages are delivered, and its ring is another's", async () => {
  using channel = mpsc(u32, { ...shared, maxSenders: 1 });
  const receiver = channel.receiver();
  const address = freshName();
  using share = channel.share(address);
  for (let round = 0; round < 3; round++) {
    const child = start("sendAndStay", address, 100);
    await child.said("sent");
    assert.equal(share.connections, 1);
    await rejects(Sender.connect(address), { name: "TooManyError", code: "TOO_MANY_SENDERS" });
    await kill(child);
    for (let value = 0; value < 100; value++) {
      assert.equal(await within(receiver.receive(), "a value"), value);
    }
    await until(() => share.connections === 0, "the connection is dropped");
    // A drained ring is given back by a look of the receiver.
    assert.equal(receiver.tryReceive().state, "empty");
  }
  share.close();
  await rejects(receiver.receive(), channelClosed);
});

test("when its maker dies a channel is closed with PEER_DIED, for senders at once and for receivers once drained", async () => {
  const address = freshName();
  const child = start("keep", address, 10);
  await child.said("shared");
  const sender = await Sender.connect<number>(address);
  const receiver = await Receiver.connect<number>(address);
  await sender.send(10);
  await kill(child);
  await until(() => sender.closed, "the death is noticed");
  await rejects(sender.send(11), { name: "ChannelClosedError", code: "PEER_DIED" });
  for (let value = 0; value <= 10; value++) assert.equal(await receiver.receive(), value);
  await rejects(receiver.receive(), { name: "ChannelClosedError", code: "PEER_DIED" });
  await assert.rejects(async () => {
    for await (const value of receiver) assert.fail(String(value));
  }, { code: "PEER_DIED" });
  sender.close();
  receiver.close();
  await rejects(Sender.connect(address), { name: "ConnectError", code: "REFUSED" });
});

test("when the receiver dies a channel is closed with PEER_DIED", async () => {
  using channel = mpsc(u32, shared);
  const address = freshName();
  using share = channel.share(address);
  const child = start("receiveAndStay", address, 3);
  const sender = channel.sender();
  for (let value = 0; value < 3; value++) await sender.send(value);
  await child.said("received");
  await kill(child);
  await until(() => sender.closed, "the death is noticed");
  await rejects(sender.send(4), { name: "ChannelClosedError", code: "PEER_DIED" });
  assert.equal(share.connections, 0);
  await rejects(Sender.connect(address), channelClosed);
});

test('with onReceiverDeath "wait" the next receiver gets what the dead one had not', async () => {
  using channel = mpsc(u32, { ...shared, onReceiverDeath: "wait" });
  const address = freshName();
  using share = channel.share(address, { senders: false });
  const sender = channel.sender();
  const other = channel.sender();
  for (let value = 0; value < 100; value++) await sender.send(value);
  const child = start("receiveAndStay", address, 100);
  await child.said("received");
  await kill(child);
  await until(() => share.connections === 0, "the death is noticed");
  assert.equal(channel.closed, false);
  await sender.send(100);
  await other.send(200);
  const next = start("receive", address);
  await next.said("connected");
  await sender.send(101);
  sender.close();
  other.close();
  const [, tally = ""] = /ended (.*)/.exec(await output(next)) ?? [];
  // What was received and not yet given back comes again; of the dead one's that is 64 at most.
  const [count = 0, sum = 0] = tally.split(" ").map(Number);
  assert.ok(count >= 3 && count <= 3 + 64, tally);
  assert.equal((sum - 100 - 101 - 200) >= 0, true, tally);
});

test("a sender in another process learns that the receiver has closed", async () => {
  using channel = mpsc(u32, { ...shared, capacity: 8 });
  const receiver = channel.receiver();
  const address = freshName();
  using _share = channel.share(address);
  const child = start("sendUntilClosed", address);
  for (let value = 0; value < 1000; value++) {
    assert.equal(await within(receiver.receive(), "a value"), value);
  }
  receiver.close();
  assert.match(await output(child), /closed CHANNEL_CLOSED/);
});

test("a receiver in another process gets everything, and then the end", async () => {
  using channel = mpsc(u32, { ...shared, capacity: 64 });
  const address = freshName();
  using share = channel.share(address, { senders: false, limit: 1 });
  const child = start("receive", address);
  await child.said("connected");
  const senders = [channel.sender(), channel.sender(), channel.sender()];
  await Promise.all(senders.map(async (sender, first) => {
    for (let value = first; value < 3000; value += 3) await sender.send(value);
    sender.close();
  }));
  assert.match(await output(child), new RegExp(`ended 3000 ${2999 * 1500}\n`));
  assert.equal(share.closed, true);
});

test("a child inherits one end of a pair of sockets", async () => {
  using channel = mpsc(u32, shared);
  const receiver = channel.receiver();
  const [ours, theirs] = socketPair();
  using share = channel.share({ fd: ours });
  const child = startChild("child_process.ts", ["send", "fd:3", "10"], {
    limitMs,
    inherited: theirs,
  });
  for (let value = 0; value < 10; value++) {
    assert.equal(await within(receiver.receive(), "a value", limitMs), value);
  }
  await output(child);
  assert.equal(share.closed, true);
});
