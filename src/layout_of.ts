/**
 * Finds the layout a ticket's spec describes.
 *
 * @module
 */

import { customByName } from "./custom.ts";
import { LayoutError } from "./errors.ts";
import { describe } from "./describe.ts";
import { defineLayout, type Layout, type LayoutSpec, type ScalarName } from "./layout.ts";
import { bytes, json, utf8 } from "./record.ts";
import { scalars } from "./scalar.ts";
import { slabLayout } from "./slab_layout.ts";
import { checkStructSpec, structCodec } from "./struct.ts";

/** The layout of a spec that came with a ticket. */
export function layoutOf(spec: LayoutSpec): Layout<unknown, unknown> {
  switch (spec.kind) {
    case "bytes":
      return bytes as Layout<unknown, unknown>;
    case "utf8":
      return utf8 as Layout<unknown, unknown>;
    case "json":
      return json as Layout<unknown, unknown>;
    case "slab":
      return slabLayout as Layout<unknown, unknown>;
    case "struct":
      checkStructSpec(spec);
      return defineLayout(spec, structCodec(spec)) as Layout<unknown, unknown>;
    case "custom": {
      const layout = customByName(spec.name);
      if (layout !== undefined) return layout;
      throw new LayoutError(
        "LAYOUT_UNREGISTERED",
        `Cannot open the ticket: its custom layout ${
          describe(spec.name)
        } is not registered in this ` +
          `thread; call custom({ name: ${describe(spec.name)}, … }) there first`,
      );
    }
    default:
      if (Object.hasOwn(scalars, spec.kind)) {
        return scalars[spec.kind as ScalarName] as Layout<unknown, unknown>;
      }
      throw new TypeError(
        `Cannot open the ticket: expected the kind of a layout, received ${describe(spec.kind)}`,
      );
  }
}
