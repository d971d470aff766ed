/** The second stage: inverts a frame in place and sends the same slab on. */

import { Receiver, type ReceiverTicket, Sender, type SenderTicket, type Slab } from "../../mod.ts";

interface Order {
  readonly input: ReceiverTicket<Slab>;
  readonly output: SenderTicket<Slab>;
}

addEventListener("message", async (event) => {
  const { input, output } = (event as MessageEvent<Order>).data;
  using receiver = Receiver.open(input);
  using sender = Sender.open(output);
  for await (const slab of receiver) {
    const { bytes } = slab;
    for (let at = 0; at < bytes.length; at++) bytes[at] = 255 - (bytes[at] as number);
    await sender.send(slab);
  }
});
