/**
 * The other process: draws frames into slabs of the pool that main.ts keeps.
 *
 * @module
 */

import process from "node:process";
import { Pool, Sender } from "../../mod.ts";
import { frames, height, pixel, width } from "../frames/film.ts";

const [address = ""] = process.argv.slice(2);
using slabs = await Pool.connect(`${address}-slabs`);
using sender = await Sender.connect(address, { layout: slabs.layout() });
for (let frame = 0; frame < frames; frame++) {
  using slab = await slabs.alloc(); // waits for one that is free
  const { bytes } = slab;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) bytes[at++] = pixel(frame, x, y);
  }
  await sender.send(slab); // it is the receiver's now; had this thrown, `using` would free it
}
