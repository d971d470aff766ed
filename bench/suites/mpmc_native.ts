/**
 * Native threads over the mpmc channel, against a queue under a lock in the same program.
 *
 * @module
 */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type Effort, efforts, type Side, type Suite } from "../harness.ts";

const directory = fileURLToPath(new URL("../../zig", import.meta.url));
const implementations = ["millrace", "millrace-claim-1", "locked"];

function messagesOf(effort: Effort): number {
  return effort === efforts.quick ? 1_000_000 : 4_000_000;
}

function side(name: string, messages: number): Side {
  return {
    name,
    sample() {
      const printed = execFileSync(`${directory}/zig-out/bin/mpmc`, [
        name,
        String(messages),
      ], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
      return Promise.resolve({ value: Number(printed) });
    },
  };
}

/** The suite. */
export const suite: Suite = {
  name: "mpmc-native",
  about: "4 native producers and 4 consumers, a message at a time, against a queue under a lock",
  unit: "msg/s",
  ratios: [
    ["millrace/locked", "millrace", "locked"],
    ["millrace-claim-1/locked", "millrace-claim-1", "locked"],
  ],
  open(effort) {
    execFileSync("zig", ["build", "bench", "-Doptimize=ReleaseFast"], {
      cwd: directory,
      stdio: "inherit",
    });
    const messages = messagesOf(effort);
    return Promise.resolve(
      implementations.map((name) => side(name, messages)),
    );
  },
};
