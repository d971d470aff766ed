// A Worker that makes a channel, or lets a view go, and is then terminated. Plain JavaScript, so that
// Deno does not type-check the library once more for it.

import { mpsc, Receiver, u32 } from "../../mod.ts";

// One that is forgotten would be closed.
const kept = [];

self.onmessage = ({ data: { task, ticket } }) => {
  if (task === "receiverTicket") self.postMessage(mpsc(u32).receiverTicket());
  if (task === "senderTicket") self.postMessage(mpsc(u32, { capacity: 1 }).senderTicket());
  if (task === "transferView") {
    const receiver = Receiver.open(ticket);
    kept.push(receiver);
    const view = receiver.readable();
    self.postMessage(view, [view.buffer]);
  }
};
