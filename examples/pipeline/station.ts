/** The first stage: what a station wrote down, a line a reading. */

import { Sender, type SenderTicket } from "../../mod.ts";
import { celsius, linesPerStation, stations } from "./weather.ts";

interface Order {
  readonly station: number;
  readonly output: SenderTicket<string>;
}

addEventListener("message", (event) => {
  const { station, output } = (event as MessageEvent<Order>).data;
  using sender = Sender.open(output);
  const writer = sender.writer();
  for (let line = 0; line < linesPerStation; line++) {
    writer.push(`${stations[station]};${celsius(station, line).toFixed(1)}`);
  }
  // Closing the sender publishes the writer's last chunk.
});
