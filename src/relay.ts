/**
 * The relay of a wake-up: where receivers share a channel, one is woken for a message, and its thread may be
 * busy with something else. Then another has to be woken.
 *
 * @module
 */

import { Kind } from "../ffi/abi.ts";
import type { Endpoint } from "./endpoint.ts";
import { clearImmediate, clearTimeout, setImmediate, setTimeout, type Timer } from "./timers.ts";

/** Whether the receivers of such a channel share its rings. */
export function hasManyReceivers(kind: number): boolean {
  return kind === Kind.spmc || kind === Kind.mpmc;
}

/** How long a receiver that was woken has, before the next one is. */
const patienceMs = 5;

/**
 * Wakes one receiver after the other as long as there is a message that none has claimed. It needs the event
 * loop of its own thread. If that does not turn, a receiver that sleeps finds the message when it looks around,
 * within half a second.
 */
export class Relay {
  readonly #endpoint: Endpoint;
  #timer: Timer | undefined;
  #turn: Timer | undefined;

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
    endpoint.onClose(() => {
      clearTimeout(this.#timer);
      clearImmediate(this.#turn);
    });
  }

  /** To be called when this endpoint has rung the bell of a receiver. */
  start(): void {
    if (this.#timer !== undefined || this.#endpoint.handle === 0) return;
    this.#timer = setTimeout(this.#wait, patienceMs);
    this.#timer.unref();
  }

  /** Receivers of this very thread have had a turn of their own, then. */
  readonly #wait = (): void => {
    this.#turn = setImmediate(this.#look);
  };

  readonly #look = (): void => {
    this.#timer = this.#turn = undefined;
    const { handle, symbols, bells } = this.#endpoint;
    if (handle === 0) return;
    const answer = symbols.millrace_endpoint_wake_another(handle);
    if (answer < 0) return; // every message is claimed, or no receiver sleeps
    if (answer > 0) bells.ring(answer, 0);
    this.start();
  };
}

/** The relay of an endpoint, if its channel needs one. */
export function relayOf(endpoint: Endpoint): Relay | undefined {
  return hasManyReceivers(endpoint.info.kind) ? new Relay(endpoint) : undefined;
}
