/**
 * Two event loops in conversation, by how long they poll before they sleep.
 *
 * @module
 */

import type { PollBudget } from "../../mod.ts";
import { answering, Conversation } from "../conversation.ts";
import { roundTrips, type Side, type Suite } from "../harness.ts";
import type { Role } from "../workers.ts";

const pings = 1000;
const budgets: readonly PollBudget[] = ["adaptive", 0, 50, 1000];

/** What the Workers do. */
export const roles: Record<string, Role> = { answering };

/** The suite. */
export const suite: Suite = {
  name: "poll-budget",
  about: "round trip of two event loops in conversation by pollBudget, in microseconds, p50",
  unit: "us",
  ratios: budgets.slice(1).map((budget) =>
    [`${budget}/adaptive`, `budget-${budget}`, "budget-adaptive"] as const
  ),
  async open() {
    const sides: Side[] = [];
    for (const budget of budgets) {
      const conversation = await Conversation.start(import.meta.url, budget);
      const talk = (tookMs: Float64Array) => conversation.async(tookMs);
      sides.push(await roundTrips(`budget-${budget}`, pings, talk));
    }
    return sides;
  },
};
