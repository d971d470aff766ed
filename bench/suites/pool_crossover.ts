/**
 * Large messages inline, through the ring, against slabs of a pool, by the size of a message.
 *
 * @module
 */

import {
  bytes,
  mpsc,
  Pool,
  pool,
  type PoolTicket,
  type Receiver,
  Sender,
  type SenderTicket,
  type Slab,
} from "../../mod.ts";
import { mismatch, type Side, type Suite, throughput } from "../harness.ts";
import { type Role, startWorker } from "../workers.ts";

const sizes = [256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
const sizeMost = 1_048_576;
/** Slabs of the largest size, and the ring that holds four of them. */
const slabCount = 16;
const ringBytes = 4 * sizeMost;
/** There are many sides. */
const warmMs = 500;
const sampleShare = 0.3;
const firstBytes = 2 ** 22;

interface Command {
  readonly size: number;
  readonly count: number;
}

/** What the Workers do: a frame is written, and sent. */
export const roles: Record<string, Role> = {
  frames: (ticket: SenderTicket<Uint8Array>) => {
    const sender = Sender.open(ticket);
    const frame = new Uint8Array(sizeMost);
    return ({ size, count }: Command) => {
      const own = frame.subarray(0, size);
      for (let index = 0; index < count; index++) sender.sendSync(own.fill(index));
    };
  },
  slabs: ({ ticket, slabs }: { ticket: SenderTicket<Slab>; slabs: PoolTicket }) => {
    const sender = Sender.open(ticket);
    const frames = Pool.open(slabs);
    return ({ size, count }: Command) => {
      for (let index = 0; index < count; index++) {
        const slab = frames.allocSync(size);
        slab.bytes.fill(index);
        sender.sendSync(slab);
      }
    };
  },
};

function check(frame: Uint8Array, size: number, index: number): void {
  const expected = index & 0xff;
  if (frame.length !== size || frame[0] !== expected || frame[size - 1] !== expected) {
    mismatch([size, expected], [frame.length, frame[0], frame[size - 1]]);
  }
}

/** A way to carry frames of any size. */
interface Way {
  readonly name: string;
  run(size: number, count: number): Promise<void>;
}

function way<Value>(
  name: string,
  worker: Worker,
  receiver: Receiver<Value>,
  take: (value: Value, size: number, index: number) => void,
): Way {
  return {
    name,
    async run(size, count) {
      worker.postMessage({ size, count } satisfies Command);
      let received = 0;
      const handle = (value: Value) => take(value, size, received++);
      while (received < count) {
        if (receiver.drain(handle) === 0) await receiver.ready();
      }
    },
  };
}

/**
 * The size from which a way is at least as fast as inline: between the last size where it is not and
 * the next, on a logarithmic scale. Twice the largest size means beyond it.
 */
function crossoverOf(inline: readonly number[], pooled: readonly number[]): number {
  const ratios = inline.map((value, index) => (pooled[index] ?? 0) / value);
  let first = ratios.length;
  while (first > 0 && (ratios[first - 1] ?? 0) >= 1) first--;
  if (first === ratios.length) return 2 * sizeMost;
  if (first === 0) return sizes[0] as number;
  const [below, above] = [Math.log(ratios[first - 1] ?? 1), Math.log(ratios[first] ?? 1)];
  const [from, to] = [sizes[first - 1] as number, sizes[first] as number];
  return Math.round(from * (to / from) ** (below / (below - above)));
}

/** The suite. */
export const suite: Suite = {
  name: "pool-crossover",
  about: "frames written in a Worker and read here: inline copies them into and out of the ring, " +
    "pool hands the slab they were written in over, auto is withPool(); and from which size pool wins",
  unit: "msg/s",
  ratios: [
    ...sizes.map((size) => [`pool/inline ${size}`, `pool-${size}`, `inline-${size}`] as const),
    ...sizes.map((size) => [`auto/inline ${size}`, `auto-${size}`, `inline-${size}`] as const),
  ],
  async open({ sampleMs }) {
    const slabs = pool({ slab: sizeMost, count: slabCount });
    const inline = mpsc(bytes, { capacity: ringBytes, maxSenders: 1 });
    const handles = mpsc(slabs.layout(), { capacity: 64, maxSenders: 1 });
    const auto = mpsc(bytes, { capacity: 65_536, maxSenders: 1 })
      .withPool(slabs, { threshold: 0 });
    const receivers = [inline.receiver(), handles.receiver(), auto.receiver()] as const;
    const [first, second, third] = [
      await startWorker(import.meta.url, "frames", inline.senderTicket()),
      await startWorker(import.meta.url, "slabs", {
        ticket: handles.senderTicket(),
        slabs: slabs.ticket(),
      }),
      await startWorker(import.meta.url, "frames", auto.senderTicket()),
    ];
    const ways: Way[] = [
      way("inline", first, receivers[0], check),
      way("pool", second, receivers[1], (slab, size, index) => {
        check(slab.bytes, size, index);
        slab.free();
      }),
      way("auto", third, receivers[2], check),
    ];
    const sides: Side[] = [];
    /** The values of the round under way, by the name of the way. */
    const round = new Map<string, number[]>(ways.map(({ name }) => [name, []]));
    for (const [index, size] of sizes.entries()) {
      for (const { name, run } of ways) {
        const side = await throughput(
          { name: `${name}-${size}`, run: (count) => run(size, count) },
          { sampleMs: sampleMs * sampleShare },
          { warmMs, firstCount: Math.max(4, Math.min(1024, firstBytes / size)) },
        );
        sides.push({
          name: side.name,
          async sample() {
            const sample = await side.sample();
            (round.get(name) as number[])[index] = sample.value;
            return sample;
          },
        });
      }
    }
    for (const name of ["pool", "auto"]) {
      sides.push({
        name: `crossover-${name}`,
        unit: "bytes",
        sample: () =>
          Promise.resolve({
            value: crossoverOf(round.get("inline") as number[], round.get(name) as number[]),
          }),
      });
    }
    return sides;
  },
};
