/** A sensor: sends a sequence as quickly as it can. */

import { Sender, TimeoutError } from "../../mod.ts";
import { type Order, type Policy, type Reading, readingCount, type Saying } from "./readings.ts";

const scope = globalThis as unknown as { postMessage(saying: Saying): void };

/** Sends a reading by the policy. False: it was not sent. */
const send: Record<
  Policy,
  (sender: Sender<Reading>, reading: Reading) => boolean | Promise<boolean>
> = {
  /** The event loop goes on while the promise waits for room. */
  async wait(sender, reading) {
    await sender.send(reading);
    return true;
  },
  /**
   * Blocks this Worker, which has nothing else to do. Where the event loop has to go on it is
   * `await sender.send(reading, { signal: AbortSignal.timeout(5) })`.
   */
  "give up"(sender, reading) {
    try {
      sender.sendSync(reading, { timeout: 5 });
      return true;
    } catch (error) {
      if (error instanceof TimeoutError) return false;
      throw error;
    }
  },
  /** For those whose next reading makes this one worthless. */
  drop: (sender, reading) => sender.trySend(reading),
};

addEventListener("message", async (event) => {
  const { policy, sensor, ticket } = (event as MessageEvent<Order>).data;
  using sender = Sender.open(ticket);
  let sent = 0;
  let dropped = 0;
  for (let sequence = 0; sequence < readingCount; sequence++) {
    if (await send[policy](sender, { sensor, sequence })) sent++;
    else if (dropped++ === 0) scope.postMessage("dropping");
  }
  scope.postMessage({ sent, dropped });
});
