/**
 * A Worker: pins itself to the node it is told, and opens its sender there. The ring is then memory of
 * that node, which only the consumer reads from afar.
 */

import { pinThread, Sender } from "../../mod.ts";
import { type Order, valueOf } from "./samples.ts";

const scope = globalThis as unknown as { onmessage: (event: { data: unknown }) => void };

scope.onmessage = ({ data }) => {
  const { node, samples, ticket } = data as Order;
  pinThread({ node }); // before the ring is opened: "local" is where this thread runs then
  const sender = Sender.open(ticket, { node: "local" });
  const writer = sender.writer();
  for (let sequence = 0; sequence < samples; sequence++) {
    writer.push({ node, sequence, value: valueOf(node, sequence) });
  }
  writer.flush();
  // The ring is to be looked at while it is ours.
  scope.onmessage = () => sender.close();
};
