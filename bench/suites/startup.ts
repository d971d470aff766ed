/**
 * From the import to the first message, each in a fresh process.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { mismatch, runtime, type Side, type Suite } from "../harness.ts";

const probes: Record<string, () => Promise<unknown>> = {
  async millrace() {
    const { mpsc, u32 } = await import("../../mod.ts");
    const channel = mpsc(u32);
    const receiver = channel.receiver();
    channel.sender().trySend(7);
    return await receiver.receive();
  },
  async ringbuf() {
    const { ringMemory, ringOver } = await import("../peers/ringbuf.ts");
    const memory = ringMemory(1024);
    ringOver(memory).push(new Uint32Array([7]), 1);
    const received = new Uint32Array(1);
    ringOver(memory).pop(received, 1);
    return received[0];
  },
  async postMessage() {
    const { port1, port2 } = new MessageChannel();
    const received = new Promise((resolve) => port2.onmessage = ({ data }) => resolve(data));
    port1.postMessage(7);
    return await received;
  },
};

function sideOf(name: string): Side {
  const options = runtime === "deno" ? ["run", "-A"] : [];
  const command = [...options, fileURLToPath(import.meta.url), name];
  return {
    name,
    sample() {
      const { stdout, status } = spawnSync(process.execPath, command, { encoding: "utf8" });
      if (status !== 0) throw new Error(`The start of ${name} failed`);
      return Promise.resolve({ value: Number(stdout) });
    },
  };
}

/** The suite. */
export const suite: Suite = {
  name: "startup",
  about: "import to first message within one thread, in a fresh process",
  unit: "us",
  ratios: [
    ["millrace/postMessage", "millrace", "postMessage"],
    ["millrace/ringbuf", "millrace", "ringbuf"],
  ],
  async open() {
    const sides = Object.keys(probes).map(sideOf);
    // The first start reads files that the later ones find in memory.
    for (const side of sides) await side.sample();
    return sides;
  },
};

if (import.meta.main) {
  const name = process.argv[2] ?? "";
  const startMs = performance.now();
  const received = await probes[name]?.();
  const tookUs = (performance.now() - startMs) * 1000;
  if (received !== 7) mismatch(7, received);
  process.stdout.write(`${tookUs}\n`, () => process.exit(0));
}
