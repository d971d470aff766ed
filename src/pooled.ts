/**
 * Messages of variable length that go through a pool by themselves: those above a threshold lie in a
 * slab, and their record holds its handle.
 *
 * @module
 */

import { Status } from "../ffi/abi.ts";
import {
  flagPooled,
  type RecordCodec,
  recordSlotBytes,
  type RecordView,
  type Staging,
} from "./codec.ts";
import type { Endpoint } from "./endpoint.ts";
import { errorOf } from "./native.ts";
import { nextGeneration, type SlabPort } from "./slab.ts";

/** What stands in a record in place of its message: index, generation, bytes and flags. */
export const handleBytes = 16;

/** What `encode` answers when a message fits no ring, and no slab is free: it has to wait for one. */
export const needsSlab: number = Number.MIN_SAFE_INTEGER;

/** A slab, and the slot of the record that has its handle. */
interface Held {
  readonly slot: number;
  readonly index: number;
  readonly generation: number;
}

/** What a pooled record says of its message. */
interface Handle extends Held {
  readonly bytes: number;
  readonly flags: number;
}

/** Reads the payload of a pooled record, each word once: it is shared memory. */
function readHandle(view: RecordView, slot: number, length: number): Handle {
  if (length !== handleBytes) throw errorOf(Status.corrupt, "receive through the pool");
  const word = (slot + 1) * (recordSlotBytes / 4);
  return {
    slot,
    index: view.u32[word] as number,
    generation: view.u32[word + 1] as number,
    bytes: view.u32[word + 2] as number,
    flags: view.u32[word + 3] as number,
  };
}

/** The slab that holds the message. */
function slabOf(port: SlabPort, { index, bytes }: Handle): RecordView {
  if (index < port.count && bytes <= port.slabBytes) return port.view(index);
  throw errorOf(Status.corrupt, "receive through the pool");
}

/** Slabs in records that are not published yet. */
class PooledStaging<Value> implements Staging<Value> {
  readonly #staged: Held[] = [];
  readonly #port: SlabPort;

  constructor(port: SlabPort) {
    this.#port = port;
  }

  add(held: Held): void {
    this.#staged.push(held);
  }

  publish(): void {
    this.#staged.length = 0;
  }

  takeBackFrom(slot: number): void {
    while (true) {
      const last = this.#staged.at(-1);
      if (last === undefined || last.slot < slot) return;
      this.#staged.pop();
      this.#port.drop(last.index, last.generation);
    }
  }
}

/** The codec of a sender on a channel with a pool. */
export function pooledCodecOfSender<Value>(
  codec: RecordCodec<Value>,
  port: SlabPort,
  sender: Endpoint,
  wantedThreshold: number,
): { codec: RecordCodec<Value>; staging: Staging<Value> } {
  const staging = new PooledStaging<Value>(port);
  const inlineMost = sender.info.capacity * (recordSlotBytes / 2) - recordSlotBytes;
  // What is too long for the ring has no other way, whatever the threshold.
  const threshold = Math.min(wantedThreshold, inlineMost);

  /** Puts the message into a slab and its handle into the record. Negative: as `encode`. */
  const encodePooled = (view: RecordView, offset: number, value: Value): number => {
    const index = port.alloc();
    if (index < 0) return needsSlab;
    const { generation } = port;
    let length = -1;
    let flags = 0;
    try {
      const slab = port.view(index);
      length = codec.encode(slab, 0, port.slabBytes, value);
      flags = slab.flags;
    } finally {
      if (length < 0) port.free(index, generation);
    }
    if (length < 0) {
      throw new RangeError(
        "Cannot send: encode() gave more bytes the second time it was called; it must give the same each time",
      );
    }
    const slot = offset / recordSlotBytes - 1;
    const { symbols, handle } = port.endpoint;
    const answer = symbols.millrace_pool_stage(handle, index, generation, sender.handle, slot);
    if (answer < 0) {
      port.free(index, generation);
      throw errorOf(answer, "send through the pool");
    }
    const held = { slot, index, generation: nextGeneration(generation) };
    staging.add(held);
    const word = offset / 4;
    view.u32[word] = held.index;
    view.u32[word + 1] = held.generation;
    view.u32[word + 2] = length;
    view.u32[word + 3] = flags;
    view.flags = flagPooled;
    return handleBytes;
  };

  return {
    staging,
    codec: {
      kind: "record",
      encode(view, offset, room, value) {
        const inline = codec.encode(view, offset, Math.min(room, threshold), value);
        if (inline >= 0) return inline;
        const bytes = -1 - inline;
        // Too long for what there is of the ring now, and not for the ring.
        if (bytes <= threshold) return inline;
        if (bytes <= port.slabBytes) {
          if (room < handleBytes) return -1 - handleBytes;
          const length = encodePooled(view, offset, value);
          // With no slab free, what fits a ring goes through the ring.
          if (length !== needsSlab || bytes > inlineMost) return length;
        }
        return bytes <= room ? codec.encode(view, offset, room, value) : inline;
      },
      decode(view, offset, length, flags) {
        if ((flags & flagPooled) === 0) return codec.decode(view, offset, length, flags);
        const handle = readHandle(view, offset / recordSlotBytes - 1, length);
        return codec.decode(slabOf(port, handle), 0, handle.bytes, handle.flags);
      },
    },
  };
}

/** What a receiver does with the records of a channel with a pool. */
export class PooledReceiving {
  readonly #port: SlabPort;
  /** The slabs of records that were taken and are not given back yet. */
  readonly #held: Held[] = [];

  constructor(port: SlabPort) {
    this.#port = port;
  }

  /** Takes the message out of its slab. */
  decode<Value>(codec: RecordCodec<Value>, handle: Handle): Value {
    return codec.decode(slabOf(this.#port, handle), 0, handle.bytes, handle.flags);
  }

  /** The message of a pooled record, in place. */
  payload(view: RecordView, offset: number, length: number): Uint8Array {
    this.#port.endpoint.expose();
    // Nothing tells when the program is done with it.
    this.#port.endpoint.countView(1);
    const handle = readHandle(view, offset / recordSlotBytes - 1, length);
    return slabOf(this.#port, handle).u8.subarray(0, handle.bytes);
  }

  /**
   * A pooled record has been taken: its slab is free once the record is given back. What the record says
   * now counts, whatever it says later.
   */
  hold(view: RecordView, slot: number, length: number): Handle {
    const handle = readHandle(view, slot, length);
    this.#held.push(handle);
    return handle;
  }

  /** The record was not taken after all. */
  letGo(slot: number): void {
    if (this.#held.at(-1)?.slot === slot) this.#held.pop();
  }

  /** Whether slabs wait for their record to be given back. */
  get holds(): boolean {
    return this.#held.length !== 0;
  }

  /**
   * The records have been given back: their slabs are free. Not before: a record whose receiver dies
   * is received again, and must find its message.
   */
  free(): void {
    for (const { index, generation } of this.#held) this.#port.drop(index, generation);
    this.#held.length = 0;
  }
}
