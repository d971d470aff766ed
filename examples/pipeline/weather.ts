/** What the stages agree on. */

import { f64, struct, u32, type ValueOf } from "../../mod.ts";

export const stations = ["Hamburg", "Nairobi"];
export const linesPerStation = 50_000;

/** A parsed line: the second channel carries its bytes, no object is cloned. */
export const sample = struct({ station: u32, celsius: f64 });
export type Sample = ValueOf<typeof sample>;

/** What a station measured, to a tenth of a degree. */
export function celsius(station: number, line: number): number {
  return Math.round(100 * station + 150 * Math.sin(line / 1000) + (line * 7919) % 50) / 10;
}
