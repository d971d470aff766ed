/**
 * Two event loops that have both gone to sleep before each message.
 *
 * @module
 */

import { answering, Conversation } from "../conversation.ts";
import { delay, type Effort, efforts, roundTrips, type Suite } from "../harness.ts";
import { postMessageRoundTrips } from "../peers/post_message.ts";
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
  async open(effort) {
    const conversation = await Conversation.start(import.meta.url);
    const { worker } = conversation;
    const pings = pingsOf(effort);
    return [
      await roundTrips("millrace", pings, (tookMs) => conversation.async(tookMs, gap), 1),
      await roundTrips(
        "postMessage",
        pings,
        (tookMs) => postMessageRoundTrips(worker, tookMs, gap),
        1,
      ),
    ];
  },
};
