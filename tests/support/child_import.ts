/**
 * Uses the module as far as it goes without the native library.
 *
 * @module
 */

import { struct, u32 } from "../../mod.ts";

struct({ a: u32 });
console.log("imported");
