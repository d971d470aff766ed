/** What the sensors and the listener agree on. */

import { type SenderTicket, struct, u32, u8, type ValueOf } from "../../mod.ts";

/** How a sensor deals with a full ring. */
export const policies = ["wait", "give up", "drop"] as const;
export type Policy = (typeof policies)[number];

export const readingCount = 2000;
export const reading = struct({ sensor: u8, sequence: u32 });
export type Reading = ValueOf<typeof reading>;

/** What a sensor is told. */
export interface Order {
  readonly policy: Policy;
  readonly sensor: number;
  readonly ticket: SenderTicket<Reading>;
}

/** What a sensor says: that it dropped its first reading, and how it went. */
export type Saying = "dropping" | { readonly sent: number; readonly dropped: number };
