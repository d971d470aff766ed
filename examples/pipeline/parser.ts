/** The second stage: a line in, a struct out. */

import { Receiver, type ReceiverTicket, Sender, type SenderTicket } from "../../mod.ts";
import { type Sample, stations } from "./weather.ts";

interface Order {
  readonly input: ReceiverTicket<string>;
  readonly output: SenderTicket<Sample>;
}

function parse(line: string): Sample {
  const [name = "", celsius] = line.split(";");
  return { station: stations.indexOf(name), celsius: Number(celsius) };
}

addEventListener("message", async (event) => {
  const { input, output } = (event as MessageEvent<Order>).data;
  using receiver = Receiver.open(input);
  using sender = Sender.open(output);
  const writer = sender.writer();
  for await (const lines of receiver.batches()) {
    for (const line of lines) writer.push(parse(line));
  }
});
