/**
 * The numbers of channels as Prometheus text, to be answered to a scrape.
 *
 * @module
 */

import { describe } from "./describe.ts";
import { checkObservable, exportLatency, metrics, type Observable, observe } from "./metrics.ts";
import type { Statistics } from "./statistics.ts";

export type { Observable } from "./metrics.ts";
export type { LatencyBucket, Quantiles } from "./histogram.ts";
export type { LatencyStatistics, RingStatistics, Statistics } from "./statistics.ts";

/** The content type of what {@linkcode prometheusText} makes, for the answer to a scrape. */
export const prometheusContentType = "text/plain; version=0.0.4; charset=utf-8";

/**
 * The numbers of channels in the text format of Prometheus (0.0.4). Every name begins with
 * `millrace_`, every sample has the label `channel`, which is the name the channel is given here.
 * A channel that was disposed of is left out.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mpsc, u32 } from "millrace";
 * import { prometheusText } from "millrace/prometheus";
 *
 * using orders = mpsc(u32);
 * await orders.sender().send(7);
 * const text = prometheusText({ orders });
 * assert(text.includes('millrace_sent_messages_total{channel="orders"} 1\n'));
 * ```
 *
 * @param channels The channels, by the name each is to have. To be called in the thread that created
 *   them.
 * @throws {TypeError} If a value is not a channel.
 * @throws {WrongThreadError} If another thread created one of them.
 */
export function prometheusText(channels: Readonly<Record<string, Observable>>): string {
  if (typeof channels !== "object" || channels === null) {
    throw new TypeError(
      `Cannot tell metrics: expected channels by name, received ${describe(channels)}`,
    );
  }
  const observed: [name: string, statistics: Statistics][] = [];
  for (const [name, channel] of Object.entries(channels)) {
    checkObservable("tell the metrics of", name, channel);
    const statistics = observe(channel);
    if (statistics !== undefined) observed.push([name, statistics]);
  }
  let text = "";
  for (const metric of metrics) {
    const suffix = metric.type === "counter" ? "_total" : "";
    const name = `millrace_${metric.name.replaceAll(".", "_")}${suffix}`;
    text += family(name, metric.type, metric.help, (tell) => {
      for (const [channel, statistics] of observed) {
        for (const { value, labels } of metric.read(statistics)) {
          tell(name, { channel, ...labels }, value);
        }
      }
    });
  }
  return text + latencyFamilies(observed);
}

function latencyFamilies(observed: readonly [string, Statistics][]): string {
  const name = "millrace_latency_seconds";
  const longest = "millrace_latency_max_seconds";
  const help = "Time from the commit of a message until the receiver gave it back";
  const exported = observed.flatMap(([channel, { latency }]) =>
    latency === undefined ? [] : [[channel, exportLatency(latency)] as const]
  );
  return family(name, "histogram", help, (tell) => {
    for (const [channel, { buckets, sum, count }] of exported) {
      for (const [le, atMost] of buckets) tell(`${name}_bucket`, { channel, le }, atMost);
      tell(`${name}_sum`, { channel }, sum);
      tell(`${name}_count`, { channel }, count);
    }
  }) + family(longest, "gauge", "The longest of these times", (tell) => {
    for (const [channel, { max }] of exported) tell(longest, { channel }, max);
  });
}

type Tell = (name: string, labels: Readonly<Record<string, string>>, value: number) => void;

/** A family of samples under its two comments; nothing if there is no sample. */
function family(name: string, type: string, help: string, each: (tell: Tell) => void): string {
  let lines = "";
  each((sample, labels, value) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escape(text)}"`);
    lines += `${sample}{${pairs.join(",")}} ${value}\n`;
  });
  return lines === "" ? "" : `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines}`;
}

function escape(label: string): string {
  return label.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
