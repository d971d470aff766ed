/**
 * The reason a channel is closed with: who gets it, in every kind, verb and place, and what of it
 * arrives.
 */

import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import {
  bytes,
  type Channel,
  ChannelClosedError,
  type ChannelOptions,
  type Layout,
  mpmc,
  mpsc,
  pool,
  Receiver,
  Sender,
  spmc,
  spsc,
  TimeoutError,
  u32,
  utf8,
} from "../mod.ts";
import { Limits } from "../ffi/abi.ts";
import type { Endpoint } from "../src/endpoint.ts";
import { encodeReason, readReason } from "../src/reason.ts";
import { endpointClosed, isPending, rejectionOf, within } from "./support/bounded.ts";
import { fill, pair } from "./support/channels.ts";
import { startChild } from "./support/runtime.ts";
import { TestWorker } from "./support/workers.ts";

type Create = <Value, Batch>(
  layout: Layout<Value, Batch>,
  options?: ChannelOptions,
) => Channel<Value, Batch>;
const kinds: Record<string, Create> = { mpsc, spsc, spmc, mpmc };

function freshName(): string {
  return `@millrace-test-${process.pid}-${crypto.randomUUID()}`;
}

/** The cause of an error that says that the channel is closed. */
function causeOf(error: unknown): unknown {
  assert.ok(error instanceof ChannelClosedError, `expected a ChannelClosedError: ${error}`);
  assert.equal(error.code, "CHANNEL_CLOSED");
  assert.ok("cause" in error, "expected a cause");
  return error.cause;
}

function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  assert.fail("nothing was thrown");
}

async function causeOfRejection(promise: PromiseLike<unknown>): Promise<unknown> {
  return causeOf(await rejectionOf(promise));
}

/** Everything that a receive can be, at the end of a channel. */
async function causesOfReceives<Value, Batch>(
  receiver: Receiver<Value, Batch>,
): Promise<unknown[]> {
  return [
    await causeOfRejection(receiver.receive()),
    causeOf(thrownBy(() => receiver.receiveSync())),
    await causeOfRejection(Array.fromAsync(receiver)),
    await causeOfRejection(Array.fromAsync(receiver.batches())),
    await causeOfRejection(receiver.run(() => {}).finished),
    await causeOfRejection(Array.fromAsync(receiver.toReadableStream())),
  ];
}

const isDry = (cause: unknown) =>
  assert.ok(cause instanceof RangeError && cause.message === "the river is dry", String(cause));

