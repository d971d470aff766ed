/**
 * A receiver that is waited for by its descriptor, as an event loop of files does: a Worker sends in
 * bursts, and the consumer sleeps in a read of its eventfd between them.
 *
 * Run it with `deno run -A examples/event_notifier/main.ts` or `bun examples/event_notifier/main.ts`.
 */

import assert from "node:assert/strict";
import { mpsc, u32 } from "../../mod.ts";
import { waitFor } from "./wait.ts";
import type { Bursts } from "./worker.ts";

const bursts = 50;
const burst = 100;

await using channel = mpsc(u32, { capacity: 1024 });
const receiver = channel.receiver();
const eventFd = receiver.eventFd();
const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
worker.postMessage({ ticket: channel.senderTicket(), bursts, burst } satisfies Bursts);

let received = 0;
let sleeps = 0;
let writes = 0;
for (;;) {
  const result = receiver.tryReceive();
  if (result.state === "ok") {
    assert.equal(result.value, received++);
  } else if (result.state === "closed") {
    break;
  } else if (eventFd.arm()) {
    sleeps++;
    writes += await waitFor(eventFd.fd);
  }
}
worker.terminate();

assert.equal(received, bursts * burst);
assert.ok(writes <= sleeps);
console.log(`${received} readings received, at most one write a sleep`);
