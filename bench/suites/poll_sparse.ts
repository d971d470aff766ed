/**
 * What registered senders that have nothing to say cost the receiver: in one thread, so that nothing
 * but the calls is measured.
 *
 * @module
 */

import { mpsc, u32 } from "../../mod.ts";
import { type Effort, mismatch, type Side, type Suite } from "../harness.ts";

const registered = [1, 64];
const messagesPerSample = 1000;

function side(senders: number, effort: Effort): Side {
  const channel = mpsc(u32, { capacity: 64, maxSenders: 64 });
  const receiver = channel.receiver();
  const all = Array.from({ length: senders }, () => channel.sender());
  const take = (expected: number) => {
    const result = receiver.tryReceive();
    if (result.state !== "ok" || result.value !== expected) mismatch(expected, result);
  };
  // Each has been heard of before: its ring has been used.
  for (const [index, sender] of all.entries()) {
    sender.trySend(index);
    take(index);
  }
  const active = all[senders >>> 1] ?? all[0];
  const pass = (count: number) => {
    for (let value = 0; value < count; value++) {
      active?.trySend(value);
      take(value);
    }
  };
  pass(500_000);
  return {
    name: `millrace-${senders}`,
    sample() {
      let messages = 0;
      const startMs = performance.now();
      let endMs = startMs;
      while (endMs < startMs + effort.sampleMs) {
        pass(messagesPerSample);
        messages += messagesPerSample;
        endMs = performance.now();
      }
      return Promise.resolve({ value: ((endMs - startMs) * 1000) / (messages / 1000) });
    },
  };
}

/** The suite. */
export const suite: Suite = {
  name: "poll-sparse",
  about: "1000 messages sent and received with 1 and with 64 registered senders, 1 of them active",
  unit: "us",
  ratios: [["64/1", "millrace-64", "millrace-1"]],
  open: (effort) => Promise.resolve(registered.map((senders) => side(senders, effort))),
};
