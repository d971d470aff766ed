/**
 * How long it takes until two processes that run have something to talk by.
 *
 * @module
 */

import { join } from "node:path";
import { mpsc, Sender, u32 } from "../../mod.ts";
import { type Effort, efforts, mismatch, roundTrips, type Side, type Suite } from "../harness.ts";
import { peer } from "../peers/byte_stream.ts";
import {
  type Commanded,
  obey,
  type ProcessRole,
  socketDirectory,
  startProcess,
} from "../processes.ts";

/** What the process does: it connects, and answers how long that took, in ms. */
export const processRoles: Record<string, ProcessRole> = {
  millrace: () =>
    obey(async (path: string) => {
      const startMs = performance.now();
      using sender = await Sender.connect(path, { layout: u32 });
      const tookMs = performance.now() - startMs;
      await sender.send(7);
      return tookMs;
    }),
  socket: () =>
    obey(async (path: string) => {
      const startMs = performance.now();
      const stream = await peer.connect(path);
      const tookMs = performance.now() - startMs;
      await stream.write(new Uint8Array([7]));
      return tookMs;
    }),
};

/** A side that sets a connection up again and again; `setUp` gives what it took here, and the way on. */
async function settingUp(
  name: string,
  role: string,
  times: number,
  setUp: (path: string) => Promise<{ tookMs: number; first: () => Promise<number> }>,
): Promise<Side> {
  const process: Commanded = startProcess(import.meta.url, role);
  let count = 0;
  return await roundTrips(name, times, async (tookMs) => {
    for (let time = 0; time < times; time++) {
      const path = join(socketDirectory, `${role}-${count++}`);
      const { tookMs: here, first } = await setUp(path);
      process.postMessage(path);
      const there = await process.answer() as number;
      tookMs[time] = here + there;
      const received = await first();
      if (received !== 7) mismatch(7, received);
    }
  }, 1);
}

const timesOf = (effort: Effort) => effort === efforts.quick ? 20 : 100;

/** The suite. */
export const suite: Suite = {
  name: "ipc-setup",
  about:
    "share() and, in a process that runs, Sender.connect(), p50; a socket's listen and connect",
  unit: "us",
  ratios: [["millrace/unix-socket", "millrace", "unix-socket"]],
  async open(effort) {
    const times = timesOf(effort);
    return [
      await settingUp("millrace", "millrace", times, (path) => {
        const startMs = performance.now();
        const channel = mpsc(u32, { capacity: 16, shared: true });
        const share = channel.share(path);
        const tookMs = performance.now() - startMs;
        const receiver = channel.receiver();
        const first = () => {
          // It was sent before the process answered.
          const result = receiver.tryReceive();
          share.close();
          channel[Symbol.dispose]();
          receiver.close();
          return Promise.resolve(result.state === "ok" ? result.value : NaN);
        };
        return Promise.resolve({ tookMs, first });
      }),
      await settingUp("unix-socket", "socket", times, async (path) => {
        const startMs = performance.now();
        const listening = await peer.listen(path);
        const tookMs = performance.now() - startMs;
        // At once: what arrives before somebody listens is lost.
        const received = listening.accepted.then((stream) =>
          new Promise<number>((resolve) => stream.onData = ([value = 0]) => resolve(value))
        );
        const first = async () => {
          const value = await received;
          listening.close();
          return value;
        };
        return { tookMs, first };
      }),
    ];
  },
};
