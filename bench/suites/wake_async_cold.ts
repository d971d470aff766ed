/**
 * Two event loops that have both gone to sleep before each message.
 *
 * @module
 */

import { answering, conversationSides } from "../conversation.ts";
import { delay, type Effort, efforts, type Suite } from "../harness.ts";
import type { Role } from "../workers.ts";

const gapLeastMs = 20;
const gapMostMs = 50;
const pingsOf = (effort: Effort) => effort === efforts.quick ? 40 : 80;

const gap = () => delay(gapLeastMs + Math.random() * (gapMostMs - gapLeastMs));

/** What the Worker does. */
export const roles: Record<string, Role> = { answering };

/** The suite. */
export const suite: Suite = {
  name: "wake-async-cold",
  about: `round trip of two event loops after ${gapLeastMs} to ${gapMostMs} ms of silence, p50`,
  unit: "us",
  ratios: [["millrace/postMessage", "millrace", "postMessage"]],
  open: (effort) =>
    conversationSides(import.meta.url, pingsOf(effort), {
      millrace: (conversation, tookMs) => conversation.async(tookMs, gap),
      postMessage: (conversation, tookMs) => conversation.post(tookMs, gap),
    }, 1),
};
