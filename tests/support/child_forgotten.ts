/**
 * What a program forgets; see forgotten.test.ts. The first parameter names the scene. A collection of
 * garbage can be asked for, not had: so every scene waits for what follows from it, and asks again.
 *
 * @module
 */

import assert from "node:assert/strict";
import process from "node:process";
import {
  bytes,
  type Channel,
  ChannelClosedError,
  mpmc,
  mpsc,
  Pool,
  pool,
  type Receiver,
  Sender,
  spmc,
  spsc,
  u32,
  type WeakSender,
} from "../../mod.ts";
import { native } from "../../src/native.ts";
import { collectGarbage } from "./garbage.ts";

/** Ends the turn, so that nothing of it is kept by the stack, and collects. */
async function collect(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1));
  collectGarbage();
  await new Promise((resolve) => setTimeout(resolve, 1));
}

async function collectUntil(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `waited until ${what}`);
    await collect();
  }
}

/** Enough for what can be collected: what is forgotten beside it has been. */
async function collectAll(): Promise<void> {
  const channels = alive();
  forget(() => mpsc(u32));
  await collectUntil(() => alive() <= channels, "a channel that was forgotten is gone");
  for (let round = 0; round < 3; round++) await collect();
}

const alive = () => native().symbols.millrace_channels_alive();

/** In a frame of its own, that nothing outlives. */
function forget(make: () => unknown): void {
  make();
}

const kinds = { mpsc, spsc, spmc, mpmc } as Record<
  string,
  (layout: typeof u32, options?: { capacity?: number }) => Channel<number, Uint32Array>
>;

/** Sends and receives, and closes both. */
async function use(
  sender: Sender<number, Uint32Array>,
  receiver: Receiver<number, Uint32Array>,
): Promise<void> {
  assert.equal(sender.closed, false);
  await sender.send(7);
  assert.equal(await receiver.receive(), 7);
  sender.close();
  await assert.rejects(receiver.receive(), ChannelClosedError);
  receiver.close();
}