for (const [kind, create] of Object.entries(kinds)) {
  for (const shared of [false, true]) {
    const where = shared ? "a shared" : "an";

    test(`sender.close(reason) ends ${where} ${kind} channel with it for everyone, after what was sent`, async () => {
      using channel = create(u32, { capacity: 8, shared });
      using receiver = channel.receiver();
      const sender = channel.sender();
      const others = channel.maxSenders > 1 ? [channel.sender()] : [];
      for (const other of others) fill(other, () => 7);
      const waiting = others.map((other) => other.send(8));
      sender.writer().push(1);
      sender.close(new RangeError("the river is dry"));
      assert.equal(channel.closed, true);
      for (const send of waiting) isDry(await causeOfRejection(send));
      const values: number[] = [];
      for (let result = receiver.tryReceive(); result.state === "ok";) {
        values.push(result.value);
        result = receiver.tryReceive();
      }
      assert.deepEqual(values.sort(), others.length === 0 ? [1] : [1, ...Array(8).fill(7)]);
      assert.deepEqual(receiver.tryReceive(), { state: "closed" });
      assert.equal(await receiver.ready(), false);
      for (const cause of await causesOfReceives(receiver)) isDry(cause);
      for (const other of others) other.close();
      await within(channel.drained(), "drained() of a channel that failed");
      isDry(causeOf(thrownBy(() => channel.sender())));
      isDry(causeOf(thrownBy(() => channel.senderTicket())));
    });

    test(`channel.close(reason) adds it after the last sender of ${where} ${kind} channel has gone`, async () => {
      using channel = create(u32, { capacity: 8, shared });
      using receiver = channel.receiver();
      try {
        using sender = channel.sender();
        sender.trySend(1);
        throw new RangeError("the river is dry");
      } catch (error) {
        channel.close(error);
        channel.close(new Error("only the first counts"));
      }
      assert.equal(await receiver.receive(), 1);
      for (const cause of await causesOfReceives(receiver)) isDry(cause);
    });
  }

  test(`every send into an ${kind} channel that was closed with a reason fails with it`, async () => {
    using channel = create(u32, { capacity: 4 });
    using _receiver = channel.receiver();
    using sender = channel.sender();
    const writer = sender.writer();
    const late = sender.writer();
    fill(sender, () => 1);
    const sends = [sender.send(2), sender.ready(), writer.ready(), sender.sendAll([3])];
    assert.ok(await isPending(sends[0] as Promise<void>));
    channel.close(new RangeError("the river is dry"));
    const first = await rejectionOf(sends[0] as Promise<void>);
    assert.equal((first as ChannelClosedError).value, 2);
    isDry(causeOf(first));
    for (const send of sends.slice(1)) isDry(await causeOfRejection(send));
    assert.equal(sender.trySend(4), false);
    isDry(await causeOfRejection(sender.send(4)));
    isDry(await causeOfRejection(sender.sendAll([4])));
    isDry(await causeOfRejection(sender.ready()));
    isDry(await causeOfRejection(late.ready()));
    for (
      const call of [
        () => sender.sendSync(4),
        () => sender.sendBatch([4]),
        () => sender.sendAllSync([4]),
        () => sender.reserve(1),
        () => late.push(4),
      ]
    ) isDry(causeOf(thrownBy(call)));
  });

  test(`commit() and flush() tell the reason that an ${kind} channel was closed with meanwhile`, () => {
    using channel = create(u32, { capacity: 4 });
    using _receiver = channel.receiver();
    using sender = channel.sender();
    sender.reserve(1);
    channel.close(new RangeError("the river is dry"));
    isDry(causeOf(thrownBy(() => sender.commit(1))));

    using second = create(u32, { capacity: 4 });
    using _other = second.receiver();
    using pushing = second.sender();
    const writer = pushing.writer({ chunk: 4 });
    writer.push(1);
    second.close(new RangeError("the river is dry"));
    isDry(causeOf(thrownBy(() => writer.flush())));
  });

  test(`the last receiver's close(reason) is what senders of an ${kind} channel get`, async () => {
    for (const connected of [false, true]) {
      using channel = create(u32, { capacity: 2, shared: true });
      const address = freshName();
      using share = channel.share(address, { limit: 1, senders: false });
      if (!connected) share.close(); // it could let another in
      const receiver = connected
        ? await Receiver.connect(address, { layout: u32 })
        : channel.receiver();
      using sender = channel.sender();
      fill(sender, () => 1);
      const send = sender.send(2);
      if (channel.maxReceivers > 1) {
        channel.receiver().close(new Error("this one goes, the other stays"));
        assert.equal(channel.closed, false);
      }
      receiver.close(new RangeError("the river is dry"));
      isDry(await causeOfRejection(send));
    }
  });

  test(`a connected sender of an ${kind} channel closes it with a reason, and no end comes before that`, async () => {
    using channel = create(utf8, { capacity: 256, shared: true });
    using receiver = channel.receiver();
    const address = freshName();
    using _share = channel.share(address, { limit: 1, receivers: false });
    const sender = await Sender.connect(address, { layout: utf8 });
    await sender.send("water");
    const pending = [receiver.receive(), receiver.receive()];
    sender.close(new RangeError("the river is dry"));
    assert.equal(await pending[0], "water");
    isDry(await causeOfRejection(pending[1] as Promise<string>));
    for (const cause of await causesOfReceives(receiver)) isDry(cause);
  });
}

test("a sender that is closed tells its own reason to the sends that it rejects", async () => {
  using both = pair(u32, { capacity: 1 });
  const { sender } = both;
  sender.trySend(1);
  const send = sender.send(2);
  sender.close(new RangeError("the river is dry"));
  for (const error of [await rejectionOf(send), await rejectionOf(sender.send(3))]) {
    assert.ok(error instanceof ChannelClosedError);
    assert.equal(error.code, endpointClosed.code);
    isDry(error.cause);
  }
});

test("a sender that waits for a slab of a pool gets the reason", async () => {
  using slabs = pool({ slab: 4096, count: 1 });
  using channel = mpsc(bytes, { capacity: 1024 }).withPool(slabs, { threshold: 64 });
  using _receiver = channel.receiver();
  using sender = channel.sender();
  await sender.send(new Uint8Array(2000));
  const send = sender.send(new Uint8Array(2000));
  assert.ok(await isPending(send));
  channel.close(new RangeError("the river is dry"));
  isDry(await causeOfRejection(send));
});

test("a sender in a Worker, and one in another process, end the channel with a reason", async () => {
  using channel = mpsc(u32);
  using receiver = channel.receiver();
  await using worker = new TestWorker("web");
  const failing = worker.call("sendAndFail", channel.senderTicket());
  assert.equal(await within(receiver.receive(), "what the Worker sent", 60_000), 1);
  isDry(await causeOfRejection(receiver.receive()));
  await failing;

  using other = mpsc(u32, { shared: true });
  using second = other.receiver();
  const address = freshName();
  using _share = other.share(address, { limit: 1, receivers: false });
  const child = startChild("child_process.ts", ["sendAndFail", address], { limitMs: 60_000 });
  assert.equal(await within(second.receive(), "what the process sent", 60_000), 1);
  isDry(await causeOfRejection(second.receive()));
  assert.equal((await child.ended).code, 0);
});

