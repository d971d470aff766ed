// Which files can hold a test of some name. A runner has to load a file to learn the names in it, which
// takes about two seconds a file; reading them all takes milliseconds.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./paths.mjs";

/** Fewer characters of a name say nothing. */
const TELLING = 3;

/** The files of a directory, by their paths in the checkout, that can hold a test of that name. */
export function filesWithTest(name, directory, ending) {
  return readdirSync(join(ROOT, directory))
    .filter((file) => file.endsWith(ending))
    .map((file) => join(directory, file))
    .filter((path) => canHoldTest(readFileSync(join(ROOT, path), "utf8"), name));
}

/** Whether a source has the name as it stands, or a template that can become one that contains it. */
export function canHoldTest(source, name) {
  if (source.replaceAll(/\\(.)/g, "$1").includes(name)) return true;
  const templates = source.match(/`(?:[^`\\]|\\.)*`/g) ?? [];
  return templates.some((template) => canBecome(template.slice(1, -1).split(/\$\{[^}]*\}/), name));
}

/** Whether a text of these parts, with anything between them, can contain the name and a part's end. */
function canBecome(parts, name) {
  for (const [index, part] of parts.entries()) {
    const isFirst = index === 0;
    const isLast = index === parts.length - 1;
    if (!isFirst && !isLast && part.length >= TELLING && name.includes(part)) return true;
    for (let length = TELLING; length <= Math.min(part.length, name.length); length++) {
      if (!isLast && name.startsWith(part.slice(-length))) return true;
      if (!isFirst && name.endsWith(part.slice(0, length))) return true;
    }
  }
  return false;
}
