/** Sends the primes of a range. */

import { Sender, type SenderTicket } from "../../mod.ts";

/** What a Worker is told. */
export interface Search {
  readonly from: number;
  readonly to: number;
  readonly ticket: SenderTicket<number, Uint32Array>;
}

function isPrime(number: number): boolean {
  if (number < 2) return false;
  for (let divisor = 2; divisor * divisor <= number; divisor++) {
    if (number % divisor === 0) return false;
  }
  return true;
}

addEventListener("message", (event) => {
  const { from, to, ticket } = (event as MessageEvent<Search>).data;
  // Closed at the end of this function, and what was sent before arrives.
  using sender = Sender.open(ticket);
  for (let number = from; number < to; number++) {
    // Blocks this Worker while its ring is full.
    if (isPrime(number)) sender.sendSync(number);
  }
});
