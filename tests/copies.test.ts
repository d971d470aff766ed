/** Two copies of Millrace in one process: each says so when it meets what the other has made. */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import * as ours from "../mod.ts";
import { throws } from "./support/bounded.ts";
import { supportFile } from "./support/runtime.ts";

const copy = mkdtempSync(join(tmpdir(), "millrace-copy-"));
after(() => rmSync(copy, { recursive: true }));

/** Another copy of the module, with a library of its own or that of this one. */
async function otherCopy(name: string, library: string | undefined): Promise<typeof ours> {
  const place = join(copy, name);
  const ownLibrary = process.env.MILLRACE_LIB;
  for (const part of ["mod.ts", "src", "ffi"]) {
    cpSync(supportFile(`../../${part}`), join(place, part), { recursive: true });
  }
  try {
    process.env.MILLRACE_LIB = library ?? ours.libraryPath();
    const other = await import(pathToFileURL(join(place, "mod.ts")).href) as typeof ours;
    other.libraryPath();
    return other;
  } finally {
    if (ownLibrary === undefined) delete process.env.MILLRACE_LIB;
    else process.env.MILLRACE_LIB = ownLibrary;
  }
}

test("a ticket of another copy of the native library says that there are two, and where", async () => {
  const library = join(copy, "libmillrace.so");
  cpSync(ours.libraryPath(), library);
  const theirs = await otherCopy("with-library", library);
  assert.equal(theirs.libraryPath(), library);
  const expected = {
    name: "TicketError",
    code: "TICKET_FOREIGN",
    message: new RegExp(`of the native library ${library}, received .*${ours.libraryPath()}; have`),
  };
  using channel = ours.mpsc(ours.u32);
  using slabs = ours.pool({ slab: 64, count: 1 });
  const tickets = [channel.senderTicket(), channel.receiverTicket(), slabs.ticket()] as const;
  throws(() => theirs.Sender.open(tickets[0]), expected);
  throws(() => theirs.Receiver.open(tickets[1]), expected);
  throws(() => theirs.Pool.open(tickets[2]), expected);
  // They are as good as they were.
  using sender = ours.Sender.open(tickets[0]);
  using receiver = ours.Receiver.open(tickets[1]);
  using _slabs = ours.Pool.open(tickets[2]);
  sender.trySend(7);
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: 7 });
});

test("a ticket of another copy of the module that uses the same native library is good", async () => {
  const theirs = await otherCopy("same-library", undefined);
  using channel = ours.mpsc(ours.utf8);
  using sender = theirs.Sender.open(channel.senderTicket());
  using receiver = theirs.Receiver.open(channel.receiverTicket());
  sender.trySend("across");
  assert.deepEqual(receiver.tryReceive(), { state: "ok", value: "across" });
});

test("a layout, pool or slab of another copy of the module says where both are", async () => {
  const theirs = await otherCopy("module", undefined);
  const where = pathToFileURL(join(copy, "module")).href;
  const expected = { name: "TypeError", message: new RegExp(`another copy.*${where}`) };
  const layouts = [theirs.u32, theirs.bytes, theirs.json, theirs.struct({ a: theirs.u8 })];
  for (const layout of layouts) {
    throws(() => ours.mpsc(layout as ours.Layout<unknown>), expected);
  }
  // A field is no more than its spec.
  using structs = ours.mpsc(ours.struct({ field: theirs.u32 }));
  assert.equal(structs.sender().trySend({ field: 7 }), true);
  using slabs = theirs.pool({ slab: 64, count: 1 });
  using channel = ours.mpsc(ours.bytes);
  throws(() => channel.withPool(slabs as unknown as ours.Pool), expected);
  using own = ours.pool({ slab: 64, count: 1 });
  using handles = ours.mpsc(own.layout());
  const slab = slabs.tryAlloc() as unknown as ours.Slab;
  throws(() => handles.sender().trySend(slab), expected);
});
