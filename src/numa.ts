/**
 * NUMA: the nodes of the machine, where the calling thread runs, and where memory is to lie.
 *
 * @module
 */

import { Limits, nodeLocal, Numa, Status, StructBytes } from "../ffi/abi.ts";
import { checkInteger, checkName, checkOptions, outOfRange, wrongType } from "./check.ts";
import { describe } from "./describe.ts";
import { check, errorOf, native } from "./native.ts";

/** A node: some CPUs, and the memory that is near to them. */
export interface NumaNode {
  /** Its number. Numbers need not be consecutive. */
  readonly node: number;
  /** Those of its CPUs that this process may use, by its affinity and its cgroup's cpuset. */
  readonly cpus: readonly number[];
  /** Its memory, in bytes; 0 if unknown. */
  readonly memoryBytes: number;
  /** What of it is free, in bytes; more can be had, which the system caches files in. */
  readonly freeBytes: number;
  /** To each node of the topology, in its order: 10 is here, 20 twice as far. */
  readonly distances: readonly number[];
  /** Whether the process's cpuset allows memory of it. */
  readonly allowed: boolean;
}

/** The nodes of a machine. */
export interface NumaTopology {
  /** The nodes, by their numbers; at least one. */
  readonly nodes: readonly NumaNode[];
  /** What the system did not tell, or told in a way that cannot be: one sentence each. */
  readonly problems: readonly string[];
}

/** Options of {@linkcode numa.topology}. */
export interface TopologyOptions {
  /** Where sysfs is; `"/sys"` unless given. For tests, and for a copy of another machine's. */
  readonly root?: string;
}

/**
 * How much a placement matters. `"prefer"`: as good as the machine allows, and
 * {@linkcode Channel.placement} tells what came of it. `"require"`: every page is on the node when the
 * endpoint opens, or a {@linkcode NumaError} is thrown. `"off"`: nothing is done.
 */
export type NumaMode = "off" | "prefer" | "require";

/** Options about where the memory of an endpoint, or of a channel, lies. */
export interface PlaceOptions {
  /**
   * The NUMA node: its number, or `"local"` for the one the opening thread runs on, which is only
   * steady for a thread that is pinned: see {@linkcode pinThread}. `"local"` unless given where `numa`
   * is.
   */
  readonly node?: "local" | number;
  /** How much it matters: `"prefer"` unless given where `node` is, else `"off"`. */
  readonly numa?: NumaMode;
}

/** Options of {@linkcode pinThread}: one of the two. */
export type PinOptions =
  | { readonly cpu: number; readonly node?: undefined }
  | { readonly node: number; readonly cpu?: undefined };

/** What {@linkcode numa} offers. */
export interface NumaInformation {
  /**
   * Reads the nodes of the machine from sysfs. A machine without NUMA has one node; what sysfs lacks
   * or garbles is left out and told in `problems`.
   *
   * @throws {TypeError} If `root` is not a string.
   */
  topology(options?: TopologyOptions): NumaTopology;
}

/**
 * The NUMA nodes of this machine.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { numa } from "millrace";
 *
 * const { nodes } = numa.topology();
 * for (const { node, cpus, memoryBytes } of nodes) {
 *   console.log(`node ${node}: ${cpus.length} CPUs, ${memoryBytes / 2 ** 30} GiB`);
 * }
 * assert(nodes.length >= 1);
 * ```
 */
export const numa: NumaInformation = Object.freeze({ topology });

const modes = Object.keys(Numa) as NumaMode[];
const entries = ["online", "cpulist", "meminfo", "distance"];
const troubles = ["is missing", "is malformed", "names more nodes than the 64 that are told of"];
const problemsOffset = 8;
const problemBytes = 8;
const problemsMax = 64;

function topology(options: TopologyOptions = {}): NumaTopology {
  const { root = "/sys" } = options;
  if (typeof root !== "string") throw wrongType("read the topology", "root", "a path", root);
  if (root.includes("\0")) {
    throw outOfRange("read the topology", "root", "a path without zero bytes", root);
  }
  const memory = new Uint8Array(StructBytes.topology);
  const path = new TextEncoder().encode(`${root}\0`);
  check(native().symbols.millrace_numa_topology(path, memory), "read the topology");
  const view = new DataView(memory.buffer);
  const count = view.getUint32(0, true);
  const told = view.getUint32(4, true);
  const nodesOffset = problemsOffset + problemsMax * problemBytes;
  return {
    nodes: Array.from({ length: count }, (_, index) => {
      const offset = nodesOffset + index * StructBytes.topologyNode;
      return readNode(new DataView(memory.buffer, offset, StructBytes.topologyNode), count);
    }),
    problems: Array.from({ length: Math.min(told, problemsMax) }, (_, index) => {
      const offset = problemsOffset + index * problemBytes;
      const node = view.getUint32(offset, true);
      const entry = entries[view.getUint16(offset + 4, true)] ?? "?";
      const where = entry === "online" ? "" : `node${node}/`;
      return `${root}/devices/system/node/${where}${entry} ${
        troubles[view.getUint16(offset + 6, true)]
      }`;
    }),
  };
}