const scenes: Record<string, () => Promise<void>> = {
  async sender() {
    for (const make of Object.values(kinds)) {
      const channel = make(u32, { capacity: 8 });
      const receiver = channel.receiver();
      forget(() => {
        const sender = channel.sender();
        sender.trySend(1);
        sender.writer().push(2);
      });
      await collectUntil(() => channel.closed, "the sender is closed");
      // What it had sent, and what its writer had pushed, is there.
      assert.deepEqual(await Array.fromAsync(receiver), [1, 2]);
      receiver.close();
      channel[Symbol.dispose]();
    }
  },

  /** It keeps the memory of its channel, and no sender. */
  async weak() {
    const before = alive();
    const weak: WeakSender<number, Uint32Array>[] = [];
    const receiver = (() => {
      const channel = mpsc(u32, { capacity: 8 });
      weak.push(channel.sender().downgrade());
      return channel.receiver();
    })();
    await collectUntil(() => receiver.closed, "the sender of the weak one is closed");
    forget(() => assert.equal(weak[0]?.upgrade(), undefined));
    receiver.close();
    await collectAll();
    assert.equal(alive(), before + 1);
    forget(() => weak.pop());
    await collectUntil(() => alive() === before, "the weak sender is closed");
  },

  async stream() {
    for (const isWritten of [false, true]) {
      const channel = mpsc(u32, { capacity: 8 });
      const receiver = channel.receiver();
      await (async () => {
        const writer = channel.sender().toWritableStream().getWriter();
        if (isWritten) await writer.write(1);
      })();
      await collectUntil(() => channel.closed, "the sender of the stream is closed");
      assert.deepEqual(await Array.fromAsync(receiver), isWritten ? [1] : []);
      receiver.close();
      channel[Symbol.dispose]();
    }
  },

  async receiver() {
    for (const make of Object.values(kinds)) {
      const channel = make(u32, { capacity: 8 });
      const sender = channel.sender();
      forget(() => channel.receiver());
      await collectUntil(() => channel.closed, "the receiver is closed");
      await assert.rejects(sender.send(1), ChannelClosedError);
      sender.close();
      channel[Symbol.dispose]();
    }
  },

  async pool() {
    const before = alive();
    forget(() => pool({ slab: 64, count: 2 }));
    await collectUntil(() => alive() === before, "the pool is gone");
    // One whose slab is in use stays; with that it goes.
    let slab = (() => pool({ slab: 64, count: 1 }).tryAlloc())();
    slab?.bytes.fill(7);
    await collectAll();
    assert.equal(slab?.bytes[63], 7);
    slab?.free();
    slab = undefined;
    await collectUntil(() => alive() === before, "the pool of the slab is gone");
    // One that a ticket is for stays as well.
    const ticket = (() => pool({ slab: 64, count: 1 }).ticket())();
    await collectAll();
    using opened = Pool.open(ticket);
    opened.tryAlloc()?.free();
    // And one that a channel goes through.
    const channel =
      (() =>
        mpsc(bytes, { capacity: 64 }).withPool(pool({ slab: 4096, count: 1 }), { threshold: 8 }))();
    await collectAll();
    const sender = channel.sender();
    const receiver = channel.receiver();
    await sender.send(new Uint8Array(4000));
    assert.equal((await receiver.receive()).length, 4000);
    sender.close();
    receiver.close();
    channel[Symbol.dispose]();
  },

  /** Its loop waits for what will never come, so nothing can go on with the value in its hand. */
  async inHand() {
    for (const make of [spmc, mpmc]) {
      const channel = make(u32, { capacity: 8, pollBudget: 0 });
      const sender = channel.sender();
      const seen: number[] = [];
      forget(() =>
        void (async () => {
          for await (const value of channel.receiver()) {
            seen.push(value);
            await new Promise(() => {});
          }
        })()
      );
      const other = channel.receiver();
      sender.trySend(7);
      await collectUntil(() => seen.length === 1, "the value is in its hand");
      await collectUntil(() => channel.stats().receivers === 1, "the receiver is closed");
      assert.deepEqual(other.tryReceive(), { state: "ok", value: 7 });
      assert.equal(channel.stats().redelivered, 1);
      for (const endpoint of [other, sender]) endpoint.close();
      channel[Symbol.dispose]();
    }
  },

  /** What stands on an endpoint keeps it. */
  async kept() {
    const channel = mpmc(u32, { capacity: 64, pollBudget: 0 });
    const sender = channel.sender();
    const writer = (() => channel.sender().writer())();
    const stream = (() => channel.sender().toWritableStream())().getWriter();
    await collectAll();
    assert.equal(channel.stats().senders, 3);
    writer.push(1);
    await stream.write(2);
    const reader = channel.receiver();
    const seen = [await reader.receive(), await reader.receive()];
    assert.deepEqual(seen.sort(), [1, 2]);
    reader.close();

    const standing: Record<string, (receiver: Receiver<number, Uint32Array>) => () => unknown> = {
      iterator: (receiver) => {
        const values = receiver[Symbol.asyncIterator]();
        return () => values.next();
      },
      batches: (receiver) => {
        const batches = receiver.batches();
        return () => batches.next();
      },
      stream: (receiver) => {
        const reader = receiver.toReadableStream().getReader();
        return () => reader.read();
      },
      run: (receiver) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        void receiver.run(() => resolve());
        return () => promise;
      },
      pending: (receiver) => {
        const received = receiver.receive();
        return () => received;
      },
      unrefd: (receiver) => {
        const received = receiver.unref().receive();
        return () => received;
      },
      eventFd: (receiver) => {
        const eventFd = receiver.eventFd();
        return () => eventFd.arm();
      },
    };
    for (const [what, stand] of Object.entries(standing)) {
      const one = spsc(u32, { capacity: 8, pollBudget: 0 });
      const sender = one.sender();
      const proceed = (() => stand(one.receiver()))();
      await collectAll();
      assert.equal(one.closed, false, what);
      assert.equal(sender.trySend(7), true, what);
      await proceed();
      sender.close();
    }
    sender.close();
  },

  async channel() {
    for (const make of Object.values(kinds)) {
      const before = alive();
      let ends: [Sender<number, Uint32Array>, Receiver<number, Uint32Array>] | undefined = (() => {
        const channel = make(u32, { capacity: 8 });
        return [channel.sender(), channel.receiver()];
      })();
      await collectAll();
      await use(...ends);
      ends = undefined;
      await collectUntil(() => alive() === before, "the channel is gone");
    }
    // Tickets stay good.
    const [waiting, ticket] = (() => {
      const channel = mpsc(u32, { capacity: 8 });
      return [channel.receiver(), channel.senderTicket()] as const;
    })();
    await collectAll();
    const sender = Sender.open(ticket);
    await sender.send(7);
    assert.equal(await waiting.receive(), 7);
    sender.close();
    // Nobody can open a sender any more: the receiver does not wait for one.
    const alone = (() => mpsc(u32, { capacity: 8 }).receiver())();
    await assert.rejects(
      Promise.race([
        alone.receive(),
        collectUntil(() => alone.closed, "the channel has ended").then(() => alone.receive()),
      ]),
      ChannelClosedError,
    );
    // A pending drained() keeps the channel.
    const [last, drained] = (() => {
      const channel = mpsc(u32, { capacity: 8 });
      const receiver = channel.receiver();
      channel.sender().trySend(1);
      channel.close();
      return [receiver, channel.drained()] as const;
    })();
    await collectAll();
    await last.receive();
    await last.receive().catch(() => {});
    await drained;
  },

  async many() {
    const before = alive();
    for (let made = 0; made < 8000; made++) {
      forget(() => {
        const channel = mpsc(u32, { capacity: 8, maxSenders: 1 });
        channel.receiver();
        channel.sender();
      });
      if (made % 500 === 0) await collect();
    }
    await collectUntil(() => alive() === before, "all channels are gone");
  },
};

await scenes[process.argv[2] ?? ""]?.();
console.log("as expected");
process.exit(0);
