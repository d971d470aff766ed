/**
 * The memory that rings use: that of senders that are open, and not of those that have closed.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import process from "node:process";
import test from "node:test";
import { type Channel, mpmc, mpsc, Sender, spmc, spsc, u32 } from "../mod.ts";

const kinds = { mpsc, spsc, spmc, mpmc };
const capacity = 1 << 20;
const ringKilobytes = capacity * 4 / 1024;

/** The resident kilobytes of each private mapping of this process, by its address. */
function privateMemory(): Map<string, number> {
  const mappings = new Map<string, number>();
  let address = "";
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const [, start] = /^([0-9a-f]+)-[0-9a-f]+ /.exec(line) ?? [];
    if (start !== undefined) address = start;
    const [, kilobytes] = /^Anonymous:\s+(\d+) kB$/.exec(line) ?? [];
    if (kilobytes !== undefined) mappings.set(address, Number(kilobytes));
  }
  return mappings;
}

/** The kilobytes of each memfd that this process has open, whoever has touched them, by its inode. */
function sharedMemory(): Map<string, number> {
  const files = new Map<string, number>();
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      if (!readlinkSync(`/proc/self/fd/${fd}`).startsWith("/memfd:millrace")) continue;
      const { ino, blocks } = statSync(`/proc/self/fd/${fd}`);
      files.set(String(ino), blocks / 2);
    } catch {
      // Closed since, as that of the directory itself.
    }
  }
  return files;
}

/** Fills the ring of a sender, and tells what the memory that grew by it takes later. */
function fillAndFind(
  sender: Sender<number, Uint32Array>,
  memory: () => Map<string, number>,
): () => number {
  const values = new Uint32Array(capacity).fill(7);
  const before = memory();
  assert.equal(sender.sendBatch(values), capacity);
  const [grown, ...others] = [...memory()].filter(([key, kilobytes]) =>
    kilobytes - (before.get(key) ?? 0) >= ringKilobytes
  );
  assert.ok(grown !== undefined && others.length === 0, "one memory grew");
  const least = before.get(grown[0]) ?? 0;
  return () => (memory().get(grown[0]) ?? 0) - least;
}

for (const [kind, create] of Object.entries(kinds)) {
  for (const where of ["this process", "shared memory", "a connected sender"] as const) {
    test(`the ring of a closed sender of an ${kind} channel is given back once it is drained: ${where}`, async () => {
      const isShared = where !== "this process";
      using channel: Channel<number, Uint32Array> = create(u32, {
        capacity,
        shared: isShared,
      });
      using receiver = channel.receiver();
      const address = `@millrace-test-${process.pid}-${crypto.randomUUID()}`;
      const keeps = channel.senderTicket(); // the channel goes on without a sender
      let sender: Sender<number, Uint32Array>;
      if (where === "a connected sender") {
        using _share = channel.share(address, { limit: 1, receivers: false });
        sender = await Sender.connect(address, { layout: u32 });
      } else sender = channel.sender();
      const resident = fillAndFind(sender, isShared ? sharedMemory : privateMemory);
      sender.close();
      let received = 0;
      while (received < capacity / 2) received += receiver.receiveBatch(capacity / 2).length;
      assert.ok(resident() >= ringKilobytes / 2, "what is not received is there");
      while (received < capacity) received += receiver.receiveBatch(capacity).length;
      const deadline = performance.now() + 10_000;
      // A connected sender is closed by its keeper, soon.
      do {
        assert.deepEqual(receiver.tryReceive(), { state: "empty" });
      } while (resident() > ringKilobytes / 4 && performance.now() < deadline);
      assert.ok(resident() <= ringKilobytes / 4, `${resident()} kB are resident`);

      // And it is as good as new.
      using next = channel.sender();
      assert.equal(next.sendBatch(new Uint32Array(capacity).fill(9)), capacity);
      assert.equal(channel.stats().rings.length, 1);
      const batch = receiver.receiveBatch(capacity);
      assert.ok(batch.length > 0 && batch.every((value) => value === 9));
      channel.revoke(keeps);
    });
  }
}
