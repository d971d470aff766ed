// How each test runner prints its counts, and how we do.

/**
 * @typedef {{ passed: number, failed: number, skipped: number, note?: string }} Counts
 */

/** Reads `ok | 12 passed (3 steps) | 0 failed | 1 ignored (12ms)`. */
export function countDeno(output) {
  const line = lastMatch(output, /^(?:ok|FAILED) \| .*\bpassed\b.*$/gm);
  if (line === undefined) return undefined;
  return {
    passed: numberBefore(line, "passed"),
    failed: numberBefore(line, "failed"),
    skipped: numberBefore(line, "ignored"),
  };
}

/** Reads the lines ` 12 pass`, ` 1 skip`, ` 1 todo` and ` 0 fail` that come before `Ran 14 tests`. */
export function countBun(output) {
  const summary = lastMatch(output, /^ *\d+ pass\n(?: *\d+ .*\n)*/gm);
  if (summary === undefined) return undefined;
  return {
    passed: numberBefore(summary, "pass"),
    failed: numberBefore(summary, "fail"),
    skipped: numberBefore(summary, "skip") + numberBefore(summary, "todo"),
  };
}

/** Reads `Build Summary: 3/3 steps succeeded; 11/13 tests passed (1 skipped, 1 crashed)`. */
export function countZig(output) {
  const line = lastMatch(output, /^Build Summary: .*$/gm);
  const tests = line && /; (\d+)\/(\d+) tests passed(.*)$/.exec(line);
  if (!tests) return undefined;
  const passed = Number(tests[1]);
  const skipped = numberBefore(tests[3], "skipped");
  return { passed, failed: Number(tests[2]) - passed - skipped, skipped };
}

/**
 * Reads the last line, `12 passed, 0 failed` and possibly `, 3 skipped`; and `skipped: REASON`, which
 * stands before it when nothing could be run.
 */
export function countSummary(output) {
  const line = lastMatch(output, /^\d+ passed, \d+ failed(?:, \d+ skipped)?$/gm);
  if (line === undefined) return undefined;
  return {
    passed: numberBefore(line, "passed"),
    failed: numberBefore(line, "failed"),
    skipped: numberBefore(line, "skipped"),
    note: lastMatch(output, /^skipped: .*$/gm),
  };
}

/** Writes that line. */
export function summary({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed` + (skipped > 0 ? `, ${skipped} skipped` : "");
}

function lastMatch(text, pattern) {
  return [...text.matchAll(pattern)].at(-1)?.[0];
}

function numberBefore(text, word) {
  return Number(new RegExp(`(\\d+) ${word}\\b`).exec(text)?.[1] ?? 0);
}
