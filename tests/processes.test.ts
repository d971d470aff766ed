import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import test from "node:test";
import {
  type Channel,
  closeFd,
  type ConnectPlace,
  json,
  mpmc,
  mpsc,
  pool,
  receiveFd,
  Receiver,
  Sender,
  sendFd,
  type SharePlace,
  socketPair,
  spmc,
  spsc,
  struct,
  u16,
  u32,
} from "../mod.ts";
import { channelClosed, nextTurn, rejects, throws, until, within } from "./support/bounded.ts";
import { type Child, runtime, startChild, supportFile } from "./support/runtime.ts";
import { TestWorker } from "./support/workers.ts";

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

const shared = { shared: true } as const;

test("what a sender in another process sends arrives in order, and its end is the channel's", async () => {
  using channel = mpsc(u32, { ...shared, capacity: 64 });
  using receiver = channel.receiver();
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
  using receiver = channel.receiver();
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
  using sender = await Sender.connect<number>(address);
  using receiver = await Receiver.connect<number>(address);
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
  using sender = channel.sender();
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
  using sender = channel.sender();
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
  using receiver = channel.receiver();
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
  using receiver = channel.receiver();
  const [ours, theirs] = socketPair();
  using share = channel.share({ fd: ours });
  const child = startChild("child_process.ts", ["send", "fd:3", "10"], {
    limitMs,
    inherited: theirs,
  });
  for (let value = 0; value < 10; value++) {
    assert.equal(await within(receiver.receive(), "a value", limitMs), value);
  }
  closeFd(theirs);
  await output(child);
  assert.equal(share.closed, true);
});

// Only what is used of the runtimes' own ways to start a process.
interface Spawners {
  Deno?: {
    Command: new (
      program: string,
      options: { args: string[] },
    ) => { output(): Promise<{ code: number }> };
  };
  Bun?: {
    spawn(command: string[], options: { stdio: unknown[] }): { exited: Promise<number> };
  };
}

test("a child of Deno.Command inherits the descriptor itself, one of Bun.spawn what its stdio names", async () => {
  using channel = mpsc(u32, shared);
  using receiver = channel.receiver();
  const [ours, theirs] = socketPair();
  using share = channel.share({ fd: ours }, { receivers: false });
  const { Deno, Bun } = globalThis as Spawners;
  const task = [supportFile("child_process.ts"), "send"];
  let ended: Promise<number>;
  if (runtime === "deno") {
    assert.ok(Deno !== undefined);
    const args = ["run", "-A", "--no-check", ...task, `fd:${theirs}`, "3"];
    ended = new Deno.Command(process.execPath, { args }).output().then(({ code }) => code);
  } else {
    assert.ok(Bun !== undefined);
    const stdio = ["ignore", "ignore", "inherit", theirs];
    ended = Bun.spawn([process.execPath, "run", ...task, "fd:3", "3"], { stdio }).exited;
  }
  closeFd(theirs);
  const seen: number[] = [];
  for await (const value of receiver) seen.push(value);
  assert.deepEqual(seen, [0, 1, 2]);
  assert.equal(await within(ended, "the child's end", limitMs), 0);
  assert.equal(share.closed, true);
});

const kinds = {
  mpsc: { create: () => mpsc(u32, { ...shared, capacity: 64 }), senders: 3, receivers: 1 },
  spsc: { create: () => spsc(u32, { ...shared, capacity: 64 }), senders: 1, receivers: 1 },
  spmc: { create: () => spmc(u32, { ...shared, capacity: 64 }), senders: 1, receivers: 3 },
  mpmc: { create: () => mpmc(u32, { ...shared, capacity: 64 }), senders: 3, receivers: 3 },
};

for (const [kind, { create, senders, receivers }] of Object.entries(kinds)) {
  test(`${kind}: everything arrives once where senders and receivers are all in other processes`, async () => {
    using channel: Channel<number, Uint32Array> = create();
    const [toSend, toReceive] = [freshName(), freshName()];
    const receiving = channel.share(toReceive, { senders: false });
    using _sending = channel.share(toSend, { receivers: false, limit: senders });
    const readers = Array.from({ length: receivers }, () => start("receive", toReceive));
    for (const reader of readers) await reader.said("connected");
    receiving.close();
    const writers = Array.from({ length: senders }, () => start("send", toSend, 2000));
    for (const writer of writers) await output(writer);
    let [count, sum] = [0, 0];
    for (const reader of readers) {
      const [, tally = ""] = /ended (.*)/.exec(await output(reader)) ?? [];
      const [received = 0, total = 0] = tally.split(" ").map(Number);
      count += received;
      sum += total;
    }
    assert.deepEqual([count, sum], [2000 * senders, 1999 * 1000 * senders]);
  });
}

