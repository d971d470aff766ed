/**
 * Two threads that sleep in the kernel for each other's messages.
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
  name: "wake-sync-block",
  about: "round trip of two threads asleep in the kernel, p50, beside a bare futex",
  unit: "us",
  ratios: [
    ["millrace/postMessage", "millrace", "postMessage"],
    ["millrace/futex", "millrace", "futex"],
  ],
  async open() {
    const conversation = await Conversation.start(import.meta.url);
    const { worker } = conversation;
    return [
      await roundTrips("millrace", pings, (tookMs) => conversation.sync(tookMs, "block")),
      await roundTrips("postMessage", pings, (tookMs) => postMessageRoundTrips(worker, tookMs)),
      await roundTrips("futex", pings, (tookMs) => conversation.futex(tookMs)),
    ];
  },
};
