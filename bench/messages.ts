/**
 * A stream of messages of one layout, made, sent, received and checked one by one, against
 * `postMessage` of the same.
 *
 * @module
 */

import { type Layout, mpsc, Sender, type SenderTicket } from "../mod.ts";
import { type Suite, throughput } from "./harness.ts";
import { millraceTransfer } from "./millrace.ts";
import { poster, postMessageTransfer } from "./peers/post_message.ts";
import { type Role, startWorker } from "./workers.ts";

/** What such a suite is about. */
export interface Messages<Value> {
  /** The suite's file. */
  readonly file: string;
  readonly name: string;
  readonly about: string;
  readonly layout: Layout<Value, Value[]>;
  readonly capacity: number;
  readonly make: (index: number) => Value;
  /** Throws unless `value` is what `make(index)` gives. */
  readonly check: (value: Value, index: number) => void;
}

/** The suite and its Workers' roles. */
export function messageSuite<Value>(
  { file, name, about, layout, capacity, make, check }: Messages<Value>,
): { readonly roles: Record<string, Role>; readonly suite: Suite } {
  const millrace: Role = (ticket: SenderTicket<Value>) => {
    const writer = Sender.open(ticket).writer();
    return (count: number) => {
      for (let index = 0; index < count; index++) writer.push(make(index));
      writer.flush();
    };
  };
  return {
    roles: { millrace, postMessage: poster(make) },
    suite: {
      name,
      about,
      unit: "msg/s",
      ratios: [["millrace/postMessage", "millrace", "postMessage"]],
      async open(effort) {
        const channel = mpsc(layout, { capacity });
        const receiver = channel.receiver();
        const sender = await startWorker(file, "millrace", channel.senderTicket());
        const posting = await startWorker(file, "postMessage");
        return [
          await throughput(millraceTransfer(sender, receiver, check), effort),
          await throughput(postMessageTransfer(posting, check), effort),
        ];
      },
    },
  };
}
