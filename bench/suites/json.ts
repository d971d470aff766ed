/**
 * Small objects, as JSON.
 *
 * @module
 */

import { json } from "../../mod.ts";
import { mismatch } from "../harness.ts";
import { messageSuite } from "../messages.ts";

interface Order {
  id: number;
  item: string;
  price: number;
  isPaid: boolean;
}

function make(index: number): Order {
  return { id: index, item: "mill wheel", price: 12.5, isPaid: (index & 1) === 0 };
}

function check(value: Order, index: number): void {
  const isRight = value.id === index && value.item === "mill wheel" && value.price === 12.5 &&
    value.isPaid === ((index & 1) === 0);
  if (!isRight) mismatch(make(index), value);
}

/** The suite, and what its Workers do. */
export const { roles, suite } = messageSuite({
  file: import.meta.url,
  name: "json",
  about: "small objects of four properties, as JSON, Worker to main",
  layout: json<Order>(),
  capacity: 2 ** 20,
  make,
  check,
});
