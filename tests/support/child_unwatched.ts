/**
 * Waits that must be woken, in a process in which no wait looks by itself; see pool.test.ts and
 * shared.test.ts. The parameters are the scene and, where native threads play in it, their library.
 *
 * @module
 */

import "./no_watch.ts";
import assert from "node:assert/strict";
import process from "node:process";
import { libraryPath, mpsc, pool, utf8 } from "../../mod.ts";
import { nextTurn, until } from "./bounded.ts";
import { collect, range } from "./channels.ts";
import { openForeign } from "./foreign.ts";

const [scene = "", library = ""] = process.argv.slice(2);

const scenes: Record<string, () => Promise<void>> = {
  async "a slab is freed"() {
    using slabs = pool({ slab: 16, count: 1, pollBudget: 0 });
    for (const round of range(20)) {
      const slab = await slabs.alloc();
      const waiting = slabs.alloc();
      for (let turn = 0; turn < round % 3; turn++) await nextTurn();
      slab.free();
      (await waiting).free();
    }
  },

  async "a native thread answers"() {
    libraryPath(); // the threads are linked to the library that is loaded by now
    const threads = openForeign(library, {
      start_echo: { parameters: ["buffer", "buffer"], result: "i32" },
      threads_running: { parameters: [], result: "u32" },
    });
    const asleep = { shared: true, pollBudget: 0, capacity: 4096 } as const;
    const [there, back] = [mpsc(utf8, asleep), mpsc(utf8, asleep)];
    const sender = there.sender();
    const receiver = back.receiver();
    threads.start_echo(there.nativeReceiverTicket(), back.nativeSenderTicket());
    for (const index of range(200)) {
      const reply = receiver.receive();
      await sender.send(`message ${index}`);
      assert.equal(await reply, `message ${index}`);
    }
    sender.close();
    await collect(receiver);
    await until(() => threads.threads_running() === 0, "the threads end");
  },
};

const play = scenes[scene];
assert.ok(play !== undefined, `there is no scene ${scene}`);
await play();
console.log("as expected");
