/**
 * What goes through the channel. Both sides say it, and connect() compares.
 *
 * @module
 */

import { f64, type Layout, struct, u32 } from "../../mod.ts";

/** A measurement; `struct sample` of producer.c lies as this does. */
export interface Sample {
  readonly sequence: number;
  readonly value: number;
}

/** How it lies in memory. */
export const sample: Layout<Sample> = struct({ sequence: u32, value: f64 });
