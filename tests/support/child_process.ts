/**
 * A process that connects to a channel of another, or shares one, and does what its parameters say. What
 * it has to tell it prints, a line each.
 *
 * @module
 */

import process from "node:process";
import { ChannelClosedError, mpsc, Receiver, Sender, u32 } from "../../mod.ts";

const [task = "", address = "", count = "0"] = process.argv.slice(2);

/** Where the other side is: an address, or `fd:` and the number of a descriptor. */
const place = address.startsWith("fd:") ? { fd: Number(address.slice(3)) } : address;

const kept: unknown[] = [];

/** Never resolves, and keeps the process alive, and what it holds: an endpoint that is forgotten is closed. */
function linger(...held: unknown[]): Promise<never> {
  kept.push(...held);
  return new Promise(() => setInterval(() => {}, 1000));
}

const tasks: Record<string, () => Promise<void>> = {
  /** Sends 0, 1, 2, … and closes. */
  async send() {
    using sender = await Sender.connect(place, { layout: u32 });
    for (let value = 0; value < Number(count); value++) {
      while (!sender.trySend(value)) await new Promise((resolve) => setImmediate(resolve));
    }
  },
  /** Sends a value, and closes with a reason. */
  async sendAndFail() {
    const sender = await Sender.connect(place, { layout: u32 });
    await sender.send(1);
    sender.close(new RangeError("the river is dry"));
  },
  /** Sends 0, 1, 2, … and stays. */
  async sendAndStay() {
    const sender = await Sender.connect(place, { layout: u32 });
    for (let value = 0; value < Number(count); value++) await sender.send(value);
    console.log("sent");
    await linger(sender);
  },
  /** Sends until it cannot, and says why. */
  async sendUntilClosed() {
    const sender = await Sender.connect(place, { layout: u32 });
    console.log("connected");
    try {
      for (let value = 0;; value++) await sender.send(value);
    } catch (error) {
      if (!(error instanceof ChannelClosedError)) throw error;
      console.log(`closed ${error.code}`);
    }
  },
  /** Receives until the end, and says what came and why it ended. */
  async receive() {
    const receiver = await Receiver.connect(place, { layout: u32 });
    console.log("connected");
    let received = 0;
    let sum = 0;
    try {
      for await (const value of receiver) {
        received++;
        sum += value;
      }
      console.log(`ended ${received} ${sum}`);
    } catch (error) {
      if (!(error instanceof ChannelClosedError)) throw error;
      console.log(`closed ${error.code} ${received} ${sum}`);
    }
    receiver.close();
  },
  /** Receives so many values, and stays. */
  async receiveAndStay() {
    const receiver = await Receiver.connect(place, { layout: u32 });
    for (let taken = 0; taken < Number(count); taken++) await receiver.receive();
    console.log("received");
    await linger(receiver);
  },
  /** Claims what it claims to receive one value, and stays. */
  async claimAndStay() {
    const receiver = await Receiver.connect(place, { layout: u32 });
    await receiver.ready();
    receiver.readable();
    console.log("claimed");
    await linger(receiver);
  },
  /** Shares a channel with a sender that has sent so many values, and stays. */
  async keep() {
    const channel = mpsc(u32, { shared: true });
    channel.share(address);
    const sender = channel.sender();
    for (let value = 0; value < Number(count); value++) sender.trySend(value);
    console.log("shared");
    await linger(channel, sender);
  },
};

await tasks[task]?.();
// Bun ends when nothing is pending, and Deno too; a keeper's or client's thread keeps neither alive.
