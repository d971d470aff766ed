/**
 * Asynchronous I/O into memory of the library, under way when the Worker that began it is terminated: a
 * thread of the runtime goes on writing where the Worker had its slab or its room.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bytes, type Channel, mpsc, pool, Sender } from "../mod.ts";
import { throws, until } from "./support/bounded.ts";
import type { ReadingJob } from "./support/reading_worker.ts";

const directory = mkdtempSync(join(tmpdir(), "millrace-io-"));
after(() => rmSync(directory, { recursive: true }));
let fifos = 0;

/** Whether a thread of this process is in a read() of 16 bytes. */
function isReading(): boolean {
  return readdirSync("/proc/self/task").some((thread) => {
    try {
      const call = readFileSync(`/proc/self/task/${thread}/syscall`, "utf8").split(" ");
      return call[3] === "0x10";
    } catch {
      return false; // it has ended
    }
  });
}

/** A Worker whose read is under way, and how to end both. */
async function reading(job: (fifo: string) => ReadingJob) {
  const fifo = join(directory, `${fifos++}.fifo`);
  execFileSync("mkfifo", [fifo]);
  const file = openSync(fifo, "r+");
  const worker = new Worker(new URL("./support/reading_worker.ts", import.meta.url).href, {
    type: "module",
  });
  const said = new Promise<void>((resolve, reject) => {
    worker.onmessage = () => resolve();
    worker.onerror = (event) => {
      event.preventDefault?.();
      reject(new Error(event.message));
    };
  });
  worker.postMessage(job(fifo));
  await said;
  await until(isReading, "the read is under way");
  return {
    terminate: () => worker.terminate(),
    /** Has the read end. */
    async write() {
      writeSync(file, "INTRUDERINTRUDER");
      await until(() => !isReading(), "the read has ended");
    },
  };
}

test("a slab of a terminated Worker that I/O still writes to is nobody else's memory", async () => {
  for (const shared of [false, true]) {
    using slabs = pool({ slab: 4096, count: 1, shared });
    const read = await reading((fifo) => ({ fifo, slab: slabs.ticket() }));
    read.terminate();
    // Bun lets a thread end after its reads alone: the slab is its own until then.
    let isWritten = false;
    if ("Bun" in globalThis) {
      await read.write();
      isWritten = true;
    }
    const slab = await slabs.alloc();
    slab.bytes.fill(7);
    if (!isWritten) await read.write();
    assert.ok(slab.bytes.every((byte) => byte === 7), String(slab.bytes.subarray(0, 16)));
  }
});

for (const shared of [false, true]) {
  test(`${shared ? "shared: " : ""}the ring of a Worker that was terminated with a room is nobody else's`, async () => {
    using channel: Channel<Uint8Array> = mpsc(bytes, { capacity: 1024, maxSenders: 2, shared });
    using receiver = channel.receiver();
    const [ticket, next] = [channel.senderTicket(), channel.senderTicket()];
    const read = await reading((fifo) => ({ fifo, room: ticket }));
    read.terminate();
    if ("Bun" in globalThis) await read.write();
    // What was committed arrives, and its ring is drained.
    assert.deepEqual(await receiver.receive(), new Uint8Array([1]));
    using sender = Sender.open(next);
    await until(() => {
      receiver.tryReceive();
      return channel.stats().senders === 1;
    }, "the death is noticed");
    const message = new Uint8Array(1000 / 4).fill(7);
    for (let count = 0; count < 3; count++) sender.trySend(message);
    if (!("Bun" in globalThis)) await read.write();
    for (let count = 0; count < 3; count++) assert.deepEqual(await receiver.receive(), message);
    // Of the two places one is used up.
    throws(() => channel.sender(), { name: "TooManyError", code: "TOO_MANY_SENDERS" });
    channel.close();
    await channel.drained();
  });
}

test("the ring of a Worker that was terminated after it had committed its room is another's", async () => {
  using channel: Channel<Uint8Array> = mpsc(bytes, { capacity: 1024, maxSenders: 1 });
  using receiver = channel.receiver();
  const ticket = channel.senderTicket();
  const keep = channel.senderTicket();
  const code = `
    import { Sender } from ${JSON.stringify(new URL("../mod.ts", import.meta.url).href)};
    self.onmessage = ({ data }) => {
      const sender = Sender.open(data);
      sender.reserve(8);
      sender.commit();
      postMessage("committed");
    };`;
  const url = URL.createObjectURL(new Blob([code], { type: "application/javascript" }));
  const worker = new Worker(url, { type: "module" });
  const said = new Promise<void>((resolve) => worker.onmessage = () => resolve());
  worker.postMessage(ticket);
  await said;
  worker.terminate();
  assert.equal((await receiver.receive()).length, 8);
  await until(() => {
    receiver.tryReceive();
    return channel.stats().senders === 0;
  }, "the death is noticed");
  using _sender = Sender.open(keep);
});

test("a Worker that is terminated with no slab in hand leaves none of the pool's addresses behind", async () => {
  // A size that nothing else has.
  const [slab, count] = [3 * 4096 * 67, 5];
  const mappings = () =>
    readFileSync("/proc/self/maps", "utf8").split("\n").filter((line) => {
      const [begin = "", end = ""] = (line.split(" ")[0] ?? "").split("-");
      return Number.parseInt(end, 16) - Number.parseInt(begin, 16) === slab * count;
    }).length;
  const code = `
    import { Pool } from ${JSON.stringify(new URL("../mod.ts", import.meta.url).href)};
    self.onmessage = ({ data }) => {
      self.slabs = Pool.open(data);
      const slab = self.slabs.tryAlloc();
      slab.bytes.fill(1);
      slab.free();
      postMessage("freed");
    };`;
  const url = URL.createObjectURL(new Blob([code], { type: "application/javascript" }));
  using slabs = pool({ slab, count });
  const worker = new Worker(url, { type: "module" });
  const said = new Promise<void>((resolve) => worker.onmessage = () => resolve());
  worker.postMessage(slabs.ticket());
  await said;
  assert.equal(mappings(), 1);
  worker.terminate();
  await until(() => mappings() === 0, "its addresses are given back");
});
