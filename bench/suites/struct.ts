/**
 * Objects of four numbers.
 *
 * @module
 */

import { f64, struct, u32, u8, type ValueOf } from "../../mod.ts";
import { mismatch } from "../harness.ts";
import { messageSuite } from "../messages.ts";

const trade = struct({ id: u32, price: f64, quantity: u32, side: u8 });
type Trade = ValueOf<typeof trade>;

function make(index: number): Trade {
  return { id: index, price: index * 0.25, quantity: index & 1023, side: index & 1 };
}

function check(value: Trade, index: number): void {
  const isRight = value.id === index && value.price === index * 0.25 &&
    value.quantity === (index & 1023) && value.side === (index & 1);
  if (!isRight) mismatch(make(index), value);
}

/** The suite, and what its Workers do. */
export const { roles, suite } = messageSuite({
  file: import.meta.url,
  name: "struct",
  about: "objects of four fields, made, sent, received and checked one by one, Worker to main",
  layout: trade,
  capacity: 2 ** 14,
  make,
  check,
});
