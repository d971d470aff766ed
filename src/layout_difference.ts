/**
 * In what two layouts differ, for a person to read.
 *
 * @module
 */

import { describe } from "./describe.ts";
import type { LayoutSpec } from "./layout.ts";

type Fields = Extract<LayoutSpec, { kind: "struct" }>["fields"];

/** What is different, as "its … is …, expected …"; undefined if nothing is. */
export function layoutDifference(
  theirs: LayoutSpec,
  ours: LayoutSpec,
  path = "",
): string | undefined {
  if (theirs.kind === "struct" && ours.kind === "struct") {
    return fieldDifference(theirs.fields, ours.fields, path);
  }
  const [found, expected] = [nameOf(theirs), nameOf(ours)];
  if (found === expected) return undefined;
  const what = path === "" ? "its values are" : `its field ${path} is`;
  return `${what} ${found}, expected ${expected}`;
}

/** The first field that is another one. Their order counts: it is where they lie. */
function fieldDifference(theirs: Fields, ours: Fields, path: string): string | undefined {
  const pathOf = (name: string) => path === "" ? name : `${path}.${name}`;
  const tell = ([name, spec]: Fields[number]) => `${pathOf(name)} (${nameOf(spec)})`;
  for (let index = 0; index < Math.max(theirs.length, ours.length); index++) {
    const [found, expected] = [theirs[index], ours[index]];
    if (expected === undefined) {
      return found && `it has the field ${tell(found)}, which was not expected`;
    }
    if (found === undefined) return `it lacks the field ${tell(expected)}`;
    if (found[0] !== expected[0]) {
      return `its field number ${index + 1} is ${tell(found)}, expected ${tell(expected)}`;
    }
    const difference = layoutDifference(found[1], expected[1], pathOf(found[0]));
    if (difference !== undefined) return difference;
  }
}

function nameOf(spec: LayoutSpec): string {
  switch (spec.kind) {
    case "struct":
      return spec.fields.length === 1
        ? "a struct of 1 field"
        : `a struct of ${spec.fields.length} fields`;
    case "custom":
      return `the custom layout ${describe(spec.name)}`;
    case "slab":
      return "slabs of a pool";
    default:
      return spec.kind;
  }
}
