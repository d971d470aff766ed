/**
 * Small objects, as JSON.
 *
 * @module
 */

import { json, mpsc, Sender, type SenderTicket } from "../../mod.ts";
import { mismatch, type Suite, throughput } from "../harness.ts";
import { millraceTransfer } from "../millrace.ts";
import { poster, postMessageTransfer } from "../peers/post_message.ts";
import { type Role, startWorker } from "../workers.ts";

interface Order {
  id: number;
  item: string;
  price: number;
  isPaid: boolean;
}

function make(index: number): Order {
  return { id: index, item: "mill wheel", price: 12.5, isPaid: (index & 1) === 0 };
}

function check(value: Order, index: number): void {
  const isRight = value.id === index && value.item === "mill wheel" && value.price === 12.5 &&
    value.isPaid === ((index & 1) === 0);
  if (!isRight) mismatch(make(index), value);
}

/** What the Workers do. */
export const roles: Record<string, Role> = {
  millrace: (ticket: SenderTicket<Order>) => {
    const writer = Sender.open(ticket).writer();
    return (count: number) => {
      for (let index = 0; index < count; index++) writer.push(make(index));
      writer.flush();
    };
  },
  postMessage: poster(make),
};

/** The suite. */
export const suite: Suite = {
  name: "json",
  about: "small objects of four properties, as JSON, Worker to main",
  unit: "msg/s",
  ratios: [["millrace/postMessage", "millrace", "postMessage"]],
  async open(effort) {
    const channel = mpsc(json<Order>(), { capacity: 2 ** 20 });
    const receiver = channel.receiver();
    const sender = await startWorker(import.meta.url, "millrace", channel.senderTicket());
    const posting = await startWorker(import.meta.url, "postMessage");
    return [
      await throughput(millraceTransfer(sender, receiver, check), effort),
      await throughput(postMessageTransfer(posting, check), effort),
    ];
  },
};
