/**
 * Where processes meet: addresses, descriptors and the users that are let in, as options name them.
 *
 * @module
 */

import { Limits, Status } from "../ffi/abi.ts";
import { checkInteger, wrongType } from "./check.ts";
import { describe } from "./describe.ts";
import { check } from "./native.ts";

/** An address, or a descriptor; never both. */
export interface Place {
  /** Without a descriptor: a path, or `@` and a name. */
  readonly address: Uint8Array<ArrayBuffer>;
  /** The bytes of the address: 0 if there is a descriptor. */
  readonly addressBytes: number;
  readonly fd: number;
}

/** Checks where something is to be shared, or connected to. */
export function checkPlace(action: string, place: unknown): Place {
  if (typeof place === "string") {
    const address = new TextEncoder().encode(place);
    const isGood = address.length > (place.startsWith("@") ? 1 : 0) &&
      address.length <= Limits.addressBytes && !place.includes("\0");
    if (isGood) return { address, addressBytes: address.length, fd: -1 };
    throw new RangeError(
      `Cannot ${action}: an address must have 1 to ${Limits.addressBytes} bytes, and no zero among them; ` +
        `received ${describe(place)}`,
    );
  }
  const fd: unknown = typeof place === "object" && place !== null && "fd" in place
    ? place.fd
    : undefined;
  if (fd === undefined) {
    throw new TypeError(
      `Cannot ${action}: expected an address or { fd }, received ${describe(place)}`,
    );
  }
  return { address: new Uint8Array(1), addressBytes: 0, fd: checkFd(action, fd) };
}

/** Checks a descriptor. */
export function checkFd(action: string, fd: unknown): number {
  return checkInteger(action, "a descriptor", fd, 0, 2 ** 31 - 1);
}

/** Checks user ids, and puts them behind their count where a native struct has them. */
export function putUsers(action: string, users: unknown, words: Uint32Array, at: number): void {
  if (!Array.isArray(users)) throw wrongType(action, "users", "an array of user ids", users);
  if (users.length > Limits.users) {
    throw new RangeError(
      `Cannot ${action}: at most ${Limits.users} users can be named, received ${users.length}`,
    );
  }
  words[at] = users.length;
  users.forEach((user: unknown, index) => {
    words[at + 1 + index] = checkInteger(action, `users[${index}]`, user, 0, 2 ** 32 - 1);
  });
}

/** Passes the answer of a native call about a descriptor through; throws the error it stands for. */
export function checkAnswer(answer: number, action: string): number {
  if (answer !== Status.invalidArgument) return check(answer, action);
  throw new RangeError(
    `Cannot ${action}: expected an open descriptor of a connected Unix socket that keeps messages apart ` +
      "(SOCK_SEQPACKET), received another; make one with socketPair()",
  );
}
