/**
 * What is measured: samples that carry the node they were produced on.
 *
 * @module
 */

import { f64, type SenderTicket, struct, u32 } from "../../mod.ts";

/** A sample. */
export const sample = struct({ node: u32, sequence: u32, value: f64 });

/** One sample as a value. */
export interface Sample {
  node: number;
  sequence: number;
  value: number;
}

/** What a producer is told. */
export interface Order {
  readonly node: number;
  readonly samples: number;
  readonly ticket: SenderTicket<Sample>;
}

/** Sums of these are exact. */
export function valueOf(node: number, sequence: number): number {
  return (node + 1) * (sequence % 1024);
}
