/**
 * Where the memory of a channel lies.
 *
 * @module
 */

import { Numa, ringShared, StructBytes } from "../ffi/abi.ts";
import type { Endpoint } from "./endpoint.ts";
import { check } from "./native.ts";
import { type NumaMode, refusalOf } from "./numa.ts";
import { readRings } from "./statistics.ts";

/** Where some memory of a channel is wanted, and is. */
export interface RegionPlacement {
  /** What was asked for; `"off"` if nothing was. */
  readonly numa: NumaMode;
  /** The node it is wanted on. */
  readonly wanted: number | undefined;
  /** Why `"prefer"` was not followed: the code of the {@linkcode NumaError} `"require"` had thrown. */
  readonly refusal: string | undefined;
  /**
   * Where its pages are: by the number of a node, how many. Undefined if the kernel does not tell, as
   * in containers whose seccomp filter has it refuse `move_pages`.
   */
  readonly nodes: Readonly<Record<number, number>> | undefined;
  /** Its pages. */
  readonly pages: number;
  /** Those nobody has used yet: they are nowhere. */
  readonly untouched: number;
}

/** Where a ring is. */
export interface RingPlacement extends RegionPlacement {
  /** The number of the ring. */
  readonly ring: number;
}

/** Where the memory of a channel is. */
export interface Placement {
  /** The control block and what receivers write: one region, also of several receivers. */
  readonly control: RegionPlacement;
  /** The rings that have a sender. */
  readonly rings: readonly RingPlacement[];
}

/** Asks where the memory of the endpoint's channel is. */
export function readPlacement(endpoint: Endpoint): Placement {
  return {
    control: readRegion(endpoint, ringShared),
    rings: readRings(endpoint).map(({ ring }) => ({ ring, ...readRegion(endpoint, ring) })),
  };
}

const modes = Object.keys(Numa) as NumaMode[];

function readRegion(endpoint: Endpoint, ring: number): RegionPlacement {
  const memory = new Uint8Array(StructBytes.placement);
  check(
    endpoint.symbols.millrace_endpoint_placement(endpoint.handle, ring, memory),
    "tell the placement of a channel",
  );
  const view = new DataView(memory.buffer);
  const numa = modes[view.getUint32(0, true)] ?? "off";
  const nodesOffset = 40;
  const nodes: Record<number, number> = {};
  for (let index = 0; index < view.getUint32(32, true); index++) {
    const offset = nodesOffset + index * 16;
    nodes[view.getUint32(offset, true)] = Number(view.getBigUint64(offset + 8, true));
  }
  return {
    numa,
    wanted: numa === "off" ? undefined : view.getUint32(4, true),
    refusal: refusalOf(view.getInt32(8, true)),
    nodes: view.getUint32(12, true) === 1 ? nodes : undefined,
    pages: Number(view.getBigUint64(16, true)),
    untouched: Number(view.getBigUint64(24, true)),
  };
}
