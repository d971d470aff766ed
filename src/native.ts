/**
 * The native library, loaded at first use, and what its answers mean.
 *
 * @module
 */

import { type Native, Status } from "../ffi/abi.ts";
import { loadLibrary } from "../ffi/load.ts";
import {
  ChannelClosedError,
  ConnectError,
  CorruptSegmentError,
  HugePagesError,
  MillraceError,
  NumaError,
  OutOfMemoryError,
  ReceiverTakenError,
  SlabError,
  TicketError,
  TooManyError,
  WrongThreadError,
} from "./errors.ts";

let loaded: Native | undefined;

/** The native library. The first call finds and opens it. */
export function native(): Native {
  return loaded ??= loadLibrary();
}

/**
 * The file of the native library this module uses: what native code that works with it must link or
 * open, for there is one table of endpoints a library. Loads it if need be.
 *
 * @throws {LibraryError} If the native library cannot be found or used.
 * @throws {UnsupportedPlatformError} On a platform without it.
 */
export function libraryPath(): string {
  return native().path;
}

/** The error a negative answer stands for. `action` completes "Cannot …". */
export function errorOf(status: number, action: string): Error {
  const cannot = `Cannot ${action}: `;
  switch (status) {
    case Status.invalidHandle:
      return new ChannelClosedError("ENDPOINT_CLOSED", cannot + "it has been closed");
    case Status.wrongThread:
      return new WrongThreadError(
        "WRONG_THREAD",
        cannot + "it belongs to the thread that opened it; post a ticket to the other one",
      );
    case Status.tooManyEndpoints:
      return new TooManyError(
        "TOO_MANY_ENDPOINTS",
        cannot + "this process has 16384 endpoints open",
      );
    case Status.outOfMemory:
      return new OutOfMemoryError("OUT_OF_MEMORY", cannot + "the system has no memory for it");
    case Status.channelClosed:
      return new ChannelClosedError("CHANNEL_CLOSED", cannot + "the channel is closed");
    case Status.tooManySenders:
      return new TooManyError("TOO_MANY_SENDERS", cannot + "maxSenders are open already");
    case Status.tooManyReceivers:
      return new TooManyError("TOO_MANY_RECEIVERS", cannot + "maxReceivers are open already");
    case Status.receiverTaken:
      return new ReceiverTakenError(
        "RECEIVER_TAKEN",
        cannot + "such a channel has one receiver, and this one has had it",
      );
    case Status.ticketForeign:
      return new TicketError(
        "TICKET_FOREIGN",
        cannot + "another process, or another copy of the native library, issued this ticket",
      );
    case Status.ticketForged:
      return new TicketError("TICKET_FORGED", cannot + "this ticket was not issued by Millrace");
    case Status.ticketUsed:
      return new TicketError("TICKET_USED", cannot + "this ticket has been used or revoked");
    case Status.ticketFreed:
      return new TicketError("TICKET_FREED", cannot + "the channel of this ticket is gone");
    case Status.ticketRole:
      return new TicketError(
        "TICKET_ROLE",
        cannot + "this ticket is for the other kind of endpoint",
      );
    case Status.slabStale:
      return new SlabError(
        "SLAB_STALE",
        cannot + "the slab has been freed, sent or received since",
      );
    case Status.slabForeign:
      return new SlabError("SLAB_FOREIGN", cannot + "the slab is of another pool");
    case Status.slabNotOwned:
      return new SlabError(
        "SLAB_NOT_OWNED",
        cannot + "the slab is another thread's, or on its way to a receiver",
      );
    case Status.corrupt:
      return new CorruptSegmentError(
        "CORRUPT_SEGMENT",
        cannot + "the shared memory holds an impossible counter or record",
      );
    case Status.noSuchNode:
      return new NumaError("NO_SUCH_NODE", cannot + "this machine has no such NUMA node");
    case Status.nodeNotAllowed:
      return new NumaError(
        "NODE_NOT_ALLOWED",
        cannot + "the cpuset of this process leaves the NUMA node out",
      );
    case Status.nodeOutOfMemory:
      return new NumaError("NODE_OUT_OF_MEMORY", cannot + "the NUMA node has no memory for it");
    case Status.numaRefused:
      return new NumaError(
        "NUMA_REFUSED",
        cannot + "the kernel forbids it, as the seccomp filter of a container does",
      );
    case Status.numaUnsupported:
      return new NumaError("NUMA_UNSUPPORTED", cannot + "this kernel knows no NUMA nodes");
    case Status.noSuchCpu:
      return new NumaError("NO_SUCH_CPU", cannot + "this machine has no such CPU");
    case Status.cpuNotAllowed:
      return new NumaError(
        "CPU_NOT_ALLOWED",
        cannot + "the affinity or the cpuset of this process leaves the CPU out",
      );
    case Status.hugePagesUnavailable:
      return new HugePagesError(
        "HUGE_PAGES_UNAVAILABLE",
        cannot + "the system has no huge pages for its ring",
      );
    default: {
      const [code, because] = connectFailures[status] ?? [];
      if (code !== undefined) return new ConnectError(code, cannot + because);
      return new MillraceError("INTERNAL", cannot + `the native library answered ${status}`);
    }
  }
}

/** Why another process could not be reached, or let in. */
const connectFailures: Record<number, readonly [code: string, because: string]> = {
  [Status.connectionRefused]: ["REFUSED", "nobody listens there"],
  [Status.noSuchPath]: ["NO_SUCH_PATH", "there is no such path"],
  [Status.notPermitted]: ["NOT_PERMITTED", "this user is not let in, or the system forbids it"],
  [Status.roleRefused]: ["ROLE_REFUSED", "the share offers no such endpoint"],
  [Status.notASegment]: ["NOT_A_SEGMENT", "what the other side sent is no channel's memory"],
  [Status.wrongVersion]: [
    "WRONG_VERSION",
    "the other side uses another version of this library",
  ],
  [Status.truncated]: ["TRUNCATED", "the channel's memory is shorter than it says"],
  [Status.unsealed]: ["UNSEALED", "the channel's memory is not sealed, and could become shorter"],
  [Status.wrongLayout]: ["WRONG_LAYOUT", "what the channel's memory says does not fit together"],
  [Status.notUnderstood]: ["NOT_UNDERSTOOD", "whoever listens there does not speak Millrace"],
  [Status.addressInUse]: ["ADDRESS_IN_USE", "something else has this address"],
  [Status.peerDied]: ["PEER_DIED", "the other side hung up"],
  [Status.tooManyDescriptors]: [
    "TOO_MANY_DESCRIPTORS",
    "no descriptor is left, in this process or in the one that shares: close some, or raise the limit (ulimit -n)",
  ],
  [Status.sharedMemoryRefused]: [
    "SHARED_MEMORY_REFUSED",
    "the system forbids memory for several processes (memfd_create), as a sandbox does",
  ],
  [Status.fileSizeLimit]: [
    "FILE_SIZE_LIMIT",
    "its memory is longer than a file of this process may be: raise the limit (ulimit -f), or take a smaller capacity",
  ],
  [Status.systemRefused]: ["SYSTEM_REFUSED", "the system refused"],
};

/** Passes an answer through; throws the error a negative one stands for. */
export function check(answer: number, action: string): number {
  if (answer < 0) throw errorOf(answer, action);
  return answer;
}
