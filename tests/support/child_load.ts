/**
 * Makes a channel, sends one value through it, and prints what came of that as JSON. Parameters like
 * `platform=darwin` make the process look like one of another platform.
 *
 * @module
 */

import process from "node:process";
import { mpsc, u32 } from "../../mod.ts";

for (const parameter of process.argv.slice(2)) {
  const [name = "", value] = parameter.split("=");
  Object.defineProperty(process, name, { value });
}

try {
  using channel = mpsc(u32);
  const receiver = channel.receiver();
  channel.sender().trySend(7);
  const result = receiver.tryReceive();
  console.log(JSON.stringify({ value: result.state === "ok" ? result.value : undefined }));
} catch (thrown) {
  const { name, code, message } = thrown as Error & { code?: string };
  console.log(JSON.stringify({ error: { name, code, message } }));
}
