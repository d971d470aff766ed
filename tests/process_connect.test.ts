/**
 * Who is let in, who is not, and what comes and goes: sockets' files, users, roles, limits.
 */

import assert from "node:assert/strict";
import { chmodSync, existsSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import process from "node:process";
import { after, test } from "node:test";
import { bytes, mpmc, mpsc, Receiver, Sender, spsc, struct, u32, u64, utf8 } from "../mod.ts";
import { rejects, throws, until, within } from "./support/bounded.ts";
import { collect, range } from "./support/channels.ts";
import { runtime } from "./support/runtime.ts";
import { assertNothingLeft, belongings, hasSaid, isStopped, Peers } from "./support/processes.ts";

const peers = new Peers();
after(() => peers[Symbol.dispose]());

const limitMs = 60_000;
const isRoot = process.getuid?.() === 0;
/** A user that is not this one; nobody needs to know of it. */
const stranger = 65_000;
const notPermitted = "failed -42";

/** An abstract name that no other test, and no other run, has. */
function freshName(): string {
  return `@millrace-${process.pid}-${crypto.randomUUID()}`;
}

test("a socket's file is for its user alone, and gone when the share is closed", () => {
  using channel = mpsc(u32, { shared: true });
  const address = peers.address();
  const share = channel.share(address);
  assert.equal(statSync(address).mode & 0o777, 0o600);
  assert.equal(statSync(address).isSocket(), true);
  share.close();
  assert.equal(existsSync(address), false);
  assert.equal(share.closed, true);
});

test("a socket's file is gone with the channel that was shared", () => {
  const channel = mpsc(u32, { shared: true });
  const address = peers.address();
  channel.share(address);
  channel[Symbol.dispose]();
  assert.equal(existsSync(address), false);
});

test("a share is closed, and its file gone, at its limit; who has connected stays", async () => {
  using channel = mpsc(u32, { shared: true });
  const address = peers.address();
  const share = channel.share(address, { limit: 2 });
  using first = await Sender.connect(address, { layout: u32 });
  assert.equal(share.closed, false);
  using second = await Sender.connect(address, { layout: u32 });
  assert.equal(share.closed, true);
  assert.equal(existsSync(address), false);
  await rejects(Sender.connect(address), { name: "ConnectError", code: "NO_SUCH_PATH" });
  using receiver = channel.receiver();
  await first.send(1);
  await second.send(2);
  assert.deepEqual([await receiver.receive(), await receiver.receive()].toSorted(), [1, 2]);
});

test("a file that a dead keeper left is replaced; one that somebody listens at is not", async () => {
  using channel = mpsc(u32, { shared: true });
  const address = peers.address();
  const keeper = peers.start("c", "sit-keep", address, "mpsc");
  await hasSaid(keeper, "shared");
  throws(() => channel.share(address), { name: "ConnectError", code: "ADDRESS_IN_USE" });
  keeper.kill("SIGKILL");
  await keeper.ended;
  assert.equal(existsSync(address), true);
  await rejects(Sender.connect(address), { name: "ConnectError", code: "REFUSED" });
  using _share = channel.share(address);
  using sender = await Sender.connect(address, { layout: u32 });
  assert.equal(sender.closed, false);
});

test("a file that is no socket is not replaced", () => {
  using channel = mpsc(u32, { shared: true });
  const address = peers.address();
  writeFileSync(address, "precious");
  throws(() => channel.share(address), { name: "ConnectError", code: "ADDRESS_IN_USE" });
  assert.equal(statSync(address).size, 8);
});

test("connect() says what is wrong: nobody there, another role, no room, closed", async () => {
  await rejects(Sender.connect(peers.address()), { name: "ConnectError", code: "NO_SUCH_PATH" });
  await rejects(Sender.connect(freshName()), { name: "ConnectError", code: "REFUSED" });
  using channel = mpsc(u32, { shared: true, maxSenders: 1 });
  const [senders, both] = [freshName(), freshName()];
  channel.share(senders, { receivers: false });
  channel.share(both);
  await rejects(Receiver.connect(senders), { name: "ConnectError", code: "ROLE_REFUSED" });
  using _sender = await Sender.connect(both, { layout: u32 });
  await rejects(Sender.connect(both), { name: "TooManyError", code: "TOO_MANY_SENDERS" });
  using _receiver = await Receiver.connect(both, { layout: u32 });
  await rejects(Receiver.connect(both), { name: "ReceiverTakenError", code: "RECEIVER_TAKEN" });
  channel.close();
  await rejects(Sender.connect(senders), { name: "ChannelClosedError", code: "CHANNEL_CLOSED" });
});

test("connect() refuses values that are laid out otherwise, and takes the keeper's word without a layout", async () => {
  using channel = mpsc(struct({ at: u32, what: u32 }), { shared: true });
  const address = freshName();
  channel.share(address);
  await rejects(Sender.connect(address, { layout: u32 }), { name: "ConnectError", code: "LAYOUT" });
  const other = struct({ at: u32, what: u64 });
  await rejects(Sender.connect(address, { layout: other }), {
    name: "ConnectError",
    code: "LAYOUT",
    message:
      /^Cannot connect a sender to "[^"]*": its field what is u32, expected u64; use one layout/,
  });
  await rejects(Sender.connect(address, { layout: utf8 }), {
    name: "ConnectError",
    code: "LAYOUT",
  });
  using sender = await Sender.connect<{ at: number; what: number }>(address);
  await sender.send({ at: 1, what: 2 });
  using receiver = channel.receiver();
  assert.deepEqual(await receiver.receive(), { at: 1, what: 2 });
});

