/**
 * Connects to the channel that is shared at the address it is given, and sends samples.
 *
 * @module
 */

import process from "node:process";
import { Sender } from "../../mod.ts";
import { sample } from "./sample.ts";

const [address = ""] = process.argv.slice(2);
using sender = await Sender.connect(address, { layout: sample });
for (let sequence = 0; sequence < 100_000; sequence++) {
  await sender.send({ sequence, value: sequence / 2 }); // waits for room
}
