/**
 * A Worker that reads from a FIFO straight into memory of the library, and is terminated meanwhile.
 *
 * @module
 */

import { openSync, read } from "node:fs";
import { Pool, type PoolTicket, Sender, type SenderTicket } from "../../mod.ts";

/** Where it reads to. */
export type ReadingJob =
  & { readonly fifo: string }
  & (
    | { readonly slab: PoolTicket }
    | { readonly room: SenderTicket<Uint8Array> }
  );

// Only what is used of a Worker's scope, so that other type checkers need no types of it.
const scope = globalThis as unknown as {
  onmessage: (event: { data: ReadingJob }) => void;
  postMessage(message: unknown): void;
};

/** How many bytes it asks for. */
const wanted = 16;
/** What it has, for as long as it lives. */
const kept: unknown[] = [];

function memoryOf(job: ReadingJob): Uint8Array {
  if ("slab" in job) {
    const slab = Pool.open(job.slab).tryAlloc(wanted);
    if (slab === undefined) throw new Error("no slab is free");
    kept.push(slab);
    return slab.bytes;
  }
  const sender = Sender.open(job.room);
  sender.trySend(new Uint8Array([1]));
  kept.push(sender);
  const room = sender.reserve(wanted);
  if (room === undefined) throw new Error("there is no room");
  return room;
}

scope.onmessage = ({ data: job }) => {
  read(openSync(job.fifo, "r+"), memoryOf(job), 0, wanted, null, () => {});
  scope.postMessage("reading");
};