test("connect() gives up on one that does not answer, and when it is told to", async () => {
  const before = belongings();
  const address = peers.address();
  // Somebody listens, and says nothing: of another kind of socket, so it is refused at once…
  const server: Server = createServer();
  await new Promise<void>((resolve) => server.listen(address, resolve));
  await rejects(Sender.connect(address), { name: "ConnectError", code: "REFUSED" });
  await new Promise<void>((resolve) => server.close(() => resolve()));
  // … and a keeper that is stopped.
  const stopped = peers.address();
  const keeper = peers.start("c", "sit-keep", stopped, "mpsc");
  await hasSaid(keeper, "shared");
  keeper.kill("SIGSTOP");
  // One that still runs for a moment would answer.
  await until(() => isStopped(keeper.pid), "no thread of it runs any more");
  await rejects(Sender.connect(stopped, { timeout: 20 }), {
    name: "ConnectError",
    code: "TIMEOUT",
  });
  const reason = new Error("enough");
  const abort = new AbortController();
  const connecting = Sender.connect(stopped, { signal: abort.signal });
  setTimeout(() => abort.abort(reason), 10);
  await assert.rejects(within(connecting, "the abort"), reason);
  keeper.kill("SIGKILL");
  await keeper.ended;
  await assertNothingLeft(before);
});

test("what a peer says that speaks something else is refused, and costs nothing", async () => {
  using channel = mpsc(u32, { shared: true });
  const address = peers.address();
  channel.share(address);
  const before = belongings();
  // Strangers that say nothing, garbage, half of a hello, and leave.
  const rude = peers.start("c", "rude", address);
  await hasSaid(rude, "done");
  await rude.ended;
  using sender = await Sender.connect(address, { layout: u32 });
  await sender.send(1);
  sender.close();
  await assertNothingLeft(before);
});

test("a process of another user is refused", {
  skip: isRoot ? false : "only the superuser can become another",
}, async () => {
  using channel = mpsc(u32, { shared: true });
  // By an abstract name, which has no file whose mode could refuse it before the keeper does; and by a
  // file that somebody has opened to everyone.
  const [name, file] = [freshName(), peers.address()];
  channel.share(name);
  channel.share(file);
  chmodSync(file, 0o666);
  for (const address of [name, file]) {
    for (const role of [0, 1]) {
      const child = peers.start("c", "as-user", address, stranger, role);
      const { stdout } = await within(child.ended, "the stranger to give up", limitMs);
      assert.match(stdout, new RegExp(`^${notPermitted}$`, "m"));
    }
  }
  assert.equal(channel.stats().senders, 0);
});

test("a user that the option names is let in, and no other", {
  skip: isRoot ? false : "only the superuser can become another",
}, async () => {
  using channel = mpsc(u32, { shared: true });
  const address = freshName();
  channel.share(address, { users: [stranger] });
  const welcome = peers.start("c", "as-user", address, stranger, 0);
  assert.match((await within(welcome.ended, "its end", limitMs)).stdout, /^connected\nclosed$/m);
  const other = peers.start("c", "as-user", address, stranger + 1, 0);
  assert.match(
    (await within(other.ended, "its end", limitMs)).stdout,
    new RegExp(`^${notPermitted}$`, "m"),
  );
});

const crowd = 64;

