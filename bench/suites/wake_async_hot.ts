/**
 * Two event loops in conversation.
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
  name: "wake-async-hot",
  about: "round trip of two event loops in conversation, p50: trySend() and await receive()",
  unit: "us",
  ratios: [["millrace/postMessage", "millrace", "postMessage"]],
  open: () =>
    conversationSides(import.meta.url, pings, {
      millrace: (conversation, tookMs) => conversation.async(tookMs),
      postMessage: (conversation, tookMs) => conversation.post(tookMs),
    }),
};
