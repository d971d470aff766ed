/**
 * Strings of 100 bytes.
 *
 * @module
 */

import { utf8 } from "../../mod.ts";
import { mismatch } from "../harness.ts";
import { messageSuite } from "../messages.ts";

const texts = Array.from(
  { length: 1024 },
  (_, index) => `${index} `.padEnd(100, "the river moves the wheel "),
);

function make(index: number): string {
  return texts[index % texts.length] as string;
}

function check(value: string, index: number): void {
  if (value !== make(index)) mismatch(make(index), value);
}

/** The suite, and what its Workers do. */
export const { roles, suite } = messageSuite({
  file: import.meta.url,
  name: "utf8",
  about: "strings of 100 bytes, Worker to main",
  layout: utf8,
  capacity: 2 ** 20,
  make,
  check,
});
