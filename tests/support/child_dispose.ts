/**
 * A program whose channel is disposed of with messages unread: usage KIND MODE. It fails with "boom", or
 * says "the end".
 *
 * @module
 */

import process from "node:process";
import { mpmc, mpsc, spmc, spsc, u32 } from "../../mod.ts";

const kinds = { mpsc, spsc, spmc, mpmc };
const [kind = "", mode = ""] = process.argv.slice(2);
const create = kinds[kind as keyof typeof kinds];

function boom(): never {
  throw new Error("boom");
}

const modes: Record<string, () => Promise<void>> = {
  async "nobody has received"() {
    await using channel = create(u32);
    const _receiver = channel.receiver();
    await channel.sender().send(1);
    boom();
  },
  async "one value was received"() {
    await using channel = create(u32);
    const receiver = channel.receiver();
    channel.sender().sendBatch([1, 2]);
    await receiver.receive();
    await receiver.ready();
    boom();
  },
  async "the body of for await throws"() {
    await using channel = create(u32);
    {
      using sender = channel.sender();
      sender.sendBatch([1, 2, 3]);
    }
    for await (const value of channel.receiver()) if (value === 2) boom();
  },
  async "for await is left"() {
    await using channel = create(u32);
    channel.sender().sendBatch([1, 2, 3]);
    for await (const value of channel.receiver()) if (value === 2) break;
  },
  async "batches() are left"() {
    await using channel = create(u32);
    channel.sender().sendBatch([1, 2, 3]);
    for await (const _batch of channel.receiver().batches({ max: 1 })) break;
  },
  async "a stream is left"() {
    await using channel = create(u32);
    channel.sender().sendBatch([1, 2, 3]);
    for await (const _value of channel.receiver().toReadableStream()) break;
  },
  async "a handler of run() throws"() {
    await using channel = create(u32);
    channel.sender().sendBatch([1, 2, 3]);
    await channel.receiver().run(boom).finished;
  },
  async "drain() throws"() {
    await using channel = create(u32);
    channel.sender().sendBatch([1, 2, 3]);
    channel.receiver().drain(boom);
  },
  async "readable() is not released"() {
    await using channel = create(u32);
    channel.sender().sendBatch([1, 2, 3]);
    channel.receiver().readable();
    boom();
  },
  async "a sender waits for room"() {
    await using channel = create(u32, { capacity: 1 });
    const _receiver = channel.receiver();
    await using sender = channel.sender();
    await sender.send(1);
    sender.send(2).catch(() => {});
    boom();
  },
};

const run = modes[mode];
if (create === undefined || run === undefined) throw new Error("there is no such mode");
await run();
console.log("the end");
