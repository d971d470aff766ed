/**
 * A stream of numbers from another process, each sent by itself.
 *
 * @module
 */

import { mpsc, Sender, u32 } from "../../mod.ts";
import { type Suite, throughput } from "../harness.ts";
import { sequenceTransfer } from "../millrace.ts";
import { openStream, pusher, takingInPlace } from "../numbers.ts";
import { peer } from "../peers/byte_stream.ts";
import {
  obey,
  openPipe,
  openSocket,
  type ProcessRole,
  sendOver,
  shareWith,
  streamTransfer,
} from "../processes.ts";
import type { Role } from "../workers.ts";

const capacity = 2 ** 16;

/** What the Worker does. */
export const roles: Record<string, Role> = { inprocess: pusher };

/** What the processes do. */
export const processRoles: Record<string, ProcessRole> = {
  async millrace(address: string) {
    const writer = (await Sender.connect(address, { layout: u32 })).writer();
    await obey((count: number) => {
      for (let value = 0; value < count; value++) writer.push(value);
      writer.flush();
    });
  },
  socket: async (path: string) => await sendOver(await peer.connect(path), 1),
  pipe: () => sendOver(peer.stdio(), 1),
};

/** The suite. */
export const suite: Suite = {
  name: "ipc-stream",
  about: "u32 from another process, each pushed by a writer, or written by itself; all checked",
  unit: "msg/s",
  ratios: [
    ["ipc/inprocess", "millrace", "inprocess"],
    ["millrace/unix-socket", "millrace", "unix-socket"],
    ["millrace/pipe", "millrace", "pipe"],
  ],
  async open(effort) {
    const channel = mpsc(u32, { capacity, shared: true });
    const receiver = channel.receiver();
    const sender = shareWith(channel, { receivers: false }, import.meta.url, "millrace");
    const take = takingInPlace(receiver);
    const inprocess = mpsc(u32, { capacity });
    const socket = await openSocket(import.meta.url, "socket");
    const pipe = openPipe(import.meta.url, "pipe");
    return [
      await throughput(sequenceTransfer("millrace", sender, receiver, take), effort),
      await openStream("inprocess", import.meta.url, "inprocess", inprocess, effort),
      await throughput(streamTransfer("unix-socket", socket, 1), effort),
      await throughput(streamTransfer("pipe", pipe, 1), effort),
    ];
  },
};
