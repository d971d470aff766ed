/**
 * Another process, which opens and connects where it is told that memory is to lie. Each line of its
 * standard input is a list of steps; it prints what came of each, and keeps what it has opened until the
 * next line, or the end.
 *
 * @module
 */

import { writeSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import {
  type MillraceError,
  mpsc,
  pinThread,
  type PlaceOptions,
  Receiver,
  Sender,
  u32,
} from "../../mod.ts";
import { openForeign } from "./foreign.ts";

/** What is to be done. */
export type Step =
  | { readonly pin: number }
  /** Becomes a user, and loses what the superuser may. */
  | { readonly user: number }
  /** On a channel of its own. */
  | { readonly open: "channel" | "sender" | "receiver"; readonly options: PlaceOptions }
  | {
    readonly connect: "sender" | "receiver";
    readonly address: string;
    readonly options: PlaceOptions;
    /** How many values a sender sends, if there is room. */
    readonly count?: number;
  };

/** What came of it: `"open"` or `"done"`, or the error. */
export interface StepAnswer {
  readonly outcome: string;
  readonly code?: string;
  readonly refusal?: string;
}

let opened = new DisposableStack();

function become(user: number): void {
  // The C library has all threads become it.
  const { setuid } = openForeign("libc.so.6", { setuid: { parameters: ["u32"], result: "i32" } });
  if (setuid(user) !== 0) throw new Error("this process cannot become another user");
}

async function take(step: Step): Promise<StepAnswer> {
  if ("pin" in step) {
    pinThread({ node: step.pin });
    return { outcome: "done" };
  }
  if ("user" in step) {
    become(step.user);
    return { outcome: "done" };
  }
  const { options } = step;
  if ("connect" in step) {
    // Emulated, the other side may be busy for long.
    const timed = { ...options, timeout: 60_000 };
    if (step.connect === "receiver") {
      opened.use(await Receiver.connect(step.address, timed));
    } else {
      const sender = opened.use(await Sender.connect<number, Uint32Array>(step.address, timed));
      sender.sendBatch(new Uint32Array(step.count ?? 0));
    }
    return { outcome: "open" };
  }
  const place = step.open === "channel" ? options : {};
  const channel = opened.use(mpsc(u32, { capacity: 1024, shared: true, ...place }));
  if (step.open === "sender") opened.use(channel.sender(options)).trySend(1);
  if (step.open === "receiver") opened.use(channel.receiver(options));
  const { control, rings } = channel.placement();
  const { refusal } = rings[0] ?? control;
  return { outcome: "open", ...(refusal === undefined ? {} : { refusal }) };
}

let round = 0;
for await (const line of createInterface({ input: process.stdin })) {
  opened.dispose();
  opened = new DisposableStack();
  const answers: StepAnswer[] = [];
  for (const step of JSON.parse(line) as Step[]) {
    try {
      answers.push(await take(step));
    } catch (error) {
      const { name, code, message } = error as MillraceError;
      console.error(message);
      answers.push({ outcome: name, code });
    }
  }
  writeSync(1, `${JSON.stringify(answers)}\nend of ${++round}\n`);
}
opened.dispose();
