/**
 * A process of its own for what cannot be undone: it restricts itself to the CPU it is told first, past
 * the library, and tries the second; then has the kernel refuse what it refuses in containers.
 *
 * @module
 */

import process from "node:process";
import { type MillraceError, mpsc, numa, pinThread, Sender, u32, unpin } from "../../mod.ts";
import { addressOf, openForeign } from "./foreign.ts";
import { whereabouts } from "./worker_tasks.ts";

const { prctl: prctlOfNumbers } = openForeign("libc.so.6", {
  prctl: { parameters: ["u32", "u32", "u32", "u32", "u32"], result: "i32" },
});
const libc = openForeign("libc.so.6", {
  prctl: { parameters: ["u32", "u32", "buffer", "u32", "u32"], result: "i32" },
  sched_setaffinity: { parameters: ["u32", "u32", "buffer"], result: "i32" },
});

/** Numbers of system calls. */
const calls = process.arch === "x64"
  ? { mbind: 237, move_pages: 279, sched_setaffinity: 203 }
  : { mbind: 235, move_pages: 239, sched_setaffinity: 122 };

/** Has the kernel refuse system calls of this thread, as a container has it do. */
function refuse(names: readonly (keyof typeof calls)[], errorNumber: number): void {
  // linux/filter.h, linux/seccomp.h: load the number of the call; one of ours answers the error.
  const load = [0x20, 0, 0, 0];
  const matches = names.map((name, index) => [0x15, names.length - index, 0, calls[name]]);
  const allow = [0x06, 0, 0, 0x7fff_0000];
  const answer = [0x06, 0, 0, 0x0005_0000 | errorNumber];
  const program = [load, ...matches, allow, answer];
  const filter = new DataView(new ArrayBuffer(8 * program.length));
  for (const [index, [code = 0, jumpTrue = 0, jumpFalse = 0, value = 0]] of program.entries()) {
    filter.setUint16(8 * index, code, true);
    filter.setUint8(8 * index + 2, jumpTrue);
    filter.setUint8(8 * index + 3, jumpFalse);
    filter.setUint32(8 * index + 4, value, true);
  }
  const header = new DataView(new ArrayBuffer(16));
  header.setUint16(0, program.length, true);
  header.setBigUint64(8, addressOf(new Uint8Array(filter.buffer)), true);
  const noNewPrivileges = 38;
  const setFilter = 22;
  if (prctlOfNumbers(noNewPrivileges, 1, 0, 0, 0) < 0) {
    throw new Error("the kernel does not set no_new_privs");
  }
  if (libc.prctl(setFilter, 2, new Uint8Array(header.buffer), 0, 0) < 0) {
    throw new Error("the kernel takes no seccomp filter");
  }
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as MillraceError).code;
  }
  return "nothing was thrown";
}

function restrict(cpu: number): void {
  const set = new Uint8Array(1024);
  set[cpu >> 3] = 1 << (cpu & 7);
  // The main thread, which stands for the process, and this one, if it is another.
  for (const thread of [process.pid, 0]) libc.sched_setaffinity(thread, set.length, set);
}

/** What becomes of a channel that asks for nodes where the kernel will not have it. */
function refused(): unknown {
  using channel = mpsc(u32, { capacity: 1024, numa: "prefer", node: "local" });
  const ticket = channel.senderTicket();
  const required = [
    codeOf(() => Sender.open(ticket, { numa: "require" })),
    codeOf(() => channel.receiver({ numa: "require" })),
    codeOf(() => mpsc(u32, { numa: "require", node: "local" })),
  ];
  // The ticket is as good as it was.
  using sender = Sender.open(ticket);
  using receiver = channel.receiver();
  sender.trySend(7);
  const received = receiver.tryReceive();
  const { control, rings } = channel.placement();
  const pinned = [codeOf(() => pinThread({ cpu: whereabouts().cpu })), codeOf(() => unpin())];
  return { required, received, regions: [control, ...rings], pinned };
}

const [first, other] = process.argv.slice(2).map(Number);
const before = numa.topology().nodes.flatMap(({ cpus }) => cpus);
restrict(first as number);
const affinity = {
  cpus: numa.topology().nodes.flatMap(({ cpus }) => cpus),
  code: codeOf(() => pinThread({ cpu: other as number })),
  affinity: whereabouts().affinity,
};
const names = Object.keys(calls) as (keyof typeof calls)[];
refuse(names, 1);
const EPERM = refused();
// Of two filters that both refuse, the later one's answer counts.
refuse(names, 38);
const ENOSYS = refused();
console.log(JSON.stringify({ before, affinity, EPERM, ENOSYS }));
