/**
 * Senders as `WritableStream`s: however a stream or its channel ends, both sides learn of it.
 *
 * @module
 */

import assert from "node:assert/strict";
import test from "node:test";
import { bytes, ChannelClosedError, mpsc, pool, struct, u32, utf8 } from "../mod.ts";
import { isPending, nextTurn, rejectionOf, rejects, until, within } from "./support/bounded.ts";
import { collect, pair, range } from "./support/channels.ts";

/** A source that says nothing more after some chunks, and whether it was cancelled, and why. */
function idleSource<Chunk>(chunks: readonly Chunk[]) {
  const cancelled: unknown[] = [];
  const stream = new ReadableStream<Chunk>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
    },
    cancel(reason) {
      cancelled.push(reason);
    },
  });
  return { stream, cancelled };
}

function sourceOf<Chunk>(...chunks: Chunk[]): ReadableStream<Chunk> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

/** The reason that the other side of a channel is told, as the cause of its error. */
async function endOf(receiver: AsyncIterable<unknown>): Promise<{ got: unknown[]; error: Error }> {
  const got: unknown[] = [];
  let error: unknown;
  await within(
    (async () => {
      for await (const value of receiver) got.push(value);
    })().catch((caught) => void (error = caught)),
    "the end of the receiver",
  );
  return { got, error: error as Error };
}

type Both = ReturnType<typeof numbers>;

function numbers() {
  return pair(u32, { capacity: 8 });
}

const ends: [string, (both: Both) => void, string?][] = [
  ["receiver.close()", ({ receiver }) => receiver.close()],
  ["channel.close()", ({ channel }) => channel.close()],
  ["channel.close(reason)", ({ channel }) => channel.close(new Error("why")), "why"],
  ["the close of another sender with a reason", ({ channel }) => {
    channel.sender().close(new Error("why"));
  }, "why"],
  ["channel[Symbol.dispose]()", ({ channel }) => channel[Symbol.dispose]()],
  ["sender.close()", ({ sender }) => sender.close()],
];

for (const [name, end, cause] of ends) {
  test(`toWritableStream() that is idle learns of ${name} at once, and cancels what is piped into it`, async () => {
    using both = numbers();
    const { stream, cancelled } = idleSource([1]);
    const pipe = rejects(stream.pipeTo(both.sender.toWritableStream()), {
      name: "ChannelClosedError",
    });
    assert.equal(await both.receiver.receive(), 1);
    await nextTurn();
    end(both);
    const error = await within(pipe, "the pipe", 2000);
    assert.equal((error.cause as Error | undefined)?.message, cause);
    await until(() => cancelled.length === 1, "the source is cancelled", 2000);
    assert.equal(cancelled[0], error);
    assert.equal(both.sender.closed, true);
  });

  test(`a writer of toWritableStream() learns of ${name} at once`, async () => {
    using both = numbers();
    const writer = both.sender.toWritableStream().getWriter();
    const closed = rejectionOf(writer.closed);
    await within(writer.ready, "room");
    end(both);
    const error = await within(closed, "writer.closed", 2000);
    assert.ok(error instanceof ChannelClosedError);
    await rejectionOf(writer.write(1));
    await rejectionOf(writer.close());
  });
}

for (const [name, end] of ends) {
  test(`toWritableStream() after ${name} is errored from the start`, async () => {
    using both = numbers();
    end(both);
    const writer = both.sender.toWritableStream().getWriter();
    assert.equal(writer.desiredSize, null);
    const error = await rejectionOf(writer.closed);
    assert.ok(error instanceof ChannelClosedError);
    assert.equal(await rejectionOf(writer.write(1)), error);
    assert.equal(both.sender.closed, true);
  });
}

test("close() of the stream at the moment the channel closes does not fulfil", async () => {
  using both = numbers();
  const writer = both.sender.toWritableStream().getWriter();
  writer.closed.catch(() => {});
  await writer.write(1);
  both.receiver.close();
  const error = await rejectionOf(writer.close());
  assert.ok(error instanceof ChannelClosedError);
});

test("a chunk that the layout refuses ends both sides, with its error", async () => {
  const refused: [ReturnType<typeof mpsc>, unknown][] = [
    [mpsc(u32, { capacity: 8 }) as never, -1],
    [mpsc(u32, { capacity: 8 }) as never, "1"],
    [mpsc(struct({ a: u32 }), { capacity: 8 }) as never, { a: 1.5 }],
    [mpsc(utf8, { capacity: 64 }) as never, "a".repeat(100)],
    [mpsc(utf8, { capacity: 64 }) as never, 7],
    [mpsc(bytes, { capacity: 64 }) as never, new ArrayBuffer(1)],
  ];
  for (const [channel, value] of refused) {
    using used = channel;
    const receiver = used.receiver();
    const ending = endOf(receiver);
    const sender = used.sender();
    const error = await rejectionOf(sourceOf(value).pipeTo(sender.toWritableStream())) as Error;
    assert.match(error.name, /^(Type|Range)Error$/);
    const { error: end } = await ending;
    assert.equal(end.name, "ChannelClosedError");
    assert.equal((end.cause as Error).message, error.message);
    assert.equal(sender.closed, true);
  }
});

