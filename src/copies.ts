/**
 * Two copies of this module in one process, as a package manager that nests versions makes them. What one
 * made the other cannot use, and looks the same: so what is made is signed, for errors to say so.
 *
 * @module
 */

const signature = Symbol.for("millrace.copy");

/** Where this copy is. */
export const copyHere: string = import.meta.url.replace(/\/src\/copies\.[jt]s$/, "");

/** Marks what this copy makes; a prototype marks all of its instances. */
export function sign<Made extends object>(made: Made): Made {
  return Object.defineProperty(made, signature, { value: copyHere });
}

/** Where the copy is that made it, if it is another. */
export function otherCopy(value: object): string | undefined {
  const copy: unknown = (value as { [signature]?: unknown })[signature];
  return typeof copy === "string" && copy !== copyHere ? copy : undefined;
}
