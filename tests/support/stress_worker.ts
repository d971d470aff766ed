/** A Worker of the stress tests: does one job after the other. */

import { type Job, perform } from "./stress_jobs.ts";

const scope = globalThis as unknown as {
  onmessage: (event: { data: Job }) => void;
  postMessage(message: unknown): void;
};

scope.onmessage = async ({ data: job }) => {
  try {
    scope.postMessage({ result: await perform(job) });
  } catch (error) {
    scope.postMessage({
      error: error instanceof Error ? error.stack ?? error.message : String(error),
    });
  }
};
