/**
 * Consumes on this event loop what a native thread produces. The first argument is the library that
 * producer.c was compiled to, the second how many samples are to come.
 *
 * @module
 */

import process from "node:process";
import { f64, libraryPath, mpsc, struct, u32 } from "../../../mod.ts";
import { openProducer } from "./open.ts";

const [path = "./libproducer.so", count = "1000000"] = process.argv.slice(2);

// Loaded first: the producer is linked to this very file.
console.log(`millrace is ${libraryPath()}`);
const producer = openProducer(path);

// As struct sample of producer.c: fields at their natural alignment.
await using channel = mpsc(struct({ sequence: u32, value: f64 }), { capacity: 4096 });
const receiver = channel.receiver();

if (producer.producer_start(channel.nativeSenderTicket(), Number(count)) !== 0) {
  throw new Error("the native thread could not be started");
}

// The event loop goes on meanwhile: this timer fires while samples arrive.
let ticks = 0;
const ticking = setInterval(() => ticks++, 1);

let received = 0;
let sum = 0;
const loop = receiver.run(({ sequence, value }) => {
  if (sequence !== received++) throw new Error(`sample ${sequence} is out of order`);
  sum += value;
});
const { state } = await loop.finished; // the native thread closes its sender when it is done
clearInterval(ticking);

const expected = Number(count) * (Number(count) - 1) / 4;
if (received !== Number(count) || sum !== expected) throw new Error(`received ${received}: ${sum}`);
console.log(`${received} samples, the sum is right; ${state}, ${ticks > 0 ? "ticking" : "silent"}`);
