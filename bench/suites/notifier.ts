/**
 * Round trips to a Worker, by a receiver that sleeps in a read of its eventfd.
 *
 * @module
 */

import {
  type Channel,
  mpsc,
  Receiver,
  type ReceiverTicket,
  Sender,
  type SenderTicket,
  u32,
} from "../../mod.ts";
import { waitFor } from "../../examples/event_notifier/wait.ts";
import { type Effort, efforts, mismatch, roundTrips, type Suite } from "../harness.ts";
import { postMessageRoundTrips } from "../peers/post_message.ts";
import { type Role, startWorker, workerScope } from "../workers.ts";

interface Setup {
  readonly pings: ReceiverTicket<number, Uint32Array>;
  readonly pongs: SenderTicket<number, Uint32Array>;
}

/** What the Worker does: it sends everything back. */
export const roles: Record<string, Role> = {
  echo: ({ pings, pongs }: Setup) => {
    const sender = Sender.open(pongs);
    Receiver.open(pings).run((ping) => void sender.trySend(ping));
    return (command: number) => workerScope.postMessage(command);
  },
};

const pingsOf = (effort: Effort) => effort === efforts.quick ? 500 : 2000;

/** Both channels of a conversation with a Worker that echoes. */
async function converse() {
  const pings: Channel<number, Uint32Array> = mpsc(u32, { capacity: 16 });
  const pongs: Channel<number, Uint32Array> = mpsc(u32, { capacity: 16 });
  const setup: Setup = { pings: pings.receiverTicket(), pongs: pongs.senderTicket() };
  const worker = await startWorker(import.meta.url, "echo", setup);
  return { worker, sender: pings.sender(), receiver: pongs.receiver() };
}

/** The suite. */
export const suite: Suite = {
  name: "notifier",
  about: "round trip to a Worker by a receiver that sleeps in a read of its eventfd, p50",
  unit: "us",
  ratios: [
    ["millrace/receive", "millrace", "receive"],
    ["millrace/postMessage", "millrace", "postMessage"],
  ],
  async open(effort) {
    const pings = pingsOf(effort);
    const notified = await converse();
    const eventFd = notified.receiver.eventFd();
    const received = await converse();
    return [
      await roundTrips("millrace", pings, async (tookMs) => {
        for (let ping = 0; ping < tookMs.length; ping++) {
          const startMs = performance.now();
          notified.sender.trySend(ping);
          let result = notified.receiver.tryReceive();
          while (result.state === "empty") {
            if (eventFd.arm()) await waitFor(eventFd.fd);
            result = notified.receiver.tryReceive();
          }
          tookMs[ping] = performance.now() - startMs;
          if (result.state !== "ok" || result.value !== ping) mismatch(ping, result);
        }
      }),
      await roundTrips("receive", pings, async (tookMs) => {
        for (let ping = 0; ping < tookMs.length; ping++) {
          const startMs = performance.now();
          received.sender.trySend(ping);
          const pong = await received.receiver.receive();
          tookMs[ping] = performance.now() - startMs;
          if (pong !== ping) mismatch(ping, pong);
        }
      }),
      await roundTrips(
        "postMessage",
        pings,
        (tookMs) => postMessageRoundTrips(received.worker, tookMs),
      ),
    ];
  },
};
