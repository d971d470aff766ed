/** The one that writes the file. */

import { Buffer } from "node:buffer";
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { Receiver } from "../../mod.ts";
import type { FlusherOrder, FlusherReport } from "./orders.ts";

const scope = globalThis as unknown as { postMessage(report: FlusherReport): void };

/** A system may write less than it is given. */
function writeAll(file: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) {
    written += writeSync(file, bytes, written, bytes.length - written);
  }
}

addEventListener("message", async (event) => {
  const { path, ticket } = (event as MessageEvent<FlusherOrder>).data;
  using receiver = Receiver.open(ticket);
  const file = openSync(path, "a");
  let bytes = 0;
  // False when every sender is closed and nothing is left.
  while (await receiver.ready()) {
    // The lines of one sender as they lie in its ring: bytes, not strings.
    const lines = receiver.readable();
    if (lines === undefined) continue;
    const text = Buffer.concat(lines);
    writeAll(file, text);
    bytes += text.length;
    // Received when written: until here they stay in the ring.
    receiver.release();
  }
  fsyncSync(file);
  closeSync(file);
  scope.postMessage({ bytes });
});
