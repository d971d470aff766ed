/**
 * Channels for tests: both ends in this thread, and closed when the test ends.
 *
 * @module
 */

import {
  type Channel,
  type ChannelOptions,
  type Layout,
  mpsc,
  type SendersOptions,
} from "../../mod.ts";
import type { Receiver, Sender } from "../../mod.ts";
import { native } from "../../src/native.ts";
import { collectGarbage } from "./garbage.ts";
import { within } from "./bounded.ts";

/** A channel with one sender and its receiver. */
export interface Pair<Value, Batch> extends Disposable {
  readonly channel: Channel<Value, Batch>;
  readonly sender: Sender<Value, Batch>;
  readonly receiver: Receiver<Value, Batch>;
}

/** Opens a channel, a sender and the receiver in this thread. */
export function pair<Value, Batch>(
  layout: Layout<Value, Batch>,
  options?: ChannelOptions & SendersOptions,
): Pair<Value, Batch> {
  const channel = mpsc(layout, options);
  const sender = channel.sender();
  const receiver = channel.receiver();
  return {
    channel,
    sender,
    receiver,
    [Symbol.dispose]() {
      sender.close();
      receiver.close();
      channel[Symbol.dispose]();
    },
  };
}

/** Everything until the channel ends. */
export function collect<Value>(values: AsyncIterable<Value>): Promise<Value[]> {
  return within(Array.fromAsync(values), "the end of the channel");
}

/** Everything that is there, one by one. */
export function takeAll<Value, Batch>(receiver: Receiver<Value, Batch>): Value[] {
  const values: Value[] = [];
  for (let result = receiver.tryReceive(); result.state === "ok"; result = receiver.tryReceive()) {
    values.push(result.value);
  }
  return values;
}

/** Sends until the ring is full. Returns how many values there was room for. */
export function fill<Value, Batch>(
  sender: Sender<Value, Batch>,
  value: (index: number) => Value,
): number {
  let sent = 0;
  while (sender.trySend(value(sent))) sent++;
  return sent;
}

/** How many channels this process has mapped. */
export function channelsAlive(): number {
  return native().symbols.millrace_channels_alive();
}

/**
 * The same, once it stays: the channels of a test file before this one go with its thread, and what was
 * forgotten goes when it is collected, which is not to happen while a test counts.
 */
export async function channelsSettled(): Promise<number> {
  let alive = channelsAlive();
  for (let looks = 0; looks < 10; looks++) {
    if (looks < 3) collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (channelsAlive() !== alive) {
      alive = channelsAlive();
      looks = 0;
    }
  }
  return alive;
}

/** `0 … count - 1`. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
