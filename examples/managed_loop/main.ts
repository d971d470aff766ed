/**
 * The managed event loop: a Worker sends measurements as quickly as it can, `receiver.run()` consumes
 * them on the main thread, and on the same event loop an HTTP server keeps answering and a timer
 * keeps ticking, for a turn of the loop lasts two milliseconds and no longer.
 *
 * Run it with `deno run -A examples/managed_loop/main.ts` or `bun examples/managed_loop/main.ts`.
 */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { f64, mpsc } from "../../mod.ts";
import type { Order } from "./worker.ts";

const answersWanted = 100;

await using channel = mpsc(f64, { capacity: 1 << 14, maxSenders: 1 });
const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const tell = (order: Order) => worker.postMessage(order);
const sent = new Promise<{ count: number; sum: number }>((resolve) => {
  worker.onmessage = ({ data }) => resolve(data);
});
tell(channel.senderTicket());

let sum = 0;
// Batches, for speed; without `batch` the handler gets one value after the other.
const loop = channel.receiver().run((batch) => {
  for (const value of batch) sum += value;
}, { batch: 4096, budget: 2 });

let ticks = 0;
const timer = setInterval(() => ticks++, 5);

const server = createServer((_, response) => {
  response.setHeader("connection", "close");
  response.end(JSON.stringify({ measurements: loop.messages, mean: sum / loop.messages }));
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const { port } = server.address() as AddressInfo;

// The stream does not end before somebody has asked so often while it ran, and was answered.
for (let answers = 0; answers < answersWanted;) {
  const response = await fetch(`http://127.0.0.1:${port}/`);
  assert(response.ok);
  const { measurements, mean } = await response.json() as { measurements: number; mean: number };
  if (measurements === 0) continue;
  if (++answers % 25 === 0) console.log(`${measurements} measurements, their mean is ${mean}`);
}
tell("stop");

// The Worker closes its sender, and so the loop ends. To end it from here, after what was sent by
// then, it would be `await loop.stop()`.
const { messages, state } = await loop.finished;
const expected = await sent;
clearInterval(timer);
server.close();
worker.terminate();

assert.equal(state, "closed");
assert.deepEqual({ count: messages, sum }, expected);
assert(ticks > 0);
console.log(
  `${messages} measurements in ${loop.calls} batches and ${loop.turns} turns; ` +
    `meanwhile ${answersWanted} requests answered, ${ticks} ticks`,
);
