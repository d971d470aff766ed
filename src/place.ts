/**
 * Where processes meet: addresses, descriptors and the users that are let in, as options name them.
 *
 * @module
 */

import { Limits, Status } from "../ffi/abi.ts";
import { describe } from "./layout.ts";
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
      `Cannot ${action}: an address has 1 to ${Limits.addressBytes} bytes, and no zero among them; ` +
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
  if (typeof fd !== "number") {
    throw new TypeError(`Cannot ${action}: a descriptor is a number, received ${describe(fd)}`);
  }
  if (Number.isInteger(fd) && fd >= 0 && fd < 2 ** 31) return fd;
  throw new RangeError(
    `Cannot ${action}: a descriptor is an integer of 0 or more, received ${describe(fd)}`,
  );
}

/** Checks user ids, and puts them behind their count where a native struct has them. */
export function putUsers(action: string, users: unknown, words: Uint32Array, at: number): void {
  if (!Array.isArray(users)) {
    throw new TypeError(`Cannot ${action}: users must be an array, received ${describe(users)}`);
  }
  if (users.length > Limits.users) {
    throw new RangeError(
      `Cannot ${action}: at most ${Limits.users} users can be named, received ${users.length}`,
    );
  }
  words[at] = users.length;
  users.forEach((user: unknown, index) => {
    if (typeof user !== "number" || !Number.isInteger(user) || user < 0 || user >= 2 ** 32) {
      throw new RangeError(
        `Cannot ${action}: a user is an integer from 0 to 2^32 - 1, received ${describe(user)}`,
      );
    }
    words[at + 1 + index] = user;
  });
}

/** Passes the answer of a native call about a descriptor through; throws the error it stands for. */
export function checkAnswer(answer: number, action: string): number {
  if (answer !== Status.invalidArgument) return check(answer, action);
  throw new RangeError(
    `Cannot ${action}: it is not open, or no connected Unix socket that keeps messages apart ` +
      "(SOCK_SEQPACKET)",
  );
}
