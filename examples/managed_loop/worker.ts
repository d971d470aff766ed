/** Measures, and sends what it measured, as quickly as it can and until it is told to stop. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { Sender, type SenderTicket } from "../../mod.ts";

/** What this Worker is told. */
export type Order = SenderTicket<number, Float64Array> | "stop";

const scope = globalThis as unknown as { postMessage(sent: { count: number; sum: number }): void };

let isStopping = false;

addEventListener("message", async (event) => {
  const { data } = event as MessageEvent<Order>;
  if (data === "stop") {
    isStopping = true;
    return;
  }
  let count = 0;
  let sum = 0;
  {
    using sender = Sender.open(data);
    const writer = sender.writer();
    while (!isStopping) {
      for (const end = count + 100_000; count < end; count++) {
        const value = count % 1000 / 2; // halves: their sum is exact
        writer.push(value);
        sum += value;
      }
      await nextTurn();
    }
  }
  scope.postMessage({ count, sum });
});