test("a source that fails in the middle of a pipe fails the stream at the other end, with its error", async () => {
  const source = new ReadableStream<string>({
    start: (controller) => controller.enqueue("first half"),
    pull: (controller) => controller.error(new Error("disk read failed")),
  });
  using channel = mpsc(utf8);
  const received: string[] = [];
  let end: unknown;
  const receiving = channel.receiver().toReadableStream().pipeTo(
    new WritableStream({
      write: (text) => void received.push(text),
      close: () => void (end = "complete"),
      abort: (reason) => void (end = reason),
    }),
  );
  const sending = source.pipeTo(channel.sender().toWritableStream());
  assert.equal((await rejectionOf(sending) as Error).message, "disk read failed");
  await rejectionOf(receiving);
  assert.equal((causeOf(end) as Error).message, "disk read failed");
});

test("abort() of a stream without a reason is no clean end either", async () => {
  using both = pair(u32);
  await both.sender.toWritableStream().abort();
  assert.equal(await causeOfRejection(both.receiver.receive()), undefined);
});

test("a reason can be any value, undefined too, and never keeps a close back", async () => {
  const reasonOf = async (reason: unknown) => {
    using both = pair(u32);
    both.channel.close(reason);
    assert.equal(both.channel.closed, true);
    return await causeOfRejection(both.receiver.receive());
  };
  assert.deepEqual(await reasonOf({ code: 7, list: [1, null] }), { code: 7, list: [1, null] });
  for (const reason of ["dry", "", null, 0, true, undefined, [], {}, { error: 1 }, { value: 2 }]) {
    assert.deepEqual(await reasonOf(reason), reason);
  }
  const circular = Object.create(null);
  circular.self = circular;
  const hostile = Object.assign(new Error(), { message: 5, name: Symbol("name"), code: 5 });
  const throwing = new Proxy(new Error(), {
    get() {
      throw new Error("no");
    },
  });
  const toJSON = () => {
    throw new Error("no");
  };
  for (
    const reason of [circular, hostile, throwing, { toJSON }, Symbol("s"), 1n, () => {}, {
      toJSON() {},
    }]
  ) {
    await reasonOf(reason);
  }
});

test("a closing without a reason has no cause, and iterations end without an error", async () => {
  using both = pair(u32);
  both.channel.close();
  const error = await rejectionOf(both.receiver.receive());
  assert.ok(error instanceof ChannelClosedError && !("cause" in error));
  assert.deepEqual(await Array.fromAsync(both.receiver), []);
  assert.ok(!("cause" in (await rejectionOf(both.sender.send(1)) as Error)));
});

test("an error keeps name, message, code and causes, and its class where that is known", async () => {
  class DiskFull extends Error {
    override name = "DiskFull";
    readonly code = "ENOSPC";
  }
  const timeout = new TimeoutError("TIMEOUT", "Cannot send: waited 5 ms");
  const cause = new TypeError("bad input", {
    cause: new DiskFull("/var is full", { cause: timeout }),
  });
  using both = pair(u32);
  both.sender.close(new SyntaxError("no header", { cause }));
  const first = await causeOfRejection(both.receiver.receive()) as SyntaxError;
  assert.ok(first instanceof SyntaxError && first.message === "no header");
  assert.equal(String(first.stack), "SyntaxError: no header");
  const second = first.cause as TypeError;
  assert.ok(second instanceof TypeError && second.message === "bad input");
  const third = second.cause as DiskFull;
  assert.deepEqual(
    [third.name, third.message, third.code, Object.getPrototypeOf(third)],
    ["DiskFull", "/var is full", "ENOSPC", Error.prototype],
  );
  const fourth = third.cause as TimeoutError;
  assert.ok(fourth instanceof TimeoutError);
  assert.deepEqual([fourth.code, fourth.message], ["TIMEOUT", "Cannot send: waited 5 ms"]);

  using aborted = pair(u32);
  aborted.channel.close(AbortSignal.abort().reason);
  const abort = await causeOfRejection(aborted.receiver.receive());
  assert.ok(abort instanceof DOMException && abort.name === "AbortError");
});

