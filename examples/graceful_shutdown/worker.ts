/** Sends jobs until they are no longer accepted. */

import { ChannelClosedError, Sender } from "../../mod.ts";
import type { Job, Order, Report } from "./jobs.ts";

const scope = globalThis as unknown as { postMessage(report: Report): void };

addEventListener("message", async (event) => {
  const { index, ticket } = (event as MessageEvent<Order>).data;
  let accepted = 0;
  try {
    using sender = Sender.open(ticket);
    while (true) {
      await sender.send({ worker: index, id: accepted });
      accepted++;
    }
  } catch (error) {
    if (!(error instanceof ChannelClosedError)) throw error;
    scope.postMessage({ accepted, refused: error.value as Job | undefined });
  }
});
