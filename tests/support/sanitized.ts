/**
 * Tests of Deno's own kind, under its sanitizers: they fail for every timer, operation or resource of a
 * test that is left when it ends. See runtimes.test.ts, which runs them with `deno test`.
 *
 * @module
 */

import { bytes, libraryPath, mpmc, mpsc, pool, u32 } from "../../mod.ts";

interface DenoTests {
  test(options: {
    readonly name: string;
    readonly sanitizeOps: true;
    readonly sanitizeResources: true;
    readonly sanitizeExit: true;
    readonly fn: () => Promise<void>;
  }): void;
}

const { Deno } = globalThis as unknown as { Deno: DenoTests };

// As docs/runtimes.md says: the library stays open, and a test that opened it would seem to leak it.
libraryPath();

const kept = mpsc(u32, { pollBudget: 0 });
const keptSender = kept.sender();
const keptReceiver = kept.receiver();

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, sanitizeOps: true, sanitizeResources: true, sanitizeExit: true, fn });
}

/** Longer than a wait polls. */
function later(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}

for (const [kind, make] of Object.entries({ mpsc, mpmc })) {
  for (const pollBudget of [0, "adaptive"] as const) {
    const options = { pollBudget, capacity: 1 };

    test(`receive, ${kind}, ${pollBudget}`, async () => {
      using channel = make(u32, options);
      using sender = channel.sender();
      using receiver = channel.receiver();
      const received = receiver.receive();
      await later();
      await sender.send(1);
      await received;
    });

    test(`a receive that is closed, ${kind}, ${pollBudget}`, async () => {
      using channel = make(u32, options);
      const receiver = channel.receiver();
      const received = receiver.receive().catch(() => {});
      await later();
      receiver.close();
      await received;
    });

    test(`send and drained, ${kind}, ${pollBudget}`, async () => {
      using channel = make(u32, options);
      using sender = channel.sender();
      using receiver = channel.receiver();
      sender.trySend(1);
      const sent = sender.send(2);
      await later();
      await receiver.receive();
      await sent;
      const drained = channel.drained();
      sender.close();
      await later();
      await receiver.receive();
      await receiver.receive().catch(() => {});
      await drained;
    });

    test(`an iteration, ${kind}, ${pollBudget}`, async () => {
      await using channel = make(u32, options);
      const receiver = channel.receiver();
      const sender = channel.sender();
      const sending = (async () => {
        for (let value = 0; value < 3; value++) {
          await later();
          await sender.send(value);
        }
        sender.close();
      })();
      for await (const _ of receiver);
      await sending;
    });

    test(`a loop, ${kind}, ${pollBudget}`, async () => {
      await using channel = make(u32, options);
      using receiver = channel.receiver();
      const loop = receiver.run(() => {});
      using sender = channel.sender();
      for (let value = 0; value < 3; value++) {
        await later();
        await sender.send(value);
      }
      await loop.stop();
    });
  }
}

test("a slab", async () => {
  using slabs = pool({ slab: 64, count: 1, pollBudget: 0 });
  const slab = await slabs.alloc();
  const next = slabs.alloc();
  await later();
  slab.free();
  (await next).free();
});

test("a message through a pool", async () => {
  using slabs = pool({ slab: 4096, count: 1, pollBudget: 0 });
  using channel = mpsc(bytes, { capacity: 1024, pollBudget: 0 }).withPool(slabs, { threshold: 16 });
  using receiver = channel.receiver();
  using sender = channel.sender();
  await sender.send(new Uint8Array(2048));
  const sent = sender.send(new Uint8Array(2048));
  await later();
  await receiver.receive();
  await sent;
});

test("a channel that stays open, and on which nothing waits", async () => {
  const received = keptReceiver.receive();
  await later();
  await keptSender.send(1);
  await received;
});

test("a Worker", async () => {
  using channel = mpsc(u32);
  const code = `
    import { Sender } from "${import.meta.resolve("../../mod.ts")}";
    self.onmessage = ({ data }) => {
      const sender = Sender.open(data);
      sender.sendSync(1);
      sender.close();
    };`;
  const url = URL.createObjectURL(new Blob([code], { type: "application/javascript" }));
  const worker = new Worker(url, { type: "module" });
  worker.postMessage(channel.senderTicket());
  for await (const _ of channel.receiver());
  worker.terminate();
  URL.revokeObjectURL(url);
});

test("a ready() whose room is not used, and a time that was not needed", async () => {
  using channel = mpsc(u32, { capacity: 1 });
  using sender = channel.sender();
  using receiver = channel.receiver();
  sender.trySend(1);
  const ready = sender.ready();
  receiver.receiveBatch(1);
  await ready;
  sender.trySend(1);
  const sending = sender.send(2, { timeout: 60_000 });
  receiver.receiveBatch(1);
  await sending;
});

test("a WritableStream that was closed, and one whose channel was", async () => {
  for (const end of ["stream", "channel"] as const) {
    using channel = mpsc(u32, { capacity: 4 });
    using _receiver = channel.receiver();
    const writer = channel.sender().toWritableStream().getWriter();
    await writer.write(1);
    if (end === "stream") await writer.close();
    else {
      channel.close();
      // Nothing else turns the event loop.
      await writer.closed.catch(() => {});
    }
  }
});
