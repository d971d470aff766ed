/**
 * Two processes in conversation.
 *
 * @module
 */

import { mpsc, Receiver, Sender, u32 } from "../../mod.ts";
import { answering, answers, ChannelConversation, Conversation } from "../conversation.ts";
import { roundTrips, type Suite } from "../harness.ts";
import { peer } from "../peers/byte_stream.ts";
import {
  echoOver,
  obey,
  openPipe,
  openSocket,
  type ProcessRole,
  share,
  startProcess,
  streamRoundTrips,
} from "../processes.ts";
import type { Role } from "../workers.ts";

const pings = 2000;

interface Addresses {
  readonly pings: string;
  readonly pongs: string;
}

/** What the Worker does. */
export const roles: Record<string, Role> = { answering };

/** What the processes do. */
export const processRoles: Record<string, ProcessRole> = {
  async millrace({ pings, pongs }: Addresses) {
    const receiver = await Receiver.connect(pings, { layout: u32 });
    const sender = await Sender.connect(pongs, { layout: u32 });
    await obey(answers(receiver, sender));
  },
  socket: async (path: string) => await echoOver(await peer.connect(path)),
  pipe: () => echoOver(peer.stdio()),
};

/** A conversation with another process. */
function converse(): ChannelConversation {
  const options = { capacity: 16, shared: true };
  const pings = mpsc(u32, options);
  const pongs = mpsc(u32, options);
  const addresses: Addresses = {
    pings: share(pings, { senders: false }),
    pongs: share(pongs, { receivers: false }),
  };
  const commanded = startProcess(import.meta.url, "millrace", addresses);
  return new ChannelConversation(commanded, pings.sender(), pongs.receiver());
}

/** The suite. */
export const suite: Suite = {
  name: "ipc-latency",
  about: "round trip of a u32 to another process, p50: event loops, and -sync blocking, phased",
  unit: "us",
  ratios: [
    ["ipc/inprocess", "millrace", "inprocess"],
    ["ipc/inprocess-sync", "millrace-sync", "inprocess-sync"],
    ["millrace/unix-socket", "millrace", "unix-socket"],
    ["millrace/pipe", "millrace", "pipe"],
  ],
  async open() {
    const across = converse();
    const inprocess = await Conversation.start(import.meta.url);
    const socket = await openSocket(import.meta.url, "socket");
    const pipe = openPipe(import.meta.url, "pipe");
    return [
      await roundTrips("millrace", pings, (tookMs) => across.async(tookMs)),
      await roundTrips("inprocess", pings, (tookMs) => inprocess.async(tookMs)),
      await roundTrips("unix-socket", pings, (tookMs) => streamRoundTrips(socket, tookMs)),
      await roundTrips("pipe", pings, (tookMs) => streamRoundTrips(pipe, tookMs)),
      await roundTrips("millrace-sync", pings, (tookMs) => across.sync(tookMs, "phased")),
      await roundTrips("inprocess-sync", pings, (tookMs) => inprocess.sync(tookMs, "phased")),
    ];
  },
};
