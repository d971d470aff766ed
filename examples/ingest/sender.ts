/** A sender Worker. */

import { ChannelClosedError, Sender, type SenderTicket } from "../../mod.ts";
import type { Order, Report, Saying } from "./crew.ts";
import type { SourceFile } from "./files.ts";
import { messagesOf, type ReadProblems } from "./messages.ts";

/** What both runtimes have in a Worker. */
interface WorkerScope {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage(saying: Saying): void;
}

const scope = globalThis as unknown as WorkerScope;

/** Messages sent by `postMessage` and not yet acknowledged: without a limit they fill the memory. */
const unacknowledgedMax = 8192;

let acknowledged = 0;
let isStopping = false;
/** Called when one of the two has changed. */
let changed = () => {};

/** Through the channel: blocks while the ring is full, ends when the channel is closed. */
function sendThroughChannel(
  files: readonly SourceFile[],
  sender: number,
  ticket: SenderTicket<string>,
): Report {
  const problems: ReadProblems = { unreadable: 0 };
  let pushed = 0;
  try {
    using endpoint = Sender.open(ticket);
    const writer = endpoint.writer();
    for (const messages of messagesOf(files, sender, problems)) {
      for (const message of messages) {
        pushed++;
        writer.push(message);
      }
    }
    writer.flush();
  } catch (error) {
    if (!(error instanceof ChannelClosedError)) throw error;
    // Ctrl-C: what was pushed and not sent any more comes back in the error.
    const unsent = Array.isArray(error.value) ? error.value.length : 0;
    return { sent: pushed - unsent, ...problems };
  }
  return { sent: pushed, ...problems };
}

/** By `postMessage`, a message a line. */
async function sendByPostMessage(files: readonly SourceFile[], sender: number): Promise<Report> {
  const problems: ReadProblems = { unreadable: 0 };
  let sent = 0;
  acknowledged = 0;
  isStopping = false;
  for (const messages of messagesOf(files, sender, problems)) {
    for (const message of messages) scope.postMessage(message);
    sent += messages.length;
    while (sent - acknowledged > unacknowledgedMax && !isStopping) {
      await new Promise<void>((resolve) => changed = resolve);
    }
    if (isStopping) break;
  }
  return { sent, ...problems };
}

scope.onmessage = async ({ data }) => {
  switch (data.order) {
    case "send":
      scope.postMessage(
        data.ticket === undefined
          ? await sendByPostMessage(data.files, data.sender)
          : sendThroughChannel(data.files, data.sender, data.ticket),
      );
      return;
    case "acknowledge":
      acknowledged = data.received;
      return changed();
    case "stop":
      isStopping = true;
      return changed();
  }
};

scope.postMessage("ready");
