/**
 * Two threads that sleep in the kernel for each other's messages.
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
  name: "wake-sync-block",
  about: "round trip of two threads asleep in the kernel, p50, beside a bare futex",
  unit: "us",
  ratios: [
    ["millrace/postMessage", "millrace", "postMessage"],
    ["millrace/futex", "millrace", "futex"],
  ],
  open: () =>
    conversationSides(import.meta.url, pings, {
      millrace: (conversation, tookMs) => conversation.sync(tookMs, "block"),
      postMessage: (conversation, tookMs) => conversation.post(tookMs),
      futex: (conversation, tookMs) => conversation.futex(tookMs),
    }),
};
