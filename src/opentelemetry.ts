/**
 * The numbers of a channel as observables of OpenTelemetry. Nothing is imported for it: you bring the
 * meter, from `@opentelemetry/api` and the SDK of your choice.
 *
 * @module
 */

import { describe } from "./describe.ts";
import * as table from "./metrics.ts";

export type { Observable } from "./metrics.ts";
export type { LatencyBucket, Quantiles } from "./histogram.ts";
export type { LatencyStatistics, RingStatistics, Statistics } from "./statistics.ts";

/** What tells observations apart: `Attributes` of `@opentelemetry/api`. */
export type ObservationAttributes = Record<string, string | number | boolean>;

/** What an observation is written into: `BatchObservableResult` of `@opentelemetry/api`. */
export interface ObservationResult<Instrument> {
  /** Tells the value of an instrument at this moment. */
  observe(instrument: Instrument, value: number, attributes: ObservationAttributes): void;
}

/** What is used of a `Meter` of `@opentelemetry/api`, from version 1.3 on. */
export interface ObservingMeter<Instrument> {
  /** Creates an instrument for a value that only grows. */
  createObservableCounter(name: string, options: InstrumentOptions): Instrument;
  /** Creates an instrument for a value that comes and goes. */
  createObservableGauge(name: string, options: InstrumentOptions): Instrument;
  /** Registers what is called at every collection. */
  addBatchObservableCallback(
    callback: (result: ObservationResult<Instrument>) => void,
    instruments: Instrument[],
  ): void;
  /** Takes it back. */
  removeBatchObservableCallback(
    callback: (result: ObservationResult<Instrument>) => void,
    instruments: Instrument[],
  ): void;
}

/** What an instrument is created with: `MetricOptions` of `@opentelemetry/api`. */
export interface InstrumentOptions {
  /** What it tells. */
  readonly description: string;
  /** Its unit, in UCUM. */
  readonly unit: string;
}

/** Options of {@linkcode observeChannel}. */
export interface ObserveOptions {
  /** The attribute `channel` of every observation. */
  readonly name: string;
  /** More attributes of every observation. */
  readonly attributes?: ObservationAttributes;
}

/**
 * Registers a channel's numbers with a meter: they are read when the meter's readers collect. Every
 * name begins with `millrace.`. To be called in the thread that created the channel. Once the channel
 * is disposed of, nothing more is observed.
 *
 * @example
 * ```ts ignore
 * import { metrics } from "@opentelemetry/api";
 * import { observeChannel } from "millrace/opentelemetry";
 *
 * using observation = observeChannel(metrics.getMeter("my-service"), orders, { name: "orders" });
 * ```
 *
 * @returns What ends the observation when it is disposed of.
 * @throws {TypeError} If an argument is not what it should be.
 */
export function observeChannel<Instrument>(
  meter: ObservingMeter<Instrument>,
  channel: table.Observable,
  options: ObserveOptions,
): Disposable {
  if (typeof meter?.addBatchObservableCallback !== "function") {
    throw new TypeError(`Cannot observe: expected a meter, received ${describe(meter)}`);
  }
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot observe: expected { name }, received ${describe(options)}`);
  }
  const { name, attributes } = options;
  table.checkObservable("observe", name, channel);
  const common = { ...attributes, channel: name };

  const observables = table.metrics.map((metric) => {
    const description = { description: metric.help, unit: metric.unit };
    const full = `millrace.${metric.name}`;
    return metric.type === "counter"
      ? meter.createObservableCounter(full, description)
      : meter.createObservableGauge(full, description);
  });
  // OpenTelemetry has no histogram that is observed: its parts are counters, named as those of a
  // Prometheus histogram.
  const buckets = meter.createObservableCounter("millrace.latency.bucket", {
    description: "Messages that took at most so many seconds, by the attribute le, from their " +
      "commit until the receiver gave them back",
    unit: "{message}",
  });
  const sum = meter.createObservableCounter("millrace.latency.sum", {
    description: "All these times together",
    unit: "s",
  });
  const count = meter.createObservableCounter("millrace.latency.count", {
    description: "Messages whose time was taken",
    unit: "{message}",
  });
  const longest = meter.createObservableGauge("millrace.latency.max", {
    description: "The longest of these times",
    unit: "s",
  });

  const collect = (result: ObservationResult<Instrument>): void => {
    const statistics = table.observe(channel);
    if (statistics === undefined) return;
    table.metrics.forEach((metric, index) => {
      for (const { value, labels } of metric.read(statistics)) {
        result.observe(observables[index] as Instrument, value, { ...common, ...labels });
      }
    });
    if (statistics.latency === undefined) return;
    const latency = table.exportLatency(statistics.latency);
    for (const [le, atMost] of latency.buckets) {
      result.observe(buckets, atMost, { ...common, le });
    }
    result.observe(sum, latency.sum, common);
    result.observe(count, latency.count, common);
    if (latency.count !== 0) result.observe(longest, latency.max, common);
  };
  const all = [...observables, buckets, sum, count, longest];
  meter.addBatchObservableCallback(collect, all);
  return {
    [Symbol.dispose]: () => meter.removeBatchObservableCallback(collect, all),
  };
}
