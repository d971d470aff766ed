/**
 * The layout of objects with fixed fields: one slot, its fields at their natural alignment.
 *
 * The codec is compiled for the struct: a store or load a field, through one typed array per
 * element type, and one object allocated per value read. Where code generation is not allowed, the
 * same is done field by field.
 *
 * @module
 */

import { wrongType } from "./check.ts";
import { checkTarget, type FixedCodec, type Window } from "./codec.ts";
import { describe } from "./describe.ts";
import {
  defineLayout,
  type Layout,
  type LayoutSpec,
  type ScalarName,
  type ValueOf,
} from "./layout.ts";
import { checkScalar, scalars } from "./scalar.ts";

/** The fields of a struct: names to layouts of scalars or structs. */
export type StructFields = {
  readonly [field: string]: Layout<number, object> | Layout<bigint, object> | Layout<object>;
};

/** The object a struct with such fields is. */
export type StructValue<Fields extends StructFields> = {
  -readonly [Field in keyof Fields]: ValueOf<Fields[Field]>;
};

const elementBytes: Record<ScalarName, number> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  f64: 8,
  u64: 8,
  i64: 8,
};

const elementArrays = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  f64: Float64Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
} as const;

/** A scalar inside a struct, however deep: where it is and how to get there. */
interface Leaf {
  readonly path: readonly string[];
  readonly type: ScalarName;
  /** Bytes from the start of the slot. */
  readonly offset: number;
}

/** A struct laid out: nested structs flattened into their scalars. */
interface Plan {
  readonly leaves: readonly Leaf[];
  readonly slotBytes: number;
}

type StructSpec = Extract<LayoutSpec, { kind: "struct" }>;
type StructView = Partial<Record<ScalarName, { [index: number]: unknown }>> & {
  readonly memory: ArrayBuffer;
};

const alignUp = (value: number, alignment: number) => Math.ceil(value / alignment) * alignment;

const fieldsMax = 256;

function plan(spec: StructSpec): Plan {
  const leaves: Leaf[] = [];
  let alignment = 1;
  let offset = 0;
  const visit = (fields: StructSpec["fields"], path: readonly string[]) => {
    for (const [name, field] of fields) {
      if (field.kind === "struct") {
        visit(field.fields, [...path, name]);
        continue;
      }
      const type = field.kind as ScalarName;
      const bytes = elementBytes[type];
      alignment = Math.max(alignment, bytes);
      offset = alignUp(offset, bytes);
      leaves.push({ path: [...path, name], type, offset });
      offset += bytes;
    }
  };
  visit(spec.fields, []);
  return { leaves, slotBytes: alignUp(offset, alignment) };
}

/** Structs seen in place, without a copy: what `readable()` and `reserve()` of a struct give. */
export class StructWindow<Value> implements Window<Value> {
  /** How many structs there are. */
  readonly length: number;
  /**
   * Their bytes, in the ring itself. Asynchronous I/O on them must be finished before `commit()` or
   * `release()`, the next send or receive, and `close()`.
   */
  readonly bytes: Uint8Array;
  readonly #codec: FixedCodec<Value, Value[]>;
  readonly #view: unknown;
  readonly #slot: number;

  /** Made by the library. */
  constructor(
    codec: FixedCodec<Value, Value[]>,
    view: unknown,
    memory: ArrayBuffer,
    slot: number,
    count: number,
  ) {
    this.#codec = codec;
    this.#view = view;
    this.#slot = slot;
    this.length = count;
    this.bytes = new Uint8Array(memory, slot * codec.slotBytes, count * codec.slotBytes);
  }

  /** The struct at `index`, as an object of its own; `undefined` outside the window. */
  at(index: number): Value | undefined {
    if (!this.#has(index)) return undefined;
    return this.#codec.read(this.#view, this.#slot + index);
  }

  /**
   * Puts a struct at `index`.
   *
   * @throws {RangeError} If `index` is outside the window, or a field outside its range.
   * @throws {TypeError} If a field has the wrong type.
   */
  set(index: number, value: Value): void {
    if (!this.#has(index)) {
      throw new RangeError(
        `Cannot set a struct: expected an index below ${this.length}, received ${describe(index)}`,
      );
    }
    this.#codec.write(this.#view, this.#slot + index, value);
  }

  #has(index: number): boolean {
    // A view that was detached has length 0: the window is gone.
    return Number.isInteger(index) && index >= 0 && index < this.length && this.bytes.length > 0;
  }
}

type Access = Pick<FixedCodec<object, object[], StructView>, "read" | "write">;

