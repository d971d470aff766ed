/**
 * Backpressure: three sensors are faster than the one who listens, and each has its own way to deal
 * with a full ring. One waits, one gives up on a reading after five milliseconds, one does not wait
 * at all. Memory stays what it was: a ring a sensor.
 *
 * Run it with `deno run -A examples/backpressure/main.ts` or `bun examples/backpressure/main.ts`.
 */

import assert from "node:assert/strict";
import { mpsc } from "../../mod.ts";
import { type Order, policies, reading, readingCount, type Saying } from "./readings.ts";

const capacity = 64;

await using channel = mpsc(reading, { capacity, maxSenders: policies.length });
const receiver = channel.receiver();

/** A sensor as it is seen from here. */
class Sensor {
  readonly worker = new Worker(new URL("./sensor.ts", import.meta.url), { type: "module" });
  readonly dropping = Promise.withResolvers<void>();
  readonly done = Promise.withResolvers<{ sent: number; dropped: number }>();
  readonly received: number[] = [];

  constructor(order: Order) {
    this.worker.onmessage = ({ data }: MessageEvent<Saying>) => {
      if (data === "dropping") this.dropping.resolve();
      else this.done.resolve(data);
    };
    this.worker.postMessage(order);
  }
}

const orders = policies.map((policy, sensor): Order => ({
  policy,
  sensor,
  ticket: channel.senderTicket(),
}));
const sensors = orders.map((order) => new Sensor(order));

// A listener that stalls: until those that do not wait for ever have dropped a reading.
await Promise.all(
  sensors.flatMap(({ dropping }, sensor) => policies[sensor] === "wait" ? [] : dropping.promise),
);

let mostWaiting = 0;

for await (const batch of receiver.batches({ max: 16 })) {
  for (const { sensor, sequence } of batch) sensors[sensor]?.received.push(sequence);
  mostWaiting = Math.max(mostWaiting, receiver.size);
  // And one that is slow when it listens: a millisecond for sixteen readings.
  await new Promise((resolve) => setTimeout(resolve, 1));
}

for (const [index, { done, received, worker }] of sensors.entries()) {
  const policy = policies[index];
  const { sent, dropped } = await done.promise;
  worker.terminate();
  assert.equal(received.length, sent, "what was sent has arrived, no more and no less");
  assert.equal(sent + dropped, readingCount, "and what was dropped is known");
  assert(received.every((sequence, at) => sequence > (received[at - 1] ?? -1)), "in order");
  assert.equal(dropped > 0, policy !== "wait");
  console.log(`${policy?.padEnd(9)} ${sent} sent and received, ${dropped} dropped`);
}
assert(mostWaiting <= policies.length * capacity);
console.log(`at most ${policies.length * capacity} readings waited at a time`);
