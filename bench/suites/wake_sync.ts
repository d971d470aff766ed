/**
 * Two threads in conversation, that block while they wait.
 *
 * @module
 */

import { answering, conversationSides } from "../conversation.ts";
import type { Suite } from "../harness.ts";
import type { Role } from "../workers.ts";

const pings = 4000;

/** What the Worker does. */
export const roles: Record<string, Role> = { answering };

/** The suite. */
export const suite: Suite = {
  name: "wake-sync",
  about: "round trip of two threads in sendSync() and receiveSync(), phased, p50",
  unit: "us",
  ratios: [["millrace/postMessage", "millrace", "postMessage"]],
  open: () =>
    conversationSides(import.meta.url, pings, {
      millrace: (conversation, tookMs) => conversation.sync(tookMs, "phased"),
      postMessage: (conversation, tookMs) => conversation.post(tookMs),
    }),
};