test("what a killed receiver had claimed is another's", async () => {
  using channel = mpmc(u32, { ...shared, claim: 16 });
  const address = freshName();
  using share = channel.share(address, { senders: false });
  using sender = channel.sender();
  sender.sendBatch(Array.from({ length: 100 }, (_, value) => value));
  const child = start("claimAndStay", address);
  await child.said("claimed");
  using receiver = channel.receiver();
  await kill(child);
  await until(() => share.connections === 0, "the death is noticed");
  assert.equal(channel.closed, false);
  sender.close();
  share.close();
  const seen: number[] = [];
  for await (const value of receiver) seen.push(value);
  // Those it had claimed come again; which is when the others have been claimed, or before.
  assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 100 }, (_, value) => value));
});

test("when the last of several receivers dies the channel is closed with PEER_DIED, a share or not", async () => {
  using channel = spmc(u32, shared);
  const address = freshName();
  using _share = channel.share(address, { senders: false });
  using sender = channel.sender();
  const children = [start("receive", address), start("receive", address)];
  for (const child of children) await child.said("connected");
  await kill(children[0] as Child);
  await until(() => channel.stats().receivers === 1, "the first death is noticed");
  assert.equal(sender.closed, false);
  await kill(children[1] as Child);
  await until(() => sender.closed, "the second death is noticed");
  await rejects(sender.send(1), { name: "ChannelClosedError", code: "PEER_DIED" });
});

test("64 connect at once, and close", async () => {
  using channel = mpsc(u32, { ...shared, maxSenders: 64 });
  using receiver = channel.receiver();
  const address = freshName();
  using share = channel.share(address);
  const senders = await Promise.all(
    Array.from({ length: 64 }, () => Sender.connect(address, { layout: u32 })),
  );
  assert.equal(share.connections, 64);
  senders.forEach((sender, index) => assert.ok(sender.trySend(index)));
  await rejects(Sender.connect(address), { name: "TooManyError", code: "TOO_MANY_SENDERS" });
  for (const sender of senders) sender.close();
  await until(() => share.connections === 0, "all are gone");
  share.close();
  const seen: number[] = [];
  for await (const value of receiver) seen.push(value);
  assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 64 }, (_, index) => index));
});

test("a Worker connects, and what it holds is given back when it is terminated", async () => {
  using channel = mpsc(u32, { ...shared, maxSenders: 1 });
  using receiver = channel.receiver();
  const address = freshName();
  using share = channel.share(address);
  {
    await using worker = new TestWorker("node");
    await worker.call("connectSender", address);
    await worker.call("send", "send", [1, 2, 3]);
    assert.equal(share.connections, 1);
  }
  await until(() => share.connections === 0, "the Worker's sender is gone");
  for (const value of [1, 2, 3]) assert.equal(await receiver.receive(), value);
  assert.equal(receiver.tryReceive().state, "empty");
  using sender = await Sender.connect(address, { layout: u32 });
  assert.ok(sender.trySend(4));
});

test("a channel that is disposed of ends for those who are connected, after what was sent", async () => {
  const channel = mpsc(u32, shared);
  const address = freshName();
  const share = channel.share(address);
  using sender = channel.sender();
  using receiver = await Receiver.connect(address, { layout: u32 });
  await sender.send(7);
  sender.close();
  channel[Symbol.dispose]();
  assert.deepEqual([share.closed, share.connections], [true, 0]);
  assert.equal(await receiver.receive(), 7);
  await rejects(receiver.receive(), channelClosed);
  receiver.close();
  share.close();
  await rejects(Sender.connect(address), { name: "ConnectError", code: "REFUSED" });
});

