/**
 * The entry of a Worker of node:worker_threads.
 *
 * @module
 */

import { parentPort } from "node:worker_threads";
import { serve } from "./worker_tasks.ts";

parentPort?.on("message", (request) => {
  void serve(request, (reply) => parentPort?.postMessage(reply));
});