test("a refused chunk comes after what was written before it, and none behind it is sent", async () => {
  using both = numbers();
  const ending = endOf(both.receiver);
  const writer = both.sender.toWritableStream().getWriter();
  writer.closed.catch(() => {});
  const writes = [1, 2, -1, 3].map((value) =>
    writer.write(value).then(() => "written", (error: Error) => error.name)
  );
  assert.deepEqual(await within(Promise.all(writes), "the writes"), [
    "written",
    "written",
    "RangeError",
    "RangeError",
  ]);
  const { got, error } = await ending;
  assert.deepEqual(got, [1, 2]);
  assert.equal(error.name, "ChannelClosedError");
});

test("abort() and a source that fails end the other side with the reason, after what was sent", async () => {
  for (const how of ["abort", "pipe"] as const) {
    using channel = mpsc(utf8);
    const ending = endOf(channel.receiver());
    const stream = channel.sender().toWritableStream();
    const reason = new Error("disk read failed");
    if (how === "abort") {
      const writer = stream.getWriter();
      writer.closed.catch(() => {});
      await writer.write("first half");
      await writer.abort(reason);
    } else {
      let pulls = 0;
      const source = new ReadableStream<string>({
        pull(controller) {
          if (pulls++ === 0) controller.enqueue("first half");
          else controller.error(reason);
        },
      });
      assert.equal(await rejectionOf(source.pipeTo(stream)), reason);
    }
    const { got, error } = await ending;
    assert.deepEqual(got, ["first half"]);
    assert.equal((error.cause as Error).message, reason.message);
  }
});

test("bytes: a chunk longer than a message can be is sent in parts, through a ring or a pool", async () => {
  using slabs = pool({ slab: 1000, count: 2 });
  const channels = [
    mpsc(bytes, { capacity: 256 }),
    mpsc(bytes, { capacity: 256 }).withPool(slabs, { threshold: 64 }),
  ];
  for (const [index, channel] of channels.entries()) {
    using used = channel;
    const receiver = used.receiver();
    const chunk = Uint8Array.from(range(5000), (value) => value % 251);
    const sending = sourceOf(chunk, chunk.subarray(0, 0), chunk.subarray(0, 10))
      .pipeTo(used.sender().toWritableStream());
    const messages = await collect(receiver);
    await within(sending, "the pipe");
    const received = await new Blob(messages as Uint8Array<ArrayBuffer>[]).arrayBuffer();
    assert.deepEqual(
      new Uint8Array(received),
      Uint8Array.from([...chunk, ...chunk.subarray(0, 10)]),
    );
    const longest = Math.max(...messages.map(({ length }) => length));
    assert.equal(longest, index === 0 ? 120 : 1000);
  }
});

test("an abort in the middle of a long chunk sends no more of it", async () => {
  using channel = mpsc(bytes, { capacity: 64 });
  const receiver = channel.receiver();
  const writer = channel.sender().toWritableStream().getWriter();
  writer.closed.catch(() => {});
  const write = rejectionOf(writer.write(new Uint8Array(1000)));
  assert.equal((await receiver.receive()).length, 24);
  const reason = new Error("enough");
  await within(writer.abort(reason), "the abort");
  assert.equal(await write, reason);
  const { got, error } = await endOf(receiver);
  assert.ok(got.length <= 3, `${got.length} more parts`);
  assert.equal((error.cause as Error).message, "enough");
});

test("toWritableStream() takes as much ahead as its options say: one chunk unless given", async () => {
  const fill = { capacity: 1 };
  {
    using both = pair(u32, fill);
    assert.equal(both.sender.toWritableStream().getWriter().desiredSize, 1);
  }
  {
    using both = pair(u32, fill);
    const writer = both.sender.toWritableStream({ highWaterMark: 3 }).getWriter();
    assert.equal(writer.desiredSize, 3);
    const writes = [0, 1, 2, 3].map((value) => writer.write(value));
    await writes[0];
    // One is being sent and counts still; the two behind it wait in the stream.
    assert.equal(writer.desiredSize, 0);
    assert.ok(await isPending(writer.ready));
    assert.equal(await both.receiver.receive(), 0);
    await within(writer.ready, "room in the stream");
    for (const value of [1, 2, 3]) assert.equal(await both.receiver.receive(), value);
    await within(Promise.all(writes), "the writes");
  }
  {
    using channel = mpsc(bytes, { capacity: 64 });
    const options = { highWaterMark: 100, size: (chunk: Uint8Array) => chunk.length };
    const writer = channel.sender().toWritableStream(options).getWriter();
    writer.write(new Uint8Array(40)).catch(() => {});
    assert.equal(writer.desiredSize, 60);
  }
  using both = pair(u32, fill);
  const make = (options: unknown) => () => both.sender.toWritableStream(options as { size: never });
  assert.throws(make({ highWaterMark: -1 }), { name: "RangeError" });
  assert.throws(make({ highWaterMark: NaN }), { name: "RangeError" });
  assert.throws(make({ highWaterMark: "1" }), { name: "TypeError" });
  assert.throws(make({ size: 1 }), { name: "TypeError" });
  assert.throws(make(7), { name: "TypeError" });
});

test("close() of the stream waits until what was written is in the ring, and then ends the channel", async () => {
  using both = pair(u32, { capacity: 1 });
  const writer = both.sender.toWritableStream().getWriter();
  const writes = [1, 2, 3].map((value) => writer.write(value));
  const closing = writer.close();
  assert.ok(await isPending(closing));
  assert.equal(await both.receiver.receive(), 1);
  assert.ok(await isPending(closing));
  assert.deepEqual(await collect(both.receiver), [2, 3]);
  await within(Promise.all([...writes, closing, writer.closed]), "the close");
});