/** The value, or the field at `path`, is no object. */
function reject(value: unknown, path: string): never {
  const field = path === "" ? "" : `field ${path}: `;
  throw new TypeError(
    `Cannot send as a struct: ${field}expected an object, received ${describe(value)}`,
  );
}

function rejectField(type: ScalarName, path: string, value: unknown): never {
  try {
    checkScalar(type, value);
  } catch (error) {
    (error as Error).message = `Cannot send as a struct: field ${path}: ` +
      (error as Error).message.replace(/^Cannot send as \w+: /, "");
    throw error;
  }
  throw new TypeError(
    `Cannot send as a struct: expected another field ${path}, received ${describe(value)}`,
  );
}

/** The condition, in source form, under which `value` is not of a type. */
const misfits: Record<ScalarName, string> = {
  u8: "typeof value !== 'number' || (value & 0xff) !== value",
  i8: "typeof value !== 'number' || ((value << 24) >> 24) !== value",
  u16: "typeof value !== 'number' || (value & 0xffff) !== value",
  i16: "typeof value !== 'number' || ((value << 16) >> 16) !== value",
  u32: "typeof value !== 'number' || (value >>> 0) !== value",
  i32: "typeof value !== 'number' || (value | 0) !== value",
  f32: "!fits('f32', value)",
  f64: "typeof value !== 'number'",
  u64: "!fits('u64', value)",
  i64: "!fits('i64', value)",
};

function fits(type: ScalarName, value: unknown): boolean {
  try {
    checkScalar(type, value);
    return true;
  } catch {
    return false;
  }
}

const quote = (text: string) => JSON.stringify(text);

/** Generates `read` and `write` of one struct. Field names appear only as quoted strings. */
function compile({ leaves, slotBytes }: Plan, spec: StructSpec): Access {
  const index = ({ type, offset }: Leaf) => {
    const bytes = elementBytes[type];
    return `slot * ${slotBytes / bytes} + ${offset / bytes}`;
  };
  const key = (path: readonly string[]) => JSON.stringify(path);
  const leafAt = new Map(leaves.map((leaf) => [key(leaf.path), leaf]));
  const literal = (fields: StructSpec["fields"], path: readonly string[]): string => {
    const members = fields.map(([name, field]) => {
      const inner = [...path, name];
      if (field.kind === "struct") return `${quote(name)}: ${literal(field.fields, inner)}`;
      const leaf = leafAt.get(key(inner)) as Leaf;
      return `${quote(name)}: view.${leaf.type}[${index(leaf)}]`;
    });
    return `{ ${members.join(", ")} }`;
  };
  const stores = (fields: StructSpec["fields"], path: readonly string[], depth: number): string => {
    const source = `source${depth}`;
    return fields.map(([name, field]) => {
      const inner = [...path, name];
      if (field.kind === "struct") {
        const next = `source${depth + 1}`;
        return `{ const ${next} = ${source}[${quote(name)}];
          if (typeof ${next} !== "object" || ${next} === null) reject(${next}, ${
          quote(inner.join("."))
        });
          ${stores(field.fields, inner, depth + 1)} }`;
      }
      const leaf = leafAt.get(key(inner)) as Leaf;
      return `value = ${source}[${quote(name)}];
        if (${misfits[leaf.type]}) rejectField(${quote(leaf.type)}, ${
        quote(inner.join("."))
      }, value);
        view.${leaf.type}[${index(leaf)}] = value;`;
    }).join("\n");
  };
  const body = `"use strict";
    return {
      read(view, slot) { return ${literal(spec.fields, [])}; },
      write(view, slot, source0) {
        if (typeof source0 !== "object" || source0 === null) reject(source0, "");
        let value;
        ${stores(spec.fields, [], 0)}
      },
    };`;
  return new Function("reject", "rejectField", "fits", body)(reject, rejectField, fits) as Access;
}

/** The same as compile(), a field at a time. */
function interpret({ leaves, slotBytes }: Plan): Access {
  const place = ({ type, offset }: Leaf, slot: number) =>
    (slot * slotBytes + offset) / elementBytes[type];
  return {
    read(view, slot) {
      const value: Record<string, unknown> = {};
      for (const leaf of leaves) {
        let target = value;
        for (const name of leaf.path.slice(0, -1)) {
          target = (target[name] ??= {}) as Record<string, unknown>;
        }
        target[leaf.path.at(-1) as string] = view[leaf.type]?.[place(leaf, slot)];
      }
      return value;
    },
    write(view, slot, source) {
      for (const leaf of leaves) {
        let value: unknown = source;
        for (const [depth, name] of leaf.path.entries()) {
          if (typeof value !== "object" || value === null) {
            reject(value, leaf.path.slice(0, depth).join("."));
          }
          value = (value as Record<string, unknown>)[name];
        }
        if (!fits(leaf.type, value)) rejectField(leaf.type, leaf.path.join("."), value);
        (view[leaf.type] as { [index: number]: unknown })[place(leaf, slot)] = value;
      }
    },
  };
}

