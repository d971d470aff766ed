/** What main and its Workers tell each other. */

import type { ReceiverTicket, SenderTicket } from "../../mod.ts";

export interface FlusherOrder {
  readonly path: string;
  readonly ticket: ReceiverTicket<string>;
}

/** Said when the file is complete. */
export interface FlusherReport {
  readonly bytes: number;
}

export interface ServerOrder {
  readonly ticket: SenderTicket<string>;
  readonly index: number;
  /** How many requests to serve, unless told to stop before. */
  readonly requests: number;
}

/** Said when the sender is closed. */
export interface ServerReport {
  /** Records whose log() returned. */
  readonly logged: number;
}
