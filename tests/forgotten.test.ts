/** What a program forgets is closed when it is garbage collected, and reported once a process. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { runChild } from "./support/runtime.ts";

const limits = { timeout: 120_000 };

const scenes = {
  sender: "a Sender that is forgotten is closed, after what it had put",
  weak: "a WeakSender keeps no Sender, and is closed when it is forgotten",
  stream: "a WritableStream that is forgotten while it is idle closes its sender",
  receiver: "a Receiver that is forgotten is closed",
  inHand: "a Receiver that is forgotten with a value in hand leaves it to another",
  pool:
    "a Pool that is forgotten is closed with its last slab, unless a ticket or a channel needs it",
  kept: "a writer, a stream, an iterator, a loop, a wait and an eventfd keep their endpoint",
  channel: "a Channel that is forgotten gives its handle up: endpoints and tickets stay good",
  many:
    "8,000 channels that are forgotten, with 24,000 endpoints, do not use up the table of endpoints",
};

/** Where endpoints of a channel that was open were forgotten. */
const reported = ["sender", "weak", "stream", "receiver", "inHand", "pool", "many"];

for (const [scene, name] of Object.entries(scenes)) {
  test(name, limits, async () => {
    const { code, signal, stdout, stderr } = await runChild("child_forgotten.ts", [scene], {
      limitMs: 110_000,
    });
    assert.deepEqual(
      { code, signal, stdout: stdout.trim() },
      { code: 0, signal: null, stdout: "as expected" },
      stderr,
    );
    const reports = stderr.match(/was garbage collected while its channel was open/g) ?? [];
    assert.equal(reports.length, reported.includes(scene) ? 1 : 0, stderr);
  });
}
