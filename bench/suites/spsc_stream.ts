/**
 * The stream of one writer over an spsc channel, against the same over an mpsc one.
 *
 * @module
 */

import { mpsc, spsc, u32 } from "../../mod.ts";
import type { Suite } from "../harness.ts";
import { openStream, pusher } from "../numbers.ts";
import type { Role } from "../workers.ts";

const capacity = 2 ** 16;

/** What the Workers do. */
export const roles: Record<string, Role> = { sender: pusher };

/** The suite. */
export const suite: Suite = {
  name: "spsc-stream",
  about: "u32 pushed by a writer over an spsc channel, and over an mpsc one; Worker to main",
  unit: "msg/s",
  ratios: [["spsc/mpsc", "millrace", "mpsc"]],
  async open(effort) {
    return [
      await openStream("millrace", import.meta.url, "sender", spsc(u32, { capacity }), effort),
      await openStream("mpsc", import.meta.url, "sender", mpsc(u32, { capacity }), effort),
    ];
  },
};