test("a share's limit is of connections, and a closed share lets nobody in", async () => {
  using channel = mpmc(u32, shared);
  const address = freshName();
  const share = channel.share(address, { limit: 2 });
  using sender = await Sender.connect(address, { layout: u32 });
  assert.equal(share.closed, false);
  using receiver = await Receiver.connect(address, { layout: u32 });
  assert.equal(share.closed, true);
  await rejects(Sender.connect(address), { name: "ConnectError", code: "REFUSED" });
  await sender.send(1);
  assert.equal(await receiver.receive(), 1);
  sender.close(); // the last: no share stands for another
  await rejects(receiver.receive(), channelClosed);
  receiver.close();
});

test("a role that a share does not offer is refused, as is a channel that is closed", async () => {
  using channel = mpsc(u32, shared);
  const [senders, receivers] = [freshName(), freshName()];
  channel.share(senders, { receivers: false });
  channel.share(receivers, { senders: false });
  const refused = { name: "ConnectError", code: "ROLE_REFUSED" };
  await rejects(Receiver.connect(senders), refused);
  await rejects(Sender.connect(receivers), refused);
  (await Receiver.connect(receivers)).close();
  await rejects(Sender.connect(senders), channelClosed);
});

test("a layout travels with the connection, and one that was not expected is refused without harm", async () => {
  const point = struct({ x: u32, y: u16 });
  using channel = mpsc(point, shared);
  const address = freshName();
  using share = channel.share(address);
  using sender = await Sender.connect<{ x: number; y: number }>(address);
  await sender.send({ x: 1, y: 2 });
  await rejects(Sender.connect(address, { layout: u32 }), { name: "ConnectError", code: "LAYOUT" });
  // A receiver's place that was not taken is another's.
  await rejects(Receiver.connect(address, { layout: json() }), {
    name: "ConnectError",
    code: "LAYOUT",
  });
  await until(() => share.connections === 1, "the refused ones are gone");
  using receiver = await Receiver.connect(address, { layout: point });
  assert.deepEqual({ ...await receiver.receive() }, { x: 1, y: 2 });
  receiver.close();
});

function inDirectory(use: (directory: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const directory = mkdtempSync(join(tmpdir(), "millrace-"));
    try {
      await use(directory);
    } finally {
      rmSync(directory, { recursive: true });
    }
  };
}

test(
  "a socket's file is the user's alone, goes with its share, and is replaced once nobody listens there",
  inDirectory(async (directory) => {
    const path = join(directory, "channel.sock");
    using channel = mpsc(u32, shared);
    const inUse = { name: "ConnectError", code: "ADDRESS_IN_USE" };
    {
      using _share = channel.share(path);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      throws(() => channel.share(path), inUse);
    }
    assert.equal(existsSync(path), false);
    using other = mpsc(u32, shared);
    using _users = other.share(path, { users: [12345] });
    assert.equal(statSync(path).mode & 0o022, 0o022 & ~process.umask());
    _users.close();

    const keeper = start("keep", path);
    await keeper.said("shared");
    using sender = await Sender.connect(path, { layout: u32 });
    const stranger = start("keep", join(directory, "other.sock"));
    await stranger.said("shared");
    await kill(keeper);
    await kill(stranger);
    await until(() => !existsSync(path), "who was connected removes the file");
    sender.close();
    // Nobody was connected there: the file stays until somebody wants its place.
    assert.ok(existsSync(join(directory, "other.sock")));
    await rejects(Sender.connect(join(directory, "other.sock")), {
      name: "ConnectError",
      code: "REFUSED",
    });
    using third = mpsc(u32, shared);
    const _sender = third.sender(); // or the end of the share were the channel's
    third.share(join(directory, "other.sock")).close();

    const file = join(directory, "file");
    writeFileSync(file, "precious");
    throws(() => third.share(file), inUse);
    assert.equal(readFileSync(file, "utf8"), "precious");
    await rejects(Sender.connect(file), { name: "ConnectError", code: "REFUSED" });
    throws(() => third.share(join(directory, "none", "x")), {
      name: "ConnectError",
      code: "NO_SUCH_PATH",
    });
  }),
);

