/** The first stage: draws frames into slabs. */

import { Pool, type PoolTicket, Sender, type SenderTicket, type Slab } from "../../mod.ts";
import { frames, height, pixel, width } from "./film.ts";

interface Order {
  readonly slabs: PoolTicket;
  readonly output: SenderTicket<Slab>;
}

addEventListener("message", async (event) => {
  const { slabs: ticket, output } = (event as MessageEvent<Order>).data;
  using slabs = Pool.open(ticket);
  using sender = Sender.open(output);
  for (let frame = 0; frame < frames; frame++) {
    using slab = await slabs.alloc(); // waits for one that is free
    const { bytes } = slab;
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++) bytes[at++] = pixel(frame, x, y);
    }
    await sender.send(slab); // it is the receiver's now; had this thrown, `using` would free it
  }
});
