/**
 * The copy of a batch: what the runtime's typed arrays do, against `@memcpy` and loops over vectors in
 * a native program.
 *
 * @module
 */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Effort, Side, Suite } from "../harness.ts";

const directory = fileURLToPath(new URL("../../zig", import.meta.url));
const implementations = ["memcpy", "vector16", "vector32", "vector64"];
const sizes = [4096, 65536];
const copiesBetweenClockReads = 64;

function native(implementation: string, bytes: number): Side {
  return {
    name: `${implementation}-${bytes}`,
    sample() {
      const printed = execFileSync(`${directory}/zig-out/bin/copy`, [
        implementation,
        String(bytes),
      ], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
      return Promise.resolve({ value: Number(printed) / bytes });
    },
  };
}

function typedArray(bytes: number, { sampleMs }: Effort): Side {
  const source = new Uint8Array(bytes).fill(7);
  const target = new Uint8Array(bytes);
  return {
    name: `set-${bytes}`,
    sample() {
      let copies = 0;
      const startMs = performance.now();
      let endMs = startMs;
      while (endMs < startMs + sampleMs) {
        for (let copy = 0; copy < copiesBetweenClockReads; copy++) target.set(source);
        copies += copiesBetweenClockReads;
        endMs = performance.now();
      }
      return Promise.resolve({ value: (copies / (endMs - startMs)) * 1000 });
    },
  };
}

/** The suite. */
export const suite: Suite = {
  name: "bulk-copy",
  about: "copies of 4 KiB and 64 KiB a second: TypedArray.set, @memcpy, and loops over vectors",
  unit: "msg/s",
  ratios: sizes.flatMap((bytes) =>
    ["set", ...implementations.slice(1)].map((name) =>
      [`${name}/memcpy-${bytes}`, `${name}-${bytes}`, `memcpy-${bytes}`] as const
    )
  ),
  open(effort) {
    execFileSync("zig", ["build", "bench", "-Doptimize=ReleaseFast"], {
      cwd: directory,
      stdio: "inherit",
    });
    return Promise.resolve(sizes.flatMap((bytes) => [
      typedArray(bytes, effort),
      ...implementations.map((name) => native(name, bytes)),
    ]));
  },
};
