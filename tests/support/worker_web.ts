/**
 * The entry of a Web Worker.
 *
 * @module
 */

import { serve } from "./worker_tasks.ts";

// Only what is used of a Worker's scope, so that other type checkers need no types of it.
const scope = globalThis as unknown as {
  onmessage: (event: { data: unknown }) => void;
  postMessage(message: unknown): void;
};

scope.onmessage = ({ data }) => void serve(data, (reply) => scope.postMessage(reply));
