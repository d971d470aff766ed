/**
 * Prints the rights of two tickets of this process.
 *
 * @module
 */

import { mpsc, u32 } from "../../mod.ts";

const channel = mpsc(u32);
const tickets = [channel.senderTicket(), channel.receiverTicket()];
console.log(JSON.stringify(tickets.map(({ millrace, right }) => ({
  role: millrace,
  right: Array.from(right, String),
}))));
