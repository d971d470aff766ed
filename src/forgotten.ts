/**
 * What a program forgets: an endpoint that is garbage collected is closed, as if its thread had died, and
 * reported once a process. Only what nothing refers to is collected: a wait, an iterator, a loop, a
 * stream, a writer and an eventfd keep their endpoint.
 *
 * @module
 */

import type { Endpoint } from "./endpoint.ts";

/** What is left of an object that was collected. It must not lead to the object. */
interface Remains {
  readonly endpoint: Endpoint;
  /** What it was, as in "a Sender". */
  readonly what: string;
  /** Closes it. Returns whether to have forgotten it was a mistake. */
  readonly close: () => boolean;
}

const registry = new FinalizationRegistry<Remains>(({ endpoint, what, close }) => {
  const { handle, symbols } = endpoint;
  if (handle === 0) return;
  // Of a channel that has ended an endpoint keeps nothing but its memory.
  const isOpen = symbols.millrace_endpoint_close_state(handle) === 0;
  if (close() && isOpen && symbols.millrace_process_once() === 1) report(what);
});

function report(what: string): void {
  process.emitWarning(
    `${what} was garbage collected while its channel was open, and has been closed now. Close senders, ` +
      `receivers and pools when you are done with them, by "using" or by close(). Other cases in this ` +
      `process are closed without a warning.`,
    { code: "MILLRACE_NOT_CLOSED" },
  );
}

/**
 * Has `close` called when `object`, which stands on an endpoint, is garbage collected, unless the endpoint
 * is closed by then.
 */
export function closeWhenForgotten(
  object: object,
  endpoint: Endpoint,
  what: string,
  close: () => boolean,
): void {
  registry.register(object, { endpoint, what, close });
}