function readNode(view: DataView, nodeCount: number): NumaNode {
  const distancesOffset = 24;
  const cpusOffset = distancesOffset + Limits.nodesTold;
  const cpus: number[] = [];
  for (let cpu = 0; cpu < Limits.cpus; cpu++) {
    if ((view.getUint8(cpusOffset + (cpu >> 3)) >> (cpu & 7) & 1) !== 0) cpus.push(cpu);
  }
  return {
    node: view.getUint32(0, true),
    cpus,
    memoryBytes: Number(view.getBigUint64(8, true)),
    freeBytes: Number(view.getBigUint64(16, true)),
    distances: Array.from(
      { length: nodeCount },
      (_, index) => view.getUint8(distancesOffset + index),
    ),
    allowed: view.getUint32(4, true) === 1,
  };
}

/**
 * Has the calling thread, and no other, run on one CPU, or on the CPUs of one NUMA node. In Deno and
 * Bun each Worker is a thread of its own.
 *
 * A thread inherits the pin of the one that starts it: Workers and the runtime's own helper threads,
 * too. So start Workers before you pin, or have each Worker pin itself, or call {@linkcode unpin}.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { currentCpu, numa, pinThread, unpin } from "millrace";
 *
 * const cpu = numa.topology().nodes.flatMap(({ cpus }) => cpus)[0] ?? 0;
 * pinThread({ cpu });
 * assert(currentCpu() === cpu);
 * unpin();
 * ```
 *
 * @throws {NumaError} If there is no such CPU or node (`"NO_SUCH_CPU"`, `"NO_SUCH_NODE"`), if the
 *   process may not use it (`"CPU_NOT_ALLOWED"`, `"NODE_NOT_ALLOWED"`), or if the kernel forbids it
 *   (`"NUMA_REFUSED"`).
 * @throws {TypeError} If neither or both are given.
 * @throws {RangeError} If the number is no integer of 0 or more.
 */
export function pinThread(options: PinOptions): void {
  const { cpu, node } = (options ?? {}) as { cpu?: unknown; node?: unknown };
  if ((cpu === undefined) === (node === undefined)) {
    throw new TypeError(
      `Cannot pin the thread: expected { cpu } or { node }, received ${describe(options)}`,
    );
  }
  const { symbols } = native();
  if (cpu !== undefined) {
    const number = checkIndex("pin the thread", "cpu", cpu);
    check(symbols.millrace_thread_pin_cpu(number), `pin the thread to CPU ${number}`);
  } else {
    const number = checkIndex("pin the thread", "node", node);
    check(symbols.millrace_thread_pin_node(number), `pin the thread to node ${number}`);
  }
}

/**
 * Undoes the pins of the calling thread: it may run again where it might before the first. A thread
 * that was never pinned, and inherited the pin of the one that started it, may run wherever the process
 * may.
 *
 * @throws {NumaError} If the kernel forbids it (`"NUMA_REFUSED"`), or the cpuset has changed so that
 *   none of those CPUs is left (`"CPU_NOT_ALLOWED"`).
 */
export function unpin(): void {
  check(native().symbols.millrace_thread_unpin(), "unpin the thread");
}

/** The CPU the calling thread runs on now; the next moment it may be another, unless it is pinned. */
export function currentCpu(): number {
  return check(native().symbols.millrace_thread_cpu(), "tell the CPU");
}

/** The NUMA node of the CPU the calling thread runs on now. */
export function currentNode(): number {
  return check(native().symbols.millrace_thread_node(), "tell the node");
}

function checkIndex(action: string, name: string, value: unknown): number {
  return checkInteger(action, name, value, 0, nodeLocal - 1);
}

/** Checks options about a place, and fills what is missing in from the channel's. */
export function checkPlace(
  action: string,
  options: PlaceOptions | undefined,
  channel?: NumaMode,
): { readonly node: "local" | number; readonly numa: NumaMode } {
  const { node, numa } = options === undefined ? {} : checkOptions(action, options);
  if (numa !== undefined) checkName(action, "numa", numa, modes);
  if (node !== undefined && node !== "local") {
    checkIndex(action, 'node must be "local", or it', node);
  }
  return {
    node: node ?? "local",
    numa: numa ?? channel ?? (node === undefined ? "off" : "prefer"),
  };
}

/** Where a receiver opens; one that does not say leaves what the channel's `node` says as it is. */
export function checkReceiverPlace(
  options: PlaceOptions | undefined,
  channel: { readonly numa?: NumaMode; readonly node?: "local" | number },
): ReturnType<typeof checkPlace> {
  const place = checkPlace("open a receiver", options, channel.numa);
  const isLeft = channel.node !== undefined && options?.node === undefined &&
    options?.numa === undefined;
  return isLeft ? { node: "local", numa: "off" } : place;
}

/** A `millrace_place`. */
export function encodePlace(place: { node: "local" | number; numa: NumaMode }): Uint32Array {
  return new Uint32Array([Numa[place.numa], place.node === "local" ? nodeLocal : place.node]);
}

/** The code of the error a status stands for. */
export function refusalOf(status: number): string | undefined {
  return status === Status.ok ? undefined : (errorOf(status, "") as Error & { code: string }).code;
}
