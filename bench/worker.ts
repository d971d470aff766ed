/**
 * The program of every Worker: plays a role of a suite.
 *
 * @module
 */

import { type Role, type Start, workerScope } from "./workers.ts";

workerScope.onmessage = async ({ data }) => {
  const { suite, role, setup } = data as Start;
  const { roles } = await import(suite) as { roles: Record<string, Role> };
  const play = roles[role];
  if (play === undefined) throw new Error(`${suite} has no role ${role}`);
  const obey = play(setup);
  workerScope.onmessage = ({ data }) => obey(data);
  workerScope.postMessage("ready");
};
