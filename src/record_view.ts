/**
 * Views over the data of a ring of records, or of a slab.
 *
 * @module
 */

import type { RecordBuffer, RecordView } from "./codec.ts";

/** Views over memory that holds records. */
export function bindRecords(memory: ArrayBuffer): RecordView {
  return {
    memory,
    u8: new Uint8Array(memory),
    u32: new Uint32Array(memory),
    buffer: Buffer.from(memory) as unknown as RecordBuffer,
    flags: 0,
    text: "",
    textStart: 0,
    textEnd: 0,
    windowEnd: 0,
  };
}
