/**
 * Two event loops in conversation.
 *
 * @module
 */

import { answering, Conversation } from "../conversation.ts";
import { roundTrips, type Suite } from "../harness.ts";
import { postMessageRoundTrips } from "../peers/post_message.ts";
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
  async open() {
    const conversation = await Conversation.start(import.meta.url);
    const { worker } = conversation;
    return [
      await roundTrips("millrace", pings, (tookMs) => conversation.async(tookMs)),
      await roundTrips("postMessage", pings, (tookMs) => postMessageRoundTrips(worker, tookMs)),
    ];
  },
};
