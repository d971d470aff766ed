/** What the Workers and the service agree on. */

import type { SenderTicket } from "../../mod.ts";

// A type, not an interface: JSON takes what can be seen to hold nothing else.
export type Job = { worker: number; id: number };

/** What a Worker is told. */
export interface Order {
  readonly index: number;
  readonly ticket: SenderTicket<Job>;
}

/** What a Worker says at its end. */
export interface Report {
  readonly accepted: number;
  /** The job that was refused, if one was: a real service would hand it to someone else. */
  readonly refused: Job | undefined;
}
