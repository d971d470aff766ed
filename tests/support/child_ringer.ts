/**
 * Has a native thread wake a receiver, on a channel that is never disposed of, and ends: the ringer does
 * not keep the process alive. The parameters are the module to use and the library with the thread.
 *
 * @module
 */

import process from "node:process";
import { openForeign } from "./foreign.ts";

const [module = "", library = ""] = process.argv.slice(2);
const { libraryPath, mpsc, u32 } = await import(module) as typeof import("../../mod.ts");
libraryPath();
const { start_abandon } = openForeign(library, {
  start_abandon: { parameters: ["buffer", "u32"], result: "i32" },
});
const channel = mpsc(u32, { pollBudget: 0 });
const receiver = channel.receiver();
start_abandon(channel.nativeSenderTicket(), 3);
for (let value = 0; value < 3; value++) {
  if (await receiver.receive() !== value) throw new Error("not what was sent");
}
mpsc(u32).nativeSenderTicket();
