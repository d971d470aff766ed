/**
 * As much of ELF as it takes to know what a shared library exports and needs.
 * https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html
 *
 * @module
 */

import { readFileSync } from "node:fs";

/** What a 64-bit little-endian shared library says about itself. */
export interface Elf {
  /** `e_machine`. */
  readonly machine: number;
  /** Functions it defines for others, sorted. */
  readonly functions: readonly string[];
  /** Other symbols it defines for others, sorted. */
  readonly objects: readonly string[];
  /** The libraries it needs. */
  readonly needed: readonly string[];
  /** The versions of symbols it asks of them, as `GLIBC_2.28`. */
  readonly versions: readonly string[];
  /** The names of its sections. */
  readonly sections: readonly string[];
  /** Whether it still has the symbol table that linkers leave for debuggers. */
  readonly hasSymbolTable: boolean;
}

const machineOffset = 18;
const sectionTypes = { symtab: 2, dynamic: 6, dynsym: 11 } as const;

interface Section {
  readonly name: string;
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

/** Reads a shared library. */
export function readElf(path: string): Elf {
  const bytes = readFileSync(path);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u16 = (offset: number) => view.getUint16(offset, true);
  const u32 = (offset: number) => view.getUint32(offset, true);
  const u64 = (offset: number) => Number(view.getBigUint64(offset, true));
  if (u32(0) !== 0x464c457f || bytes[4] !== 2 || bytes[5] !== 1) {
    throw new Error("expected a 64-bit little-endian ELF file");
  }
  const text = (offset: number) => bytes.toString("latin1", offset, bytes.indexOf(0, offset));

  const [headers, stride, count, namesIndex] = [u64(0x28), u16(0x3a), u16(0x3c), u16(0x3e)];
  const section = (index: number): Section => {
    const at = headers + index * stride;
    const names = u64(headers + namesIndex * stride + 0x18);
    return {
      name: text(names + u32(at)),
      type: u32(at + 4),
      offset: u64(at + 0x18),
      size: u64(at + 0x20),
      link: u32(at + 0x28),
    };
  };
  const sections = Array.from({ length: count }, (_, index) => section(index));
  const find = (type: number) => {
    const found = sections.find((section) => section.type === type);
    if (found === undefined) throw new Error(`the library has no section of type ${type}`);
    return { ...found, strings: section(found.link) };
  };

  const functions: string[] = [];
  const objects: string[] = [];
  const dynsym = find(sectionTypes.dynsym);
  for (let at = dynsym.offset; at < dynsym.offset + dynsym.size; at += 24) {
    const [info, definedIn] = [view.getUint8(at + 4), u16(at + 6)];
    const [binding, type] = [info >> 4, info & 0xf];
    if (definedIn === 0 || binding === 0) continue;
    (type === 2 ? functions : objects).push(text(dynsym.strings.offset + u32(at)));
  }

  const needed: string[] = [];
  const dynamic = find(sectionTypes.dynamic);
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    if (u64(at) === 1) needed.push(text(dynamic.strings.offset + u64(at + 8)));
  }

  const { offset, size } = dynsym.strings;
  const versions = bytes.toString("latin1", offset, offset + size).split("\0")
    .filter((name) => /^GLIBC_/.test(name));
  return {
    machine: u16(machineOffset),
    functions: functions.sort(),
    objects: objects.sort(),
    needed,
    versions,
    sections: sections.map(({ name }) => name),
    hasSymbolTable: sections.some(({ type }) => type === sectionTypes.symtab),
  };
}

/** A copy of an ELF file that claims to be for another machine. */
export function withMachine(path: string, machine: number): Uint8Array {
  const copy = new Uint8Array(readFileSync(path));
  new DataView(copy.buffer).setUint16(machineOffset, machine, true);
  return copy;
}
