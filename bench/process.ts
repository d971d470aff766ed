/**
 * The program of every other process: plays a role of a suite.
 *
 * @module
 */

import type { ProcessRole } from "./processes.ts";

const [suite = "", role = "", setup = "null"] = process.argv.slice(2);
const { processRoles } = await import(suite) as { processRoles: Record<string, ProcessRole> };
const play = processRoles[role];
if (play === undefined) throw new Error(`${suite} has no role ${role}`);
await play(JSON.parse(setup));
process.exit(0);
