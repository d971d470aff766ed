/**
 * A parser of the Prometheus text format that is not ours, with types, which it does not bring.
 *
 * @module
 */

import { createRequire } from "node:module";

/** A family of samples, with its comments. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: "COUNTER" | "GAUGE" | "SUMMARY" | "HISTOGRAM" | "UNTYPED";
  readonly metrics: readonly {
    readonly value?: string;
    readonly labels?: Readonly<Record<string, string>>;
  }[];
}

const parser = createRequire(import.meta.url)("parse-prometheus-text-format") as (
  text: string,
) => Family[];

/**
 * Parses a scrape; throws for a line that cannot be. Histograms are read as the untyped samples they
 * consist of, because the parser folds those of all labels into one.
 */
export function parseScrape(text: string): Family[] {
  return parser(text.replaceAll(/^(# TYPE \S+) histogram$/gm, "$1 untyped"));
}
