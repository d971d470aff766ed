/**
 * Objects of four numbers.
 *
 * @module
 */

import { f64, mpsc, Sender, type SenderTicket, struct, u32, u8, type ValueOf } from "../../mod.ts";
import { mismatch, type Suite, throughput } from "../harness.ts";
import { millraceTransfer } from "../millrace.ts";
import { poster, postMessageTransfer } from "../peers/post_message.ts";
import { type Role, startWorker } from "../workers.ts";

const trade = struct({ id: u32, price: f64, quantity: u32, side: u8 });
type Trade = ValueOf<typeof trade>;

function make(index: number): Trade {
  return { id: index, price: index * 0.25, quantity: index & 1023, side: index & 1 };
}

function check(value: Trade, index: number): void {
  const isRight = value.id === index && value.price === index * 0.25 &&
    value.quantity === (index & 1023) && value.side === (index & 1);
  if (!isRight) mismatch(make(index), value);
}

/** What the Workers do. */
export const roles: Record<string, Role> = {
  millrace: (ticket: SenderTicket<Trade>) => {
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
  name: "struct",
  about: "objects of four fields, made, sent, received and checked one by one, Worker to main",
  unit: "msg/s",
  ratios: [["millrace/postMessage", "millrace", "postMessage"]],
  async open(effort) {
    const channel = mpsc(trade, { capacity: 2 ** 14 });
    const receiver = channel.receiver();
    const sender = await startWorker(import.meta.url, "millrace", channel.senderTicket());
    const posting = await startWorker(import.meta.url, "postMessage");
    return [
      await throughput(millraceTransfer(sender, receiver, check), effort),
      await throughput(postMessageTransfer(posting, check), effort),
    ];
  },
};
