/** One of many that log: it serves requests. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { ChannelClosedError } from "../../mod.ts";
import { Logger } from "./logger.ts";
import type { ServerOrder, ServerReport } from "./orders.ts";

const scope = globalThis as unknown as { postMessage(report: ServerReport): void };

let isStopping = false;

async function serve(log: Logger, requests: number): Promise<void> {
  log.log("info", "started");
  for (let request = 0; request < requests && !isStopping; request++) {
    log.log("debug", "request", { request, path: "/mill/wheel" });
    if (request % 100 === 99) log.log("warn", "the water is low", { request, level: 0.25 });
    log.log("info", "response", { request, status: 200, text: 'quotes " and\nlines, ü and 水' });
    // Other work, and with it the order to stop.
    await nextTurn();
  }
  log.log("info", "stopped", { isStopping });
}

addEventListener("message", async (event) => {
  const { data } = event as MessageEvent<ServerOrder | "stop">;
  if (data === "stop") {
    isStopping = true;
    return;
  }
  let log: Logger | undefined;
  try {
    log = new Logger(data.ticket, data.index);
    await serve(log, data.requests);
  } catch (error) {
    // It took too long to stop: the channel was closed, and this Worker logs no more.
    if (!(error instanceof ChannelClosedError)) throw error;
  }
  log?.close();
  scope.postMessage({ logged: log?.logged ?? 0 });
});
