/**
 * The readable form of the results.
 *
 * @module
 */

import { type Line, runtime, type Unit } from "./harness.ts";

const prefixes: readonly (readonly [least: number, prefix: string])[] = [
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
  [0, ""],
];

function amount(value: number, unit: Unit | "bytes"): string {
  if (unit !== "msg/s") return `${value.toPrecision(4)} ${unit}`;
  const [least, prefix] = prefixes.find(([least]) => value >= least) ?? [0, ""];
  return `${(value / (least || 1)).toPrecision(4)} ${prefix}${unit}`;
}

function factor(value: number): string {
  return `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)}x`;
}

/** The line above the results of a suite. */
export function heading(name: string, about: string): string {
  return `\n${name} (${runtime}): ${about}`;
}

/** One result. */
export function row(line: Line): string {
  if ("ratio" in line) {
    const range = `${factor(line.min)} to ${factor(line.max)} in ${line.runs} runs`;
    return `  ${line.ratio.padEnd(28)}${factor(line.value).padStart(16)}   ${range}`;
  }
  const p99 = line.p99 === undefined ? "" : `   p99 ${amount(line.p99, line.unit)}`;
  return `  ${line.impl.padEnd(28)}${amount(line.value, line.unit).padStart(16)}${p99}`;
}
