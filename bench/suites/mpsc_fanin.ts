/**
 * Several Workers sending to one receiver.
 *
 * @module
 */

import { mpsc, Sender, type SenderTicket, u32 } from "../../mod.ts";
import { mismatch, type Suite, throughput, type Transfer } from "../harness.ts";
import { type Role, startWorker, workerScope } from "../workers.ts";

const counts = [1, 2, 4, 8];
const sendersMax = 8;
/** A value says who sent it in its upper bits and its place in that sender's sequence below. */
const sequenceBits = 29;

interface Setup {
  readonly ticket: SenderTicket<number, Uint32Array>;
  readonly id: number;
}

/** What the Workers do: each can send on the channel and by postMessage. */
export const roles: Record<string, Role> = {
  sender: ({ ticket, id }: Setup) => {
    const writer = Sender.open(ticket).writer();
    const first = (id << sequenceBits) >>> 0;
    return ({ count, isPosted }: { count: number; isPosted: boolean }) => {
      if (isPosted) {
        for (let sequence = 0; sequence < count; sequence++) {
          workerScope.postMessage(first + sequence);
        }
      } else {
        for (let sequence = 0; sequence < count; sequence++) writer.push(first + sequence);
        writer.flush();
      }
    };
  },
};

/** The suite. */
export const suite: Suite = {
  name: "mpsc-fanin",
  about: "total of 1, 2, 4 and 8 Workers, each pushing u32 with a writer, to main; FIFO checked",
  unit: "msg/s",
  ratios: [
    ...counts.slice(1).map((count) => [`${count}/1`, `millrace-${count}`, "millrace-1"] as const),
    [`millrace/postMessage`, `millrace-${sendersMax}`, `postMessage-${sendersMax}`],
  ],
  async open(effort) {
    const channel = mpsc(u32, { capacity: 2 ** 16, maxSenders: sendersMax });
    const receiver = channel.receiver();
    const workers: Worker[] = [];
    for (let id = 0; id < sendersMax; id++) {
      const setup: Setup = { ticket: channel.senderTicket(), id };
      workers.push(await startWorker(import.meta.url, "sender", setup));
    }
    const expected = new Uint32Array(sendersMax);
    const check = (value: number) => {
      const id = value >>> sequenceBits;
      const sequence = value & (2 ** sequenceBits - 1);
      if (sequence !== expected[id]) mismatch(expected[id], sequence);
      expected[id] = sequence + 1;
    };
    const start = (senders: number, count: number, isPosted: boolean) => {
      expected.fill(0);
      for (const worker of workers.slice(0, senders)) {
        worker.postMessage({ count: count / senders, isPosted });
      }
    };
    const millrace = (senders: number): Transfer => ({
      name: `millrace-${senders}`,
      step: senders,
      async run(count) {
        start(senders, count, false);
        for (let received = 0; received < count;) {
          const values = receiver.readable();
          if (values === undefined) {
            await receiver.ready();
            continue;
          }
          for (let index = 0; index < values.length; index++) check(values[index] as number);
          received += values.length;
          receiver.release();
        }
      },
    });
    const posted = (senders: number): Transfer => ({
      name: `postMessage-${senders}`,
      step: senders,
      run(count) {
        const { promise, resolve } = Promise.withResolvers<void>();
        let received = 0;
        for (const worker of workers) {
          worker.onmessage = ({ data }) => {
            check(data as number);
            if (++received === count) resolve();
          };
        }
        start(senders, count, true);
        return promise;
      },
    });
    const transfers = [...counts.map(millrace), posted(sendersMax)];
    const sides = [];
    for (const transfer of transfers) sides.push(await throughput(transfer, effort));
    return sides;
  },
};