function access(layout: Plan, spec: StructSpec): Access {
  try {
    return compile(layout, spec);
  } catch (error) {
    if (error instanceof EvalError) return interpret(layout);
    throw error;
  }
}

/** Checks what may come from a user, or from a ticket that was tampered with. */
export function checkStructSpec({ fields }: StructSpec): void {
  if (!Array.isArray(fields)) {
    throw wrongType("make a struct", "the fields", "an array", fields);
  }
  if (fields.length === 0 || fields.length > fieldsMax) {
    throw new RangeError(
      `Cannot make a struct: expected 1 to ${fieldsMax} fields, received ${fields.length}`,
    );
  }
  for (const [name, spec] of fields) {
    // In an object literal this name would set the prototype instead of a field.
    if (typeof name !== "string" || name === "__proto__") {
      throw new TypeError(
        `Cannot make a struct: a field must have another name than "__proto__", received ${
          describe(name)
        }`,
      );
    }
    if (spec?.kind === "struct") {
      checkStructSpec(spec);
    } else if (!Object.hasOwn(scalars, spec?.kind ?? "")) {
      throw new TypeError(
        `Cannot make a struct: field ${name} must have a scalar or struct layout, received ${
          describe(spec?.kind ?? spec)
        }`,
      );
    }
  }
}

/** The codec of a struct. */
export function structCodec(spec: StructSpec): FixedCodec<object, object[], StructView> {
  const layout = plan(spec);
  const { read, write } = access(layout, spec);
  const types = [...new Set(layout.leaves.map(({ type }) => type))];
  const codec: FixedCodec<object, object[], StructView> = {
    kind: "fixed",
    slotBytes: layout.slotBytes,
    runsUserCode: true,
    bind: (memory) =>
      Object.fromEntries([
        ["memory", memory],
        ...types.map((type) => [type, new elementArrays[type](memory)]),
      ]) as StructView,
    read,
    write,
    writeMany(view, slot, values, from, count) {
      for (let index = 0; index < count; index++) {
        write(view, slot + index, values[from + index] as object);
      }
    },
    readMany(view, slot, count) {
      const values = new Array<object>(count);
      for (let index = 0; index < count; index++) values[index] = read(view, slot + index);
      return values;
    },
    readInto(view, slot, count, out, at) {
      checkTarget(out);
      for (let index = 0; index < count; index++) out[at + index] = read(view, slot + index);
    },
    join: (batches) => batches.flat(),
    window: (view, slot, count) =>
      new StructWindow<object>(
        codec as FixedCodec<object, object[]>,
        view,
        view.memory,
        slot,
        count,
      ),
  };
  return codec;
}

/**
 * Objects with fixed fields, each of a scalar layout or a struct again. The type of the values
 * follows from the fields. Fields lie in the order given, each at its natural alignment.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { f64, mpsc, struct, u32, u64 } from "millrace";
 *
 * const trade = struct({ id: u64, price: f64, quantity: u32 });
 * using channel = mpsc(trade, { capacity: 1024 });
 * const sender = channel.sender();
 * const receiver = channel.receiver();
 * sender.trySend({ id: 1n, price: 99.5, quantity: 3 });
 * const { value } = receiver.tryReceive() as { value: { price: number } };
 * assert(value.price === 99.5);
 * ```
 *
 * @throws {TypeError} If `fields` is not an object of scalar and struct layouts.
 * @throws {RangeError} If there is no field, or more than 256.
 */
export function struct<const Fields extends StructFields>(
  fields: Fields,
): Layout<StructValue<Fields>> {
  if (typeof fields !== "object" || fields === null) {
    throw new TypeError(
      `Cannot make a struct: expected an object of layouts, received ${describe(fields)}`,
    );
  }
  const entries = Object.entries(fields).map(([name, layout]) => [name, layout?.spec] as const);
  const spec = { kind: "struct", fields: entries } as StructSpec;
  checkStructSpec(spec);
  return defineLayout(spec, structCodec(spec)) as unknown as Layout<StructValue<Fields>>;
}