test(`${crowd} connects at once, and ${crowd} disconnects, again and again`, async () => {
  const before = belongings();
  const channel = mpmc(u32, { shared: true, maxSenders: crowd, maxReceivers: crowd });
  // The end of the last receiver would be that of the channel.
  using receiver = channel.receiver();
  const address = peers.address();
  const share = channel.share(address);
  for (let round = 0; round < 3; round++) {
    const connecting = range(crowd).map((index) =>
      index % 2 === 0
        ? Sender.connect(address, { layout: u32, timeout: limitMs })
        : Receiver.connect(address, { layout: u32, timeout: limitMs })
    );
    const endpoints = await within(Promise.all(connecting), "everyone to connect", limitMs);
    assert.equal(share.connections, crowd);
    for (const endpoint of endpoints) endpoint.close();
    await until(() => share.connections === 0, "everyone has left", limitMs);
    // A ring is given back by a look of a receiver that finds it drained.
    assert.equal(receiver.tryReceive().state, "empty");
  }
  channel[Symbol.dispose]();
  receiver.close();
  await assertNothingLeft(before);
});

test(`${crowd} processes connect and disconnect at once`, async () => {
  const before = belongings();
  // A ring is another's when it is drained, which may be later than the next connect.
  const channel = mpsc(u32, { capacity: 16, shared: true, maxSenders: 20 * crowd });
  const address = peers.address();
  const share = channel.share(address, { receivers: false });
  using receiver = channel.receiver();
  const children = range(crowd).map(() => peers.start("c", "churn", address, 20));
  let count = 0;
  let sum = 0;
  const receiving = (async () => {
    for await (const value of receiver) {
      count++;
      sum += value;
    }
  })();
  for (const child of children) {
    const { stdout, stderr } = await within(child.ended, "its end", limitMs);
    assert.match(stdout, /^churned 20$/m, `${stdout}${stderr}`);
  }
  share.close();
  await within(receiving, "the end", limitMs);
  assert.deepEqual({ count, sum }, { count: crowd * 20, sum: crowd * 190 });
  channel[Symbol.dispose]();
  receiver.close();
  await assertNothingLeft(before);
});

test(`under ${runtime} many messages of any length cross, with connects in between`, async () => {
  const channel = mpsc(bytes, { capacity: 4096, shared: true });
  const address = peers.address();
  const share = channel.share(address, { receivers: false });
  const receiving = collect(channel.receiver());
  for (let round = 0; round < 5; round++) {
    using sender = await Sender.connect<Uint8Array>(address, { layout: bytes });
    for (let length = 0; length < 300; length++) {
      await sender.send(new Uint8Array(length).fill(length));
    }
  }
  share.close();
  // Each sender's come in order, one sender's among another's.
  const messages = (await receiving).toSorted((a, b) => a.length - b.length);
  assert.equal(messages.length, 5 * 300);
  messages.forEach((message, index) => {
    const length = Math.floor(index / 5);
    assert.equal(message.length, length);
    assert.ok(message.every((byte) => byte === length % 256), `a message of ${length} bytes`);
  });
  channel[Symbol.dispose]();
});

test("share() and connect() say what they were given", async () => {
  using private_ = mpsc(u32);
  throws(() => private_.share(freshName()), { name: "TypeError", message: /shared: true/ });
  using channel = spsc(u32, { shared: true });
  for (const place of ["", "@", "a\0b", "x".repeat(200)]) {
    throws(() => channel.share(place), { name: "RangeError", message: /an address must have/ });
    await rejects(Sender.connect(place), { name: "RangeError", message: /an address must have/ });
  }
  for (const place of [undefined, null, 7, {}]) {
    throws(() => channel.share(place as string), { name: "TypeError", message: /expected/ });
    await rejects(Sender.connect(place as string), { name: "TypeError", message: /expected/ });
  }
  for (const limit of [0, -1, 1.5, NaN]) {
    throws(() => channel.share(freshName(), { limit }), { name: "RangeError", message: /limit/ });
  }
  throws(() => channel.share(freshName(), { users: ["root"] as unknown as number[] }), {
    name: "TypeError",
    message: /users\[0\]/,
  });
  throws(() => channel.share("/nowhere/at/all"), { name: "ConnectError", code: "NO_SUCH_PATH" });
  throws(() => channel.share({ fd: -1 }), { name: "RangeError", message: /descriptor/ });
  await rejects(Sender.connect({ fd: 0.5 }), { name: "RangeError", message: /descriptor/ });
  await rejects(Sender.connect(freshName(), { timeout: -1 }), { name: "RangeError" });
});
