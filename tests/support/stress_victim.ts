/** A Worker of the termination tests: it holds an endpoint, and dies with it. */

import { ChannelClosedError, Receiver, Sender, TicketError } from "../../mod.ts";
import { Receipts, receiveAs, sendAs } from "./stress_jobs.ts";
import { randomFrom, turn } from "./stress_host.ts";
import { phaseIndex, type Sentence, sentIndex } from "./stress_sentence.ts";

const scope = globalThis as unknown as {
  onmessage: (event: { data: Sentence }) => void;
  close(): void;
};

/** Endpoints that are held and no longer used: one that is forgotten would be closed. */
const kept: Disposable[] = [];

/** Ends this Worker the way it is to end; for "terminate" the main thread does. */
function die({ end }: Sentence): void {
  if (end === "close") scope.close();
  if (end === "crash") throw new Error("this Worker crashes on purpose");
}

/*
 * Between two chunks a Worker returns to its event loop: Deno terminates a Worker only there, and
 * never one that is inside a loop or a blocking call.
 */
const died = Symbol("died");

async function send(sentence: Extract<Sentence, { role: "sender" }>): Promise<void> {
  const { state, mode, id, count, wait, after } = sentence;
  const sender = Sender.open(sentence.ticket);
  kept.push(sender);
  Atomics.store(state, phaseIndex, 1);
  if (mode === "hold") {
    if (sentence.end !== "terminate") setTimeout(() => die(sentence), 0);
    return;
  }
  try {
    const chunk = 100;
    for (let from = 0; from < count; from += chunk) {
      await sendAs(mode, sender, id, from + chunk, wait, (by) => {
        // After the send has returned, so what is counted here must arrive.
        const sent = Atomics.add(state, sentIndex, by) + by;
        if (sentence.end === "terminate" || sent < after) return;
        die(sentence);
        throw died;
      }, from);
      await turn();
    }
  } catch (error) {
    if (error !== died) throw error;
  }
}

async function receive(sentence: Extract<Sentence, { role: "receiver" }>): Promise<void> {
  const { state, mode, after, wait } = sentence;
  const receiver = Receiver.open(sentence.ticket);
  kept.push(receiver);
  Atomics.store(state, phaseIndex, 1);
  try {
    for (let received = 0; received < after; received++) {
      if (mode === "receiveSync") receiver.receiveSync({ wait });
      else await receiver.receive();
      Atomics.add(state, sentIndex, 1);
    }
    if (sentence.end !== "terminate") return die(sentence);
    Atomics.store(state, phaseIndex, 2);
    while (mode !== "hold") {
      if (mode === "receiveSync") receiver.receiveSync({ wait });
      else await receiver.receive();
      await turn();
    }
    // "hold": receives nothing more.
  } catch (error) {
    if (!(error instanceof ChannelClosedError)) throw error;
  }
}

async function share(sentence: Extract<Sentence, { role: "sharer" }>): Promise<void> {
  const { state, mode, after, wait, end } = sentence;
  const random = randomFrom(sentence.seed);
  const receipts = new Receipts(sentence.receipts.memory, sentence.receipts.perSender);
  try {
    const receiver = Receiver.open(sentence.ticket);
    kept.push(receiver);
    Atomics.store(state, phaseIndex, 1);
    await receiveAs(mode, receiver, wait, (value) => {
      receipts.take(value);
      const received = Atomics.add(state, sentIndex, 1) + 1;
      if (end !== "terminate" && received >= after) {
        die(sentence);
        throw died;
      }
      if (received === sentence.holdsAt) {
        Atomics.store(state, phaseIndex, 2);
        return new Promise<void>(() => {});
      }
      // Here it can be terminated, with what it has claimed.
      if (random() < 0.2) return turn();
    });
  } catch (error) {
    // Its ticket was taken back, or the others have received everything.
    const isOver = error instanceof ChannelClosedError || error instanceof TicketError;
    if (error !== died && !isOver) throw error;
  }
}

scope.onmessage = ({ data: sentence }) => {
  if (sentence.role === "sharer") return share(sentence);
  if (sentence.role === "sender") return send(sentence);
  return receive(sentence);
};
