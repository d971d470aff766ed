/**
 * The ways to send one stream of numbers, all received in the same way.
 *
 * @module
 */

import { mpsc, Sender, type SenderTicket, u32 } from "../../mod.ts";
import type { Side, Suite } from "../harness.ts";
import { openStream, pusher } from "../numbers.ts";
import type { Role } from "../workers.ts";

const capacity = 2 ** 16;
const batch = 1024;

/** A role that sends a sequence from first to last by `send`, which says how many it sent. */
function sending(
  begin: (sender: Sender<number, Uint32Array>) => (next: number, left: number) => number,
): Role {
  return (ticket: SenderTicket<number, Uint32Array>) => {
    const send = begin(Sender.open(ticket));
    return (count: number) => {
      for (let next = 0; next < count;) next += send(next, count - next);
    };
  };
}

/** What the Workers do. */
export const roles: Record<string, Role> = {
  writer: pusher,
  sendSync: sending((sender) => (next) => {
    sender.sendSync(next);
    return 1;
  }),
  send: (ticket: SenderTicket<number, Uint32Array>) => {
    const sender = Sender.open(ticket);
    return async (count: number) => {
      for (let value = 0; value < count; value++) await sender.send(value);
    };
  },
  batch: sending((sender) => {
    const values = new Uint32Array(batch);
    return (next, left) => {
      const length = Math.min(batch, left);
      for (let index = 0; index < length; index++) values[index] = next + index;
      sender.sendAllSync(length === batch ? values : values.subarray(0, length));
      return length;
    };
  }),
  inPlace: sending((sender) => (next, left) => {
    const room = sender.reserve(Math.min(batch, left));
    if (room === undefined) {
      // What blocks while the ring is full sends a value by itself.
      sender.sendSync(next);
      return 1;
    }
    for (let index = 0; index < room.length; index++) room[index] = next + index;
    sender.commit();
    return room.length;
  }),
};

const names = Object.keys(roles);

/** The suite. */
export const suite: Suite = {
  name: "ways-to-send",
  about:
    "u32 by writer, sendSync, await send, batches and in place; received in place, from a Worker",
  unit: "msg/s",
  ratios: names.filter((name) => name !== "sendSync").map((name) =>
    [`${name}/sendSync`, name, "sendSync"] as const
  ),
  async open(effort) {
    const sides: Side[] = [];
    for (const name of names) {
      sides.push(await openStream(name, import.meta.url, name, mpsc(u32, { capacity }), effort));
    }
    return sides;
  },
};