test("a reason is whole up to its limit, and what is cut ends with an ellipsis at a character's end", async () => {
  const carried = async (reason: unknown) => {
    using both = pair(u32);
    both.channel.close(reason);
    return await causeOfRejection(both.receiver.receive());
  };
  const long = "x".repeat(1900);
  assert.equal((await carried(new Error(long)) as Error).message, long);
  assert.equal(await carried(long), long);
  const cut = (await carried(new Error("😀".repeat(10_000))) as Error).message;
  assert.match(cut, /^(?:😀){450,}…$/u);
  const control = await carried("\u0001".repeat(10_000)) as string;
  assert.ok(control.length > 300 && control.replaceAll("\u0001", "") === "…");
  assert.match(await carried({ list: Array(1000).fill("x") }) as string, /^\{"list":\["x","x".*…$/);
  // The outer error first, and of its causes as much as fits.
  let nested = new Error("0".repeat(300));
  for (let depth = 1; depth < 50; depth++) {
    nested = new Error(`${depth}`.repeat(150), { cause: nested });
  }
  let depth = 0;
  for (let each = await carried(nested) as Error; each !== undefined; each = each.cause as Error) {
    depth++;
  }
  assert.ok(depth > 4 && depth < 50, `${depth}`);
  const own = new Error("of itself");
  own.cause = own;
  assert.equal((await carried(own) as Error).message, "of itself");
});

test("no reason takes more bytes than there is room for", () => {
  const pieces = ["x", "€", "😀", "\u0001", '"', "\ud800", "\n"];
  const make = (seed: number, depth: number): unknown => {
    const text = (pieces[seed % pieces.length] as string).repeat((seed * 37) % 3000);
    if (seed % 5 === 0) return seed % 2 === 0 ? text : { text, list: [text] };
    const error = new (seed % 3 === 0 ? TypeError : Error)(text);
    if (seed % 4 === 0) error.name = text;
    if (seed % 7 === 0) Object.assign(error, { code: text });
    if (depth < 5 && seed % 2 === 0) error.cause = make(seed * 3 + 1, depth + 1);
    return error;
  };
  for (let seed = 0; seed < 500; seed++) {
    const encoded = encodeReason(make(seed, 0));
    assert.ok(encoded.length <= Limits.reasonBytes, `${seed}: ${encoded.length}`);
    JSON.parse(new TextDecoder().decode(encoded));
  }
});

test("a reason whose own code disposes of the channel, or closes the sender, does no harm", () => {
  const channel = mpsc(u32);
  channel.close({
    toJSON() {
      channel[Symbol.dispose]();
      return "gone";
    },
  });
  using other = mpsc(u32);
  const sender = other.sender();
  sender.close({
    toJSON() {
      sender.close();
      return "gone";
    },
  });
  assert.equal(other.closed, true);
});

/** What is made of bytes that lie where the reason of a channel does, whoever wrote them. */
function revived(bytes: Uint8Array): unknown {
  const symbols = {
    millrace_endpoint_reason: (_handle: number, buffer: Uint8Array) => {
      buffer.set(bytes);
      return bytes.length;
    },
  };
  return readReason({ handle: 1, symbols } as unknown as Endpoint)?.reason;
}

test("a reason that native code gives is its text", () => {
  const bytesOf = (text: string) => new TextEncoder().encode(text);
  for (const text of ["over", "the disk is full", "5", "null", "[]", '{"other":1}', "{", "💧"]) {
    assert.equal(revived(bytesOf(text)), text);
  }
  assert.equal(revived(new Uint8Array([0x6f, 0x6b, 0xff])), "ok\ufffd");
  assert.equal(readReason({ handle: 0 } as Endpoint), undefined);
});

test("a reason that a peer garbles is an error of some kind, or a value: never a throw, a hang or a class of its own", () => {
  const whole = encodeReason(new TypeError("no", { cause: new DOMException("x", "AbortError") }));
  let random = 1;
  const next = (below: number) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % below;
  };
  for (let round = 0; round < 5000; round++) {
    const bytes = whole.slice();
    for (let count = next(4); count >= 0; count--) bytes[next(bytes.length)] = 32 + next(95);
    void revived(bytes.subarray(0, round % 3 === 0 ? next(bytes.length) : bytes.length));
  }
  for (
    const described of [
      { error: null },
      { error: 7 },
      { error: { name: {}, message: [] } },
      { error: { name: "UnsupportedPlatformError", message: "x", code: "X" } },
      { error: { name: "constructor", message: "x", code: "__proto__" } },
      { error: { name: "__proto__", message: "x", dom: true, cause: { error: {} } } },
      { error: { message: "x", cause: 5 } },
    ]
  ) {
    const reason = revived(new TextEncoder().encode(JSON.stringify(described)));
    assert.ok(reason instanceof Error, JSON.stringify(described));
    assert.equal(typeof reason.message, "string");
    assert.equal(typeof reason.name, "string");
  }
  let deep = '{"error":{}}';
  while (deep.length < Limits.reasonBytes - 20) deep = `{"error":{"cause":${deep}}}`;
  assert.ok(revived(new TextEncoder().encode(deep)) instanceof Error);
});
