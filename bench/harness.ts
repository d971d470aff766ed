/**
 * What every suite is measured with: sides that take turns, medians, and ratios of one round each.
 *
 * @module
 */

/** The runtime this is. */
export const runtime: "bun" | "deno" = "Bun" in globalThis ? "bun" : "deno";

/** How much to measure. */
export interface Effort {
  /** How often the sides take turns. */
  readonly rounds: number;
  /** About how long one side is measured in a round, in milliseconds. */
  readonly sampleMs: number;
}

/** Efforts: for numbers to publish, and to look quickly. */
export const efforts: { readonly full: Effort; readonly quick: Effort } = {
  full: { rounds: 15, sampleMs: 500 },
  quick: { rounds: 7, sampleMs: 250 },
};

/** One measurement, in the unit of its suite. For latencies `value` is the p50. */
export interface Sample {
  readonly value: number;
  readonly p99?: number;
}

/** One implementation of what a suite measures. */
export interface Side {
  readonly name: string;
  /** If it is not the suite's. */
  readonly unit?: Unit | "bytes";
  sample(): Promise<Sample>;
}

/** Units: messages per second, microseconds of a round trip (or of a start), CPU milliseconds. */
export type Unit = "msg/s" | "us" | "ms";

/** What `bench/suites/` holds one of in each file. */
export interface Suite {
  readonly name: string;
  readonly about: string;
  readonly unit: Unit;
  /** Name, numerator and denominator of each comparison; the latter two are names of sides. */
  readonly ratios: readonly (readonly [name: string, over: string, under: string])[];
  /** Starts the sides and warms them up. */
  open(effort: Effort): Promise<readonly Side[]>;
  /** Rounds, when a sample takes so long that the effort's are too many. */
  rounds?(effort: Effort): number;
}

/** One line of the output. */
export type Line =
  & {
    readonly bench: string;
    readonly runtime: string;
    readonly value: number;
    readonly runs: number;
    readonly min: number;
    readonly max: number;
  }
  & (
    | { readonly impl: string; readonly unit: Unit | "bytes"; readonly p99?: number }
    | { readonly ratio: string }
  );

/** Measures a suite in this process. */
export async function measure(suite: Suite, effort: Effort): Promise<Line[]> {
  const sides = await suite.open(effort);
  const samples = new Map<string, Sample[]>(sides.map(({ name }) => [name, []]));
  const rounds = suite.rounds?.(effort) ?? effort.rounds;
  for (let round = 0; round < rounds; round++) {
    // The sides take turns within a round, so that what slows the machine slows them all.
    for (const side of sides) samplesOf(samples, side.name).push(await side.sample());
  }
  const lines: Line[] = [];
  for (const { name, unit = suite.unit } of sides) {
    const own = samplesOf(samples, name);
    const p99s = own.flatMap(({ p99 }) => p99 ?? []);
    lines.push({
      bench: suite.name,
      runtime,
      impl: name,
      unit,
      ...spread(own.map(({ value }) => value)),
      ...(p99s.length > 0 && { p99: rounded(median(p99s)) }),
    });
  }
  for (const [ratio, over, under] of suite.ratios) {
    const unders = samplesOf(samples, under);
    const ratios = samplesOf(samples, over).map(({ value }, round) =>
      value / (unders[round]?.value ?? NaN)
    );
    lines.push({ bench: suite.name, runtime, ratio, ...spread(ratios) });
  }
  return lines;
}

function samplesOf(samples: Map<string, Sample[]>, name: string): Sample[] {
  const own = samples.get(name);
  if (own === undefined) throw new Error(`No such side: ${name}`);
  return own;
}

function spread(values: readonly number[]): Pick<Line, "value" | "runs" | "min" | "max"> {
  return {
    value: rounded(median(values)),
    runs: values.length,
    min: rounded(Math.min(...values)),
    max: rounded(Math.max(...values)),
  };
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

/** The middle of `values`. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >>> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? NaN)) / 2;
}

/** Messages sent from a Worker and received here. */
export interface Transfer {
  readonly name: string;
  /** Counts are multiples of this; 1 unless given. */
  readonly step?: number;
  /** Has `count` messages sent, and resolves when each has been received and checked. */
  run(count: number): Promise<void>;
}

/** A side that counts messages per second, over as many as fill the time of a sample. */
export async function throughput(
  transfer: Transfer,
  { sampleMs }: Pick<Effort, "sampleMs">,
  { warmMs = warmUpMs, firstCount = 1024 }: { warmMs?: number; firstCount?: number } = {},
): Promise<Side> {
  const step = transfer.step ?? 1;
  let count = firstCount * step;
  const next = async () => {
    const startMs = performance.now();
    await transfer.run(count);
    const ms = performance.now() - startMs;
    const perSecond = (count / ms) * 1000;
    // The next run is to fill the time of a sample, also when the machine has become slower.
    const growth = Math.min(8, Math.max(0.2, sampleMs / ms));
    count = Math.min(countMax, Math.max(1, Math.round((count * growth) / step)) * step);
    return { value: perSecond };
  };
  // Compilers take their time: what handles objects can take a second until it is at its fastest.
  const warmUntilMs = performance.now() + warmMs;
  while (performance.now() < warmUntilMs) await next();
  return { name: transfer.name, sample: next };
}

/** At least so long every side runs before it is measured. */
const warmUpMs = 1500;

/** Sequences of a run are u32, and three bits of it may say who sent it. */
const countMax = 2 ** 29 - 2 ** 20;

/** A side that measures round trips, `pings` to a sample. */
export async function roundTrips(
  name: string,
  pings: number,
  /** Makes as many round trips as the array is long, and writes how long each took, in ms. */
  run: (tookMs: Float64Array) => Promise<void> | void,
  warmUps = 3,
): Promise<Side> {
  const tookMs = new Float64Array(pings);
  for (let warmUp = 0; warmUp < warmUps; warmUp++) await run(tookMs);
  return {
    name,
    async sample() {
      await run(tookMs);
      tookMs.sort();
      return { value: percentileUs(tookMs, 0.5), p99: percentileUs(tookMs, 0.99) };
    },
  };
}

function percentileUs(sortedMs: Float64Array, part: number): number {
  return (sortedMs[Math.floor(sortedMs.length * part)] ?? NaN) * 1000;
}

/** Waits, with the event loop free. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Holds a received value against what was sent: not one may be lost, doubled or out of order. */
export function mismatch(expected: unknown, received: unknown): never {
  throw new Error(`Expected ${JSON.stringify(expected)}, received ${JSON.stringify(received)}`);
}
