/**
 * Receivers in Workers that share what is sent, for the suites of spmc and mpmc.
 *
 * @module
 */

import { type Channel, Receiver, type ReceiverTicket } from "../mod.ts";
import { mismatch } from "./harness.ts";
import { type Role, startWorker } from "./workers.ts";

/**
 * A value says who sent it in its upper bits and its place in that sender's sequence below. The
 * sequence goes on from run to run, and wraps.
 */
export const sequenceBits = 28;
/** What of a value is its sequence. */
export const sequenceMask: number = 2 ** sequenceBits - 1;

/** The most values of one batch. */
const batch = 1024;

interface Setup {
  readonly ticket: ReceiverTicket<number, Uint32Array>;
  readonly progress: SharedArrayBuffer;
}

/** Receives until the channel ends, and counts in `progress`; each sender's values must ascend. */
export const receiving: Role = ({ ticket, progress }: Setup) => {
  const receiver = Receiver.open(ticket);
  const received = new Int32Array(progress);
  const last = new Int32Array(2 ** (32 - sequenceBits)).fill(-1);
  const check = (values: Uint32Array) => {
    for (let index = 0; index < values.length; index++) {
      const value = values[index] as number;
      const id = value >>> sequenceBits;
      const sequence = value & sequenceMask;
      const ahead = (sequence - (last[id] as number)) & sequenceMask;
      if (ahead === 0 || ahead > sequenceMask >>> 1) mismatch(last[id], sequence);
      last[id] = sequence;
    }
  };
  const loop = receiver.run((values: Uint32Array) => {
    check(values);
    Atomics.add(received, 0, values.length);
  }, { batch });
  loop.finished.catch((error) => {
    console.error(error);
    process.exit(1);
  });
  return () => {};
};

/** Workers that receive from one channel. */
export class Crew {
  readonly #received = new Int32Array(new SharedArrayBuffer(4));

  /** Starts Workers with the role `receiving` of the suite in file `suite`. */
  static async start(
    suite: string,
    channel: Channel<number, Uint32Array>,
    count: number,
  ): Promise<Crew> {
    const crew = new Crew();
    for (let index = 0; index < count; index++) {
      const setup: Setup = { ticket: channel.receiverTicket(), progress: crew.#received.buffer };
      await startWorker(suite, "receiving", setup);
    }
    return crew;
  }

  /** To be called before a run. */
  begin(): void {
    Atomics.store(this.#received, 0, 0);
  }

  /** Resolves when so many values have been received. */
  async until(count: number): Promise<void> {
    while (Atomics.load(this.#received, 0) < count) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const received = Atomics.load(this.#received, 0);
    if (received !== count) mismatch(count, received);
  }
}
