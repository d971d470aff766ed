/**
 * The layout of slabs: what travels is the handle, 16 bytes, and with it the slab's owner changes.
 *
 * @module
 */

import { Status } from "../ffi/abi.ts";
import type { FixedCodec, Staging, Window, WritableBatch } from "./codec.ts";
import type { Endpoint } from "./endpoint.ts";
import { describe } from "./describe.ts";
import { defineLayout, type Layout } from "./layout.ts";
import { errorOf } from "./native.ts";
import {
  checkSendable,
  isLostSlab,
  makeSlab,
  nextGeneration,
  publishSlab,
  Slab,
  type SlabPort,
  stageSlab,
  takeBackSlab,
} from "./slab.ts";

const wordsPerSlot = 4;

/** A ring's data, as words: index, generation and length of a slab in every slot. */
type View = Uint32Array;

/** Slabs whose handles are in slots that are not published yet. */
class SlabStaging implements Staging<Slab> {
  readonly #staged: { readonly slot: number; readonly slab: Slab }[] = [];

  add(slot: number, slab: Slab): void {
    this.#staged.push({ slot, slab });
  }

  lost(): number | undefined {
    return this.#staged.find(({ slab }) => slab[isLostSlab])?.slot;
  }

  publish(): void {
    for (const { slab } of this.#staged) slab[publishSlab]();
    this.#staged.length = 0;
  }

  takeBackFrom(slot: number): void {
    while (true) {
      const last = this.#staged.at(-1);
      if (last === undefined || last.slot < slot) return;
      this.#staged.pop();
      last.slab[takeBackSlab]();
    }
  }

  values(): Slab[] {
    return this.#staged.map(({ slab }) => slab);
  }
}

/** The codec of one endpoint: a sender's stages, a receiver's takes through its port. */
function slabCodec(
  sender: Endpoint | undefined,
  staging: SlabStaging | undefined,
  port: SlabPort | undefined,
): FixedCodec<Slab, Slab[], View> {
  const read = (view: View, slot: number): Slab => {
    if (port === undefined) throw errorOf(Status.corrupt, "receive a slab");
    const at = slot * wordsPerSlot;
    const index = view[at] as number;
    const generation = view[at + 1] as number;
    const length = view[at + 2] as number;
    if (length > port.slabBytes) throw errorOf(Status.corrupt, "receive a slab");
    // Taken already and met again: it was looked at in place, or its batch could not be filled.
    const known = port.live.get(index);
    if (known?.handle.generation === nextGeneration(generation)) return known;
    const { symbols, handle } = port.endpoint;
    const answer = symbols.millrace_pool_claim(handle, index, generation);
    // A receiver that died had taken it: the message comes again, the slab does not.
    if (answer < 0) return Slab[makeSlab](port, index, generation, -1);
    return Slab[makeSlab](port, index, nextGeneration(generation), length);
  };
  const check = (slab: Slab): void => {
    if (slab instanceof Slab) return slab[checkSendable]();
    throw new TypeError(`Cannot send a slab: expected a Slab, received ${describe(slab)}`);
  };
  const write = (view: View, slot: number, slab: Slab): void => {
    check(slab);
    if (sender === undefined || staging === undefined) throw errorOf(Status.corrupt, "send a slab");
    const { length } = slab;
    const { index, generation } = slab[stageSlab](sender, slot);
    staging.add(slot, slab);
    const at = slot * wordsPerSlot;
    view[at] = index;
    view[at + 1] = generation;
    view[at + 2] = length;
    view[at + 3] = 0;
  };
  return {
    kind: "fixed",
    slotBytes: wordsPerSlot * 4,
    runsUserCode: false,
    bind: (memory) => new Uint32Array(memory),
    check,
    write,
    read,
    writeMany(view, slot, values, from, count) {
      for (let index = 0; index < count; index++) {
        write(view, slot + index, values[from + index] as Slab);
      }
    },
    readMany(view, slot, count) {
      const slabs: Slab[] = [];
      for (let index = 0; index < count; index++) slabs.push(read(view, slot + index));
      return slabs;
    },
    readInto(view, slot, count, out: WritableBatch<Slab>, at) {
      if (ArrayBuffer.isView(out)) {
        throw new TypeError("Cannot receive a batch: expected an array, received a typed array");
      }
      for (let index = 0; index < count; index++) out[at + index] = read(view, slot + index);
    },
    join: (batches) => batches.flat(),
    window(view, slot, count): Window<Slab> {
      const taken: Slab[] = [];
      return {
        length: count,
        at(index) {
          if (!(Number.isInteger(index) && index >= 0 && index < count)) return undefined;
          return taken[index] ??= read(view, slot + index);
        },
      };
    },
    skip(view, slot, count) {
      for (let index = 0; index < count; index++) {
        const at = (slot + index) * wordsPerSlot;
        // One that was looked at has been taken, and is the program's.
        port?.drop(view[at] as number, view[at + 1] as number);
      }
    },
  };
}

/** The codec before an endpoint is known; it says how large a slot is. */
const unbound = slabCodec(undefined, undefined, undefined);

/** What travels in a ticket stands for any pool: the channel knows which. */
export const slabLayout: Layout<Slab> = defineLayout<Slab, Slab[]>({ kind: "slab" }, unbound);

/** A layout object of its own, so that a pool can be found by it. */
export function newSlabLayout(): Layout<Slab> {
  return defineLayout<Slab, Slab[]>({ kind: "slab" }, unbound);
}

/** The codec of a sender. */
export function slabCodecOfSender(
  sender: Endpoint,
): { codec: FixedCodec<Slab, Slab[], View>; staging: Staging<Slab> } {
  const staging = new SlabStaging();
  return { codec: slabCodec(sender, staging, undefined), staging };
}

/** The codec of a receiver, which takes slabs through its port. */
export function slabCodecOfReceiver(port: SlabPort): FixedCodec<Slab, Slab[], View> {
  return slabCodec(undefined, undefined, port);
}

/** Whether a codec is that of slabs. */
export function isSlabCodec(codec: unknown): boolean {
  return codec === unbound;
}