test("who does not answer, hangs up or talks nonsense is told from who does", async () => {
  const timedOut = { name: "ConnectError", code: "TIMEOUT" };
  const [silent, silentEnd] = socketPair();
  await rejects(Sender.connect({ fd: silent }, { timeout: 20 }), timedOut);
  closeFd(silentEnd);

  const [cut, cutEnd] = socketPair();
  closeFd(cutEnd);
  await rejects(Sender.connect({ fd: cut }), { name: "ConnectError", code: "PEER_DIED" });

  const [babbled, babbler] = socketPair();
  sendFd(babbler, 1);
  await rejects(Sender.connect({ fd: babbled }), { name: "ConnectError", code: "NOT_UNDERSTOOD" });
  closeFd(babbler);

  using channel = mpsc(u32, shared);
  const [ours, theirs] = socketPair();
  const share = channel.share({ fd: ours });
  sendFd(theirs, 1);
  await until(() => share.closed, "the babbler is sent away");
  closeFd(theirs);

  const [aborted, abortedEnd] = socketPair();
  const controller = new AbortController();
  const connecting = Sender.connect({ fd: aborted }, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await rejects(connecting, { name: "Error", message: /enough/ });
  closeFd(abortedEnd);
});

test("sendFd() and receiveFd() pass a descriptor on", async () => {
  const [left, right] = socketPair();
  const file = openSync(supportFile("runtime.ts"), "r");
  sendFd(left, file);
  const received = receiveFd(right);
  assert.notEqual(received, file);
  assert.equal(statSync(`/proc/self/fd/${received}`).ino, fstatSync(file).ino);
  closeSync(file);
  for (const fd of [received, left]) closeFd(fd);
  const hungUp = { name: "ConnectError", code: "PEER_DIED" };
  throws(() => receiveFd(right), hungUp);
  throws(() => sendFd(right, 1), hungUp);
  closeFd(right);
  throws(() => closeFd(right), { name: "RangeError" });
  throws(() => sendFd(-1, 1), { name: "RangeError" });
  throws(() => receiveFd("3" as unknown as number), { name: "TypeError" });
  await nextTurn();
});

test("a share and a connect with wrong arguments say what they expected", async () => {
  using plain = mpsc(u32);
  throws(() => plain.share(freshName()), { name: "TypeError", message: /shared: true/ });
  throws(() => mpsc(u32, { shared: 1 as unknown as boolean }), { name: "TypeError" });
  throws(() => mpsc(u32, { onReceiverDeath: "wait" }), { name: "TypeError", message: /shared/ });
  throws(() => mpsc(u32, { ...shared, onReceiverDeath: "stay" as "wait" }), { name: "TypeError" });
  using channel = mpsc(u32, shared);
  for (const place of [undefined, null, 7, {}] as unknown[] as SharePlace[]) {
    throws(() => channel.share(place), { name: "TypeError", message: /address or \{ fd \}/ });
    await rejects(Sender.connect(place as ConnectPlace), { name: "TypeError" });
  }
  for (const place of ["", "@", "a\0b", "x".repeat(108), { fd: -1 }, { fd: 1.5 }]) {
    throws(() => channel.share(place), { name: "RangeError" });
    await rejects(Receiver.connect(place), { name: "RangeError" });
  }
  throws(() => channel.share({ fd: "3" as unknown as number }), { name: "TypeError" });
  const wrong: [Record<string, unknown>, string][] = [
    [{ senders: 1 }, "TypeError"],
    [{ senders: false, receivers: false }, "TypeError"],
    [{ limit: 0 }, "RangeError"],
    [{ limit: 1.5 }, "RangeError"],
    [{ users: 7 }, "TypeError"],
    [{ users: [-1] }, "RangeError"],
    [{ users: Array(33).fill(1) }, "RangeError"],
  ];
  for (const [options, name] of wrong) throws(() => channel.share(freshName(), options), { name });
  await rejects(Sender.connect(freshName(), { timeout: -1 }), { name: "RangeError" });
  await rejects(Sender.connect(freshName(), { users: [-1] }), { name: "RangeError" });
  await rejects(Sender.connect(freshName(), { layout: {} as typeof u32 }), { name: "TypeError" });
  await rejects(Sender.connect(freshName()), { name: "ConnectError", code: "REFUSED" });
  // A descriptor that is no such socket stays the program's.
  const file = openSync(supportFile("runtime.ts"), "r");
  throws(() => channel.share({ fd: file }), { name: "RangeError", message: /socket/ });
  await rejects(Sender.connect({ fd: file }), { name: "RangeError", message: /socket/ });
  assert.ok(fstatSync(file).isFile());
  closeSync(file);
  using slabs = pool({ slab: 4096, count: 2 });
  using frames = mpsc(slabs.layout(), shared);
  throws(() => frames.share(freshName()), { name: "TypeError", message: /pool/ });
});
