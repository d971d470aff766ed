/**
 * A stream of numbers by the size of the ring.
 *
 * @module
 */

import { mpsc, u32 } from "../../mod.ts";
import type { Side, Suite } from "../harness.ts";
import { openStream, pusher } from "../numbers.ts";
import type { Role } from "../workers.ts";

const capacityDefault = 1024;
const capacities = [64, 256, capacityDefault, 4096, 2 ** 14, 2 ** 16, 2 ** 20];

/** What the Workers do. */
export const roles: Record<string, Role> = { sender: pusher };

/** The suite. */
export const suite: Suite = {
  name: "capacity",
  about: "u32 pushed by a writer through rings of several sizes, Worker to main",
  unit: "msg/s",
  ratios: capacities.filter((capacity) => capacity !== capacityDefault).map((capacity) =>
    [
      `${capacity}/${capacityDefault}`,
      `capacity-${capacity}`,
      `capacity-${capacityDefault}`,
    ] as const
  ),
  async open(effort) {
    const sides: Side[] = [];
    for (const capacity of capacities) {
      const channel = mpsc(u32, { capacity });
      const name = `capacity-${capacity}`;
      sides.push(await openStream(name, import.meta.url, "sender", channel, effort));
    }
    return sides;
  },
};
