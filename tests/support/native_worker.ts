/** A Worker of the tests of native use: it consumes what a native thread produces until it dies. */

import { type Channel, f64, libraryPath, mpsc, Receiver, struct, u32 } from "../../mod.ts";
import type { ReceiverTicket } from "../../mod.ts";
import { openForeign, producerTable } from "./foreign.ts";

/** A sample, as producer.c has it. */
export const sample = struct({ sequence: u32, value: f64 });
/** A channel of samples. */
export type SampleChannel = Channel<{ sequence: number; value: number }>;

/** What the Worker is to do. */
export type NativeSentence =
  & {
    /** Counts what was received. */
    readonly state: Int32Array;
    readonly mode: "receive" | "run" | "batches";
  }
  & (
    /** Open this receiver. */
    | { readonly ticket: ReceiverTicket<{ sequence: number; value: number }> }
    /** Make a channel, and have a native thread send to it; tell a third thread, too. */
    | { readonly library: string; readonly count: number; readonly capacity: number }
  );

const scope = globalThis as unknown as {
  onmessage: (event: { data: NativeSentence }) => void;
  postMessage(message: unknown): void;
};

let kept: SampleChannel | undefined;

function openReceiver(sentence: NativeSentence): Receiver<{ sequence: number; value: number }> {
  if ("ticket" in sentence) return Receiver.open(sentence.ticket);
  const { library, count, capacity } = sentence;
  libraryPath(); // the producer is linked to the library that is loaded by now
  const producer = openForeign(library, producerTable);
  const channel = mpsc(sample, { capacity });
  kept = channel as unknown as SampleChannel;
  producer.producer_start(channel.nativeSenderTicket(), count);
  return channel.receiver() as unknown as Receiver<{ sequence: number; value: number }>;
}

scope.onmessage = async ({ data: sentence }) => {
  const receiver = openReceiver(sentence);
  let expected = 0;
  const take = ({ sequence, value }: { sequence: number; value: number }) => {
    if (sequence !== expected || value !== expected * 0.5) {
      scope.postMessage(`received ${sequence} where ${expected} was due`);
    }
    expected++;
    Atomics.add(sentence.state, 0, 1);
  };
  if (sentence.mode === "run") await receiver.run(take).finished;
  else if (sentence.mode === "receive") { for await (const value of receiver) take(value); }
  else for await (const batch of receiver.batches()) for (const value of batch) take(value);
  scope.postMessage("ended");
  kept?.close();
};
