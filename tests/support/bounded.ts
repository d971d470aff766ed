/**
 * Waits that end: for a condition, for a promise, for an error.
 *
 * @module
 */

import assert from "node:assert/strict";

/** Far beyond what anything here takes on a slow and busy machine: only a hang reaches it. */
const limitMsDefault = 60_000;

/** Waits for a promise; throws when it takes longer than `limitMs`. */
export async function within<Value>(
  promise: PromiseLike<Value>,
  what: string,
  limitMs = limitMsDefault,
): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const { promise: late, reject } = Promise.withResolvers<never>();
  timer = setTimeout(() => reject(new Error(`Waited ${limitMs} ms for ${what}`)), limitMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    timer = undefined;
  }
}

/** Waits until `condition()` is true; throws when that takes longer than `limitMs`. */
export async function until(
  condition: () => boolean,
  what: string,
  limitMs = limitMsDefault,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() >= deadline) throw new Error(`Waited ${limitMs} ms until ${what}`);
    await nextTurn();
  }
}

/** Blocks this thread until `condition()` is true, so that nothing of its event loop can make it so. */
export function untilBlocked(
  condition: () => boolean,
  what: string,
  limitMs = limitMsDefault,
): void {
  const never = new Int32Array(new SharedArrayBuffer(4));
  const deadline = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() >= deadline) throw new Error(`Waited ${limitMs} ms until ${what}`);
    Atomics.wait(never, 0, 0, 1);
  }
}

/** Lets the event loop turn once: timers, I/O and immediates that are due have run. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Whether a promise is still pending after so many turns of the event loop. */
export async function isPending(promise: PromiseLike<unknown>, turns = 5): Promise<boolean> {
  let settled = false;
  const settle = () => {
    settled = true;
  };
  promise.then(settle, settle);
  for (let turn = 0; turn < turns && !settled; turn++) await nextTurn();
  return !settled;
}

/** What a test expects of an error. */
export interface ExpectedError {
  readonly name: string;
  readonly code?: string;
  readonly message?: RegExp;
}

/** Holds an error against what is expected of it, and returns it. */
export function assertError(error: unknown, expected: ExpectedError): Error {
  assert.ok(error instanceof Error, `expected ${expected.name}, received ${String(error)}`);
  assert.equal(error.name, expected.name, error.message);
  if (expected.code !== undefined) assert.equal((error as { code?: string }).code, expected.code);
  if (expected.message !== undefined) assert.match(error.message, expected.message);
  return error;
}

/** Expects `call` to throw such an error. Returns it. */
export function throws(call: () => unknown, expected: ExpectedError): Error {
  try {
    call();
  } catch (error) {
    return assertError(error, expected);
  }
  assert.fail(`expected ${expected.name} ${expected.code ?? ""}, nothing was thrown`);
}

/** Expects a promise to be rejected with such an error, within bounds. Returns it. */
export async function rejects(
  promise: PromiseLike<unknown>,
  expected: ExpectedError,
): Promise<Error> {
  let value: unknown;
  try {
    value = await within(promise, `a rejection with ${expected.name}`);
  } catch (error) {
    return assertError(error, expected);
  }
  assert.fail(`expected ${expected.name} ${expected.code ?? ""}, resolved to ${String(value)}`);
}

/** The promise's rejection, whatever it is; fails if it resolves. */
export async function rejectionOf(promise: PromiseLike<unknown>): Promise<unknown> {
  const outcome = await within(
    promise.then((value) => ({ value }), (error: unknown) => ({ error })),
    "a rejection",
  );
  assert.ok("error" in outcome, "expected a rejection, the promise resolved");
  return outcome.error;
}

/** The name of the error of what should be a number in a range: a wrong type comes first. */
export function refusalOf(value: unknown): "RangeError" | "TypeError" {
  return typeof value === "number" ? "RangeError" : "TypeError";
}

/** An error of an operation on a closed channel. */
export const channelClosed: ExpectedError = { name: "ChannelClosedError", code: "CHANNEL_CLOSED" };

/** An error of an operation on an endpoint that was itself closed. */
export const endpointClosed: ExpectedError = {
  name: "ChannelClosedError",
  code: "ENDPOINT_CLOSED",
};
