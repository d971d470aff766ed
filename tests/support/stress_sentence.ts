/**
 * What a Worker of the termination tests is told: what to do, and how to die.
 *
 * @module
 */

import type { ReceiverTicket, SenderTicket, WaitStrategy } from "../../mod.ts";
import type { Receipts, ReceiveMode, SendMode } from "./stress_jobs.ts";

/** Terminated from outside; by its own `close()`; by an exception nobody catches. */
export const ends = ["terminate", "close", "crash"] as const;
export type End = (typeof ends)[number];

interface Common {
  readonly end: End;
  /** Shared: `phaseIndex` and `sentIndex`. */
  readonly state: Int32Array;
  readonly wait: WaitStrategy;
  /** Dies of itself after so many values. */
  readonly after: number;
}

export type Sentence =
  | Common & {
    readonly role: "sender";
    readonly ticket: SenderTicket<number, Uint32Array>;
    /** "hold": opens the sender and sends nothing. */
    readonly mode: SendMode | "hold";
    readonly id: number;
    readonly count: number;
  }
  | Common & {
    readonly role: "receiver";
    readonly ticket: ReceiverTicket<number, Uint32Array>;
    /** How it receives its `after` values and waits for more; "hold" does not wait for more. */
    readonly mode: "receive" | "receiveSync" | "hold";
  }
  | Common & {
    /** One receiver of several: it receives until it dies, and pauses at times with what it has. */
    readonly role: "sharer";
    readonly ticket: ReceiverTicket<number, Uint32Array>;
    readonly mode: ReceiveMode;
    readonly receipts: Pick<Receipts, "memory" | "perSender">;
    readonly seed: number;
    /** The value, counted from 1, that it is handling when it dies. */
    readonly holdsAt?: number;
  };

/** 1 once the endpoint is open, 2 once a receiver waits for its end. */
export const phaseIndex = 0;
/** Values whose send had returned; or values received. */
export const sentIndex = 1;
