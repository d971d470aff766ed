/**
 * A loop of `run()` that fails or ends, and what the process makes of it; see run.test.ts. The first
 * parameter says how.
 *
 * @module
 */

import process from "node:process";
import { mpsc, u32 } from "../../mod.ts";

const channel = mpsc(u32, { capacity: 4 });
const sender = channel.sender();
const receiver = channel.receiver();

const fail = () => {
  throw new Error("the handler failed");
};
const caught = (error: Error) => console.log(error.message.includes("failed") ? "caught" : error);

/** A turn of the event loop or two, in which an unhandled rejection is noticed. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
}

const modes: Record<string, () => unknown> = {
  throws() {
    receiver.run(fail);
    sender.trySend(1);
  },
  rejects() {
    receiver.run(() => Promise.reject(new Error("the handler failed")));
    sender.trySend(1);
  },
  async "caught by finished"() {
    const loop = receiver.run(fail);
    loop.finished.catch(caught);
    sender.trySend(1);
    await turns();
  },
  async "caught by a stop() before"() {
    const loop = receiver.run(fail);
    sender.trySend(1);
    await loop.stop().catch(caught);
  },
  async "caught behind await using"() {
    try {
      await using _loop = receiver.run(fail);
      sender.trySend(1);
      await turns();
    } catch (error) {
      caught(error as Error);
    }
  },
  async "aborted by its signal"() {
    const abort = new AbortController();
    receiver.run(() => {}, { signal: abort.signal });
    await turns();
    abort.abort(new Error("enough"));
    console.log("aborted");
  },
  "closed with a reason"() {
    receiver.run(() => {});
    channel.close(new Error("dry"));
    console.log("closed");
  },
};

const run = modes[process.argv[2] ?? ""];
if (run === undefined) throw new Error("there is no such mode");
await run();
await turns();
console.log("still here");
