/**
 * Checks of the arguments a program gives. What has the wrong type is a `TypeError`; what has the right
 * type and lies outside of its range is a `RangeError`. A name that is none of a fixed set has the wrong
 * type, as an enumeration of Web IDL has.
 *
 * `action` completes "Cannot …"; `name` is what the program calls the value.
 *
 * @module
 */

import { describe } from "./describe.ts";

/** The error of a value of the wrong type. `expected` completes "must be …". */
export function wrongType(
  action: string,
  name: string,
  expected: string,
  received: unknown,
): TypeError {
  return new TypeError(refusal(action, name, expected, received));
}

/** The error of a value of the right type that is outside of its range. */
export function outOfRange(
  action: string,
  name: string,
  expected: string,
  received: unknown,
): RangeError {
  return new RangeError(refusal(action, name, expected, received));
}

function refusal(action: string, name: string, expected: string, received: unknown): string {
  return `Cannot ${action}: ${name} must be ${expected}, received ${describe(received)}`;
}

/** Checks an integer that is at least `least`, and at most `greatest` if that is given. */
export function checkInteger(
  action: string,
  name: string,
  value: unknown,
  least: number,
  greatest: number = Infinity,
): number {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= greatest) {
    return value as number;
  }
  const refused = typeof value === "number" ? outOfRange : wrongType;
  throw refused(action, name, integers(least, greatest), value);
}

/** Completes "must be …" for integers in a range, which may have one member, or no end. */
export function integers(least: number | bigint, greatest: number | bigint): string {
  if (least === greatest) return `${least}`;
  if (greatest === Infinity) return `an integer of ${least} or more`;
  return `an integer from ${least} to ${greatest}`;
}

/** Checks an amount of time, as a number of `unit`, 0 or more, or more than 0. */
export function checkDuration(
  action: string,
  name: string,
  value: unknown,
  unit: "milliseconds" | "microseconds",
  range: "0 or more" | "more than 0" = "0 or more",
): number {
  if (typeof value === "number" && value >= 0 && (value > 0 || range === "0 or more")) return value;
  const refused = typeof value === "number" ? outOfRange : wrongType;
  throw refused(action, name, `a number of ${unit}, ${range}`, value);
}

/** Checks a timeout in milliseconds; undefined is none. */
export function checkTimeout(action: string, timeout: unknown): number | undefined {
  return timeout === undefined
    ? undefined
    : checkDuration(action, "timeout", timeout, "milliseconds");
}

/** Checks how much a stream is to take ahead. */
export function checkHighWaterMark(value: unknown): void {
  if (typeof value === "number" && value >= 0) return;
  const refused = typeof value === "number" ? outOfRange : wrongType;
  throw refused("make a stream", "highWaterMark", "a number, 0 or more", value);
}

/** Checks a boolean. */
export function checkBoolean(action: string, name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw wrongType(action, name, "a boolean", value);
}

/** Checks a function. */
export function checkFunction(action: string, name: string, value: unknown): void {
  if (typeof value !== "function") throw wrongType(action, name, "a function", value);
}

/** Checks a name out of a fixed set. */
export function checkName<Name extends string>(
  action: string,
  name: string,
  value: unknown,
  names: readonly Name[],
): Name {
  if ((names as readonly unknown[]).includes(value)) return value as Name;
  throw wrongType(action, name, oneOf(names), value);
}

/** Completes "must be …" for one of some names. */
export function oneOf(names: readonly string[]): string {
  const quoted = names.map((name) => JSON.stringify(name));
  const last = quoted.pop();
  return quoted.length === 0 ? `${last}` : `${quoted.join(", ")} or ${last}`;
}

/** Checks an object of options. */
export function checkOptions<Options>(action: string, options: Options): Options & object {
  if (typeof options === "object" && options !== null) return options;
  throw wrongType(action, "options", "an object", options);
}
