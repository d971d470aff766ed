/**
 * A program that issues a ticket for a Worker that stays, and does not keep the process alive. It ends.
 *
 * @module
 */

import { Worker } from "node:worker_threads";
import { mpsc, u32 } from "../../mod.ts";

const channel = mpsc(u32);
const worker = new Worker("setInterval(() => {}, 1000)", { eval: true });
worker.once("online", () => {
  worker.unref();
  channel.senderTicket({ worker });
  console.log("the end");
});
