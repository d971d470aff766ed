/**
 * Two threads in conversation, by the strategy they wait by.
 *
 * @module
 */

import type { WaitStrategy } from "../../mod.ts";
import { answering, conversationSides, type Talk } from "../conversation.ts";
import type { Suite } from "../harness.ts";
import type { Role } from "../workers.ts";

const pings = 200;
const strategies: readonly WaitStrategy[] = ["phased", "spin", "yield", "sleep", "block"];

/** What the Worker does. */
export const roles: Record<string, Role> = { answering };

/** The suite. */
export const suite: Suite = {
  name: "wait-strategies",
  about: "round trip of two threads in sendSync() and receiveSync() by each wait strategy, p50",
  unit: "us",
  ratios: strategies.slice(1).map((wait) => [`${wait}/phased`, wait, "phased"] as const),
  open: () =>
    conversationSides(
      import.meta.url,
      pings,
      Object.fromEntries(
        strategies.map((wait): [string, Talk] => [
          wait,
          (conversation, tookMs) => conversation.sync(tookMs, wait),
        ]),
      ),
    ),
};
