/**
 * Counts the ringers of a process that nothing else has ringers in; see native.test.ts and shared.test.ts.
 * The parameters are the scene and, where native threads play in it, their library.
 *
 * @module
 */

import assert from "node:assert/strict";
import process from "node:process";
import { libraryPath, mpmc, mpsc, Receiver, Sender, u32 } from "../../mod.ts";
import type { ReceiverTicket, SenderTicket } from "../../mod.ts";
import { native } from "../../src/native.ts";
import { until, within } from "./bounded.ts";
import { channelsAlive, channelsSettled, collect } from "./channels.ts";
import { openForeign, producerTable } from "./foreign.ts";
import { inLots, modes, passTime, startConsumer } from "./native_consumers.ts";
import { randomFrom } from "./stress_host.ts";
import { TestWorker, workerKinds } from "./workers.ts";

const [scene = "", library = ""] = process.argv.slice(2);
const asleep = { shared: true, pollBudget: 0 } as const;

const ringersAlive = () => native().symbols.millrace_ringers_alive();

function openThreads() {
  libraryPath(); // they are linked to the library that is loaded by now
  return openForeign(library, {
    start_abandon: { parameters: ["buffer", "u32"], result: "i32" },
    threads_running: { parameters: [], result: "u32" },
  });
}

const scenes: Record<string, () => Promise<void>> = {
  // ---- ringers for native threads ----

  async "owner dies"() {
    const threads = openThreads();
    const owner = new Worker(new URL("./native_owner.ts", import.meta.url).href, {
      type: "module",
    });
    const posted = Promise.withResolvers<{
      sender: SenderTicket<string>;
      receiver: ReceiverTicket<string>;
    }>();
    owner.onmessage = ({ data }) => posted.resolve(data);
    owner.postMessage(library);
    const tickets = await within(posted.promise, "the tickets");
    const receiver = Receiver.open(tickets.receiver);
    const sender = Sender.open(tickets.sender);
    const roundTrip = async (text: string) => {
      const reply = receiver.receive();
      await sender.send(text);
      assert.equal(await within(reply, "a reply"), text);
    };
    await roundTrip("while it lives");
    owner.terminate();
    await until(() => ringersAlive() === 0, "the ringer is gone");
    for (const text of ["after", "its", "end"]) await roundTrip(text);
    sender.close();
    await collect(receiver);
    await until(() => threads.threads_running() === 0, "native threads end");
  },

  async ends() {
    const threads = openThreads();
    for (let round = 0; round < 3; round++) {
      using first = mpsc(u32);
      using second = mpsc(u32);
      const tickets = [first.nativeSenderTicket(), second.nativeSenderTicket()];
      first.nativeSenderTicket();
      assert.equal(ringersAlive(), 1);
      using receiver = second.receiver();
      first[Symbol.dispose]();
      threads.start_abandon(tickets[1] as Uint8Array, 2);
      assert.deepEqual(await collect(receiver), [0, 1]);
      await until(() => threads.threads_running() === 0, "native threads end");
      receiver.close();
      second[Symbol.dispose]();
      await until(() => ringersAlive() === 0, "the ringer ends");
    }
  },

  async "all die"() {
    libraryPath();
    const producer = openForeign(library, producerTable);
    await inLots(24, async (index) => {
      const state = new Int32Array(new SharedArrayBuffer(4));
      const { worker, reports } = startConsumer({
        library,
        count: 2 ** 30,
        capacity: [2, 16, 1024][index % 3] ?? 2,
        state,
        mode: modes[index % 3] ?? "run",
      });
      await passTime(randomFrom(1000 + index), state);
      worker.terminate();
      assert.deepEqual(reports, []);
    });
    await until(() => producer.producer_running() === 0, "native threads end");
    await until(() => ringersAlive() === 0, "every ringer is gone");
  },

  // ---- ringers that watch for those who sleep ----

  async "sleepers die"() {
    using channel = mpmc(u32, asleep);
    using sender = channel.sender();
    channel.receiverTicket(); // while it is outstanding, the last receiver may go
    for (const kind of [...workerKinds, ...workerKinds]) {
      const doomed = new TestWorker(kind);
      doomed.call("receiveAll", channel.receiverTicket(), "receive").catch(() => {});
      await until(() => ringersAlive() === 1, "it sleeps, watched by its ringer");
      await doomed[Symbol.asyncDispose]();
      await until(() => ringersAlive() === 0, "its ringer is gone");
      using receiver = channel.receiver();
      const value = receiver.receive();
      await until(() => ringersAlive() === 1, "this thread sleeps, watched by its own");
      sender.trySend(7);
      assert.equal(await within(value, "a value"), 7);
      receiver.close();
      await until(() => ringersAlive() === 0, "which ends with the endpoint");
    }
  },

  async "watchers end"() {
    const before = await channelsSettled();
    for (let round = 0; round < 3; round++) {
      const channel = mpsc(u32, asleep);
      using receiver = channel.receiver();
      const value = receiver.receive();
      using sender = channel.sender();
      await until(() => channel.stats().receiverTimesSlept >= 1, "it sleeps");
      assert.equal(ringersAlive(), 1);
      sender.trySend(round);
      assert.equal(await within(value, "a value"), round);
      for (const end of [sender, receiver]) end.close();
      channel[Symbol.dispose]();
      await until(() => ringersAlive() === 0, "the ringer ends");
    }
    assert.equal(channelsAlive(), before);
  },
};

const play = scenes[scene];
if (play === undefined) throw new Error(`there is no scene ${scene}`);
await play();
console.log("as expected");
// Whatever a runtime keeps of its Workers.
process.exit(0);
