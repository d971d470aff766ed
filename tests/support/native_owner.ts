/** A Worker that owns two channels and their ringer, and dies: others have the endpoints. */

import { mpsc, utf8 } from "../../mod.ts";
import { openForeign } from "./foreign.ts";

const scope = globalThis as unknown as {
  onmessage: (event: { data: string }) => void;
  postMessage(message: unknown): void;
};

const channels: unknown[] = [];

scope.onmessage = ({ data: library }) => {
  const there = mpsc(utf8, { capacity: 4096 });
  const back = mpsc(utf8, { capacity: 4096, pollBudget: 0 });
  channels.push(there, back);
  const tickets = { sender: there.senderTicket(), receiver: back.receiverTicket() };
  const { start_echo } = openForeign(library, {
    start_echo: { parameters: ["buffer", "buffer"], result: "i32" },
  });
  start_echo(there.nativeReceiverTicket(), back.nativeSenderTicket());
  scope.postMessage(tickets);
};
