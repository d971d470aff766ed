/**
 * Two threads in conversation, that block while they wait.
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
  name: "wake-sync",
  about: "round trip of two threads in sendSync() and receiveSync(), phased, p50",
  unit: "us",
  ratios: [["millrace/postMessage", "millrace", "postMessage"]],
  async open() {
    const conversation = await Conversation.start(import.meta.url);
    const { worker } = conversation;
    return [
      await roundTrips("millrace", pings, (tookMs) => conversation.sync(tookMs, "phased")),
      await roundTrips("postMessage", pings, (tookMs) => postMessageRoundTrips(worker, tookMs)),
    ];
  },
};
