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

type Failure = readonly [
  make: new (code: string, message: string) => MillraceError,
  code: string,
  /** Why it cannot be done; and, after a semicolon, what to do, if there is anything. */
  because: string,
];

const failures: Readonly<Record<number, Failure>> = {
  [Status.invalidHandle]: [
    ChannelClosedError,
    "ENDPOINT_CLOSED",
    "it has been closed; open another one",
  ],
  [Status.wrongThread]: [
    WrongThreadError,
    "WRONG_THREAD",
    "it belongs to the thread that opened it; post a ticket to the other one",
  ],
  [Status.tooManyEndpoints]: [
    TooManyError,
    "TOO_MANY_ENDPOINTS",
    "this process has 16384 endpoints open; close some first",
  ],
  [Status.outOfMemory]: [
    OutOfMemoryError,
    "OUT_OF_MEMORY",
    "the system has no memory for it; ask for less, or close what is not needed",
  ],
  [Status.channelClosed]: [
    ChannelClosedError,
    "CHANNEL_CLOSED",
    "the channel is closed; create another one",
  ],
  [Status.tooManySenders]: [
    TooManyError,
    "TOO_MANY_SENDERS",
    "maxSenders are open already; close one, or create the channel with more",
  ],
  [Status.tooManyReceivers]: [
    TooManyError,
    "TOO_MANY_RECEIVERS",
    "maxReceivers are open already; close one, or create the channel with more",
  ],
  [Status.receiverTaken]: [
    ReceiverTakenError,
    "RECEIVER_TAKEN",
    "such a channel has one receiver, and this one has had it; use spmc or mpmc for several",
  ],
  [Status.ticketForeign]: [
    TicketError,
    "TICKET_FOREIGN",
    "another process, or another copy of the native library, issued this ticket; " +
    "connect to a share instead, or have one copy",
  ],
  [Status.ticketForged]: [
    TicketError,
    "TICKET_FORGED",
    "this ticket was not issued by Millrace; post it as it was issued",
  ],
  [Status.ticketUsed]: [
    TicketError,
    "TICKET_USED",
    "this ticket has been used or revoked; issue another one, each is good once",
  ],
  [Status.ticketFreed]: [
    TicketError,
    "TICKET_FREED",
    "the channel of this ticket is gone; keep the channel until its tickets are used",
  ],
  [Status.ticketRole]: [
    TicketError,
    "TICKET_ROLE",
    "this ticket is for the other kind of endpoint; issue one of this kind",
  ],
  [Status.slabStale]: [
    SlabError,
    "SLAB_STALE",
    "the slab has been freed, sent or received since; allocate another one",
  ],
  [Status.slabForeign]: [
    SlabError,
    "SLAB_FOREIGN",
    "the slab is of another pool; free it there",
  ],
  [Status.slabNotOwned]: [
    SlabError,
    "SLAB_NOT_OWNED",
    "the slab is another thread's, or on its way to a receiver; only its owner can use it",
  ],
  [Status.corrupt]: [
    CorruptSegmentError,
    "CORRUPT_SEGMENT",
    "the shared memory holds an impossible counter or record; create another channel, and look for " +
    "what writes there",
  ],
  [Status.noSuchNode]: [
    NumaError,
    "NO_SUCH_NODE",
    "this machine has no such NUMA node; numa.topology() tells them",
  ],
  [Status.nodeNotAllowed]: [
    NumaError,
    "NODE_NOT_ALLOWED",
    "the cpuset of this process leaves the NUMA node out; numa.topology() tells which are allowed",
  ],
  [Status.nodeOutOfMemory]: [
    NumaError,
    "NODE_OUT_OF_MEMORY",
    'the NUMA node has no memory for it; take another node, or numa: "prefer"',
  ],
  [Status.numaRefused]: [
    NumaError,
    "NUMA_REFUSED",
    "the kernel forbids it, as the seccomp filter of a container does; " +
    'have it allowed there, or use numa: "prefer"',
  ],
  [Status.numaUnsupported]: [
    NumaError,
    "NUMA_UNSUPPORTED",
    'this kernel knows no NUMA nodes; use numa: "prefer"',
  ],
  [Status.noSuchCpu]: [
    NumaError,
    "NO_SUCH_CPU",
    "this machine has no such CPU; numa.topology() tells them",
  ],
  [Status.cpuNotAllowed]: [
    NumaError,
    "CPU_NOT_ALLOWED",
    "the affinity or the cpuset of this process leaves the CPU out; numa.topology() tells which " +
    "are allowed",
  ],
  [Status.hugePagesUnavailable]: [
    HugePagesError,
    "HUGE_PAGES_UNAVAILABLE",
    'the system has no huge pages for its ring; enable them, or use hugePages: "try"',
  ],
  // ---- why another process could not be reached, or let in ----
  [Status.connectionRefused]: [
    ConnectError,
    "REFUSED",
    "nobody listens there; have the other process share first",
  ],
  [Status.noSuchPath]: [
    ConnectError,
    "NO_SUCH_PATH",
    "there is no such path; have the other process share first, in a directory that is there",
  ],
  [Status.notPermitted]: [
    ConnectError,
    "NOT_PERMITTED",
    "this user is not let in, or the system forbids it; name the user in the option users of both sides",
  ],
  [Status.roleRefused]: [
    ConnectError,
    "ROLE_REFUSED",
    "the share offers no such endpoint; connect the other kind, or share with it",
  ],
  [Status.notASegment]: [
    ConnectError,
    "NOT_A_SEGMENT",
    "what the other side sent is no channel's memory; look at who listens there",
  ],
  [Status.wrongVersion]: [
    ConnectError,
    "WRONG_VERSION",
    "the other side uses another version of this library; use the same on both sides",
  ],
  [Status.truncated]: [
    ConnectError,
    "TRUNCATED",
    "the channel's memory is shorter than it says; look at who listens there",
  ],
  [Status.unsealed]: [
    ConnectError,
    "UNSEALED",
    "the channel's memory is not sealed, and could become shorter; look at who listens there",
  ],
  [Status.wrongLayout]: [
    ConnectError,
    "WRONG_LAYOUT",
    "what the channel's memory says does not fit together; look at who listens there",
  ],
  [Status.notUnderstood]: [
    ConnectError,
    "NOT_UNDERSTOOD",
    "whoever listens there does not speak Millrace; look at the address",
  ],
  [Status.addressInUse]: [
    ConnectError,
    "ADDRESS_IN_USE",
    "something else has this address; take another one",
  ],
  [Status.peerDied]: [
    ConnectError,
    "PEER_DIED",
    "the other side hung up; connect again",
  ],
  [Status.tooManyDescriptors]: [
    ConnectError,
    "TOO_MANY_DESCRIPTORS",
    "no descriptor is left, in this process or in the one that shares; " +
    "close some, or raise the limit (ulimit -n)",
  ],
  [Status.sharedMemoryRefused]: [
    ConnectError,
    "SHARED_MEMORY_REFUSED",
    "the system forbids memory for several processes, as a sandbox does; allow memfd_create there",
  ],
  [Status.fileSizeLimit]: [
    ConnectError,
    "FILE_SIZE_LIMIT",
    "its memory is longer than a file of this process may be; " +
    "raise the limit (ulimit -f), or take a smaller capacity",
  ],
  [Status.systemRefused]: [
    ConnectError,
    "SYSTEM_REFUSED",
    "the system refused; strace tells which call, and why",
  ],
};

/** The error a negative answer stands for. `action` completes "Cannot …". */
export function errorOf(status: number, action: string): Error {
  const failure = failures[status];
  if (failure !== undefined) {
    const [Class, code, because] = failure;
    return new Class(code, `Cannot ${action}: ${because}`);
  }
  return new MillraceError(
    "INTERNAL",
    `Cannot ${action}: the native library answered ${status}; please report this as a fault`,
  );
}

/** Passes an answer through; throws the error a negative one stands for. */
export function check(answer: number, action: string): number {
  if (answer < 0) throw errorOf(answer, action);
  return answer;
}
