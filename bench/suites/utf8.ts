/**
 * Strings of 100 bytes.
 *
 * @module
 */

import { mpsc, Sender, type SenderTicket, utf8 } from "../../mod.ts";
import { mismatch, type Suite, throughput } from "../harness.ts";
import { millraceTransfer } from "../millrace.ts";
import { poster, postMessageTransfer } from "../peers/post_message.ts";
import { type Role, startWorker } from "../workers.ts";

const texts = Array.from(
  { length: 1024 },
  (_, index) => `${index} `.padEnd(100, "the river moves the wheel "),
);

function make(index: number): string {
  return texts[index % texts.length] as string;
}

function check(value: string, index: number): void {
  if (value !== make(index)) mismatch(make(index), value);
}

/** What the Workers do. */
export const roles: Record<string, Role> = {
  millrace: (ticket: SenderTicket<string>) => {
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
  name: "utf8",
  about: "strings of 100 bytes, Worker to main",
  unit: "msg/s",
  ratios: [["millrace/postMessage", "millrace", "postMessage"]],
  async open(effort) {
    const channel = mpsc(utf8, { capacity: 2 ** 20 });
    const receiver = channel.receiver();
    const sender = await startWorker(import.meta.url, "millrace", channel.senderTicket());
    const posting = await startWorker(import.meta.url, "postMessage");
    return [
      await throughput(millraceTransfer(sender, receiver, check), effort),
      await throughput(postMessageTransfer(posting, check), effort),
    ];
  },
};
