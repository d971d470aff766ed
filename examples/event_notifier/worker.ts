/** Sends readings in bursts. */

import { Sender, type SenderTicket } from "../../mod.ts";

/** What the main thread posts. */
export interface Bursts {
  readonly ticket: SenderTicket<number, Uint32Array>;
  readonly bursts: number;
  readonly burst: number;
}

addEventListener("message", async (event) => {
  const { data } = event as MessageEvent<Bursts>;
  using sender = Sender.open(data.ticket);
  for (let burst = 0; burst < data.bursts; burst++) {
    for (let index = 0; index < data.burst; index++) await sender.send(burst * data.burst + index);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
});
