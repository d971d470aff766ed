import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import {
  abiVersion,
  Bells,
  HugePages,
  Kind,
  Limits,
  nativeSymbols,
  Numa,
  Role,
  Status,
  StructBytes,
  symbols as openedSymbols,
} from "../ffi/abi.ts";
import { compile, compilers } from "./support/compiler.ts";
import { readElf } from "./support/elf.ts";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const symbols = { ...openedSymbols, ...nativeSymbols };
const libraryPath = path("../zig/zig-out/lib/libmillrace.so");
const headerPath = path("../zig/include/millrace.h");
const header = readFileSync(headerPath, "utf8");
const code = header.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");

/** The declarations of the header: name, and the table's type for result and parameters. */
function declarations(): Map<string, { parameters: string[]; result: string }> {
  const tableType = (type: string) => {
    const words = type.trim();
    if (/[*\]]/.test(words)) return "buffer";
    if (words === "double") return "f64";
    const scalar = /^(u?)int32_t\b/.exec(words);
    return scalar === null ? words : scalar[1] === "u" ? "u32" : "i32";
  };
  const found = [...code.matchAll(/^\s*([\w ]+?)\s+\*?(millrace_\w+)\s*\(([^)]*)\)\s*;/gm)];
  return new Map(found.map(([, result = "", name = "", list = ""]) => {
    const parameters = /^\s*(void)?\s*$/.test(list) ? [] : list.split(",").map(tableType);
    return [name, { parameters, result: tableType(result) }];
  }));
}

test("the table of ffi/abi.ts names the functions the library exports, and no others", () => {
  const elf = readElf(libraryPath);
  assert.deepEqual(Object.keys(symbols).sort(), elf.functions);
  assert.deepEqual(elf.objects, []);
});

test("the table of ffi/abi.ts and millrace.h declare the same functions, parameters and results", () => {
  const declared = declarations();
  assert.deepEqual([...declared.keys()].sort(), Object.keys(symbols).sort());
  for (const [name, { parameters, result }] of Object.entries(symbols)) {
    assert.deepEqual(declared.get(name), { parameters: [...parameters], result }, name);
  }
});

test("the comments of ffi/abi.ts give the C name of every parameter, as in millrace.h", () => {
  const table = readFileSync(path("../ffi/abi.ts"), "utf8");
  for (const [, name = "", list = ""] of code.matchAll(/\b(millrace_\w+)\s*\(([^)]*)\)\s*;/g)) {
    const entry = table.slice(table.indexOf(`  ${name}: {`)).split("\n  },")[0] ?? "";
    for (const parameter of list.split(",").map((text) => text.trim())) {
      if (parameter === "void") continue;
      const cName = /(\w+)(\[\d*\])?$/.exec(parameter)?.[1] ?? "";
      assert.match(entry, new RegExp(`//.*\\b${cName}\\b`), `${name}: ${parameter}`);
    }
  }
});

test("the numbers of ffi/abi.ts are those of millrace.h", () => {
  const constants = new Map(
    [...code.matchAll(/\b(MILLRACE_\w+)\s*(?:=|\s)\s*(-?\d+)\b/g)]
      .map(([, name = "", value]) => [name, Number(value)]),
  );
  const upper = (name: string) => name.replaceAll(/[A-Z]/g, "_$&").toUpperCase();
  assert.equal(constants.get("MILLRACE_ABI_VERSION"), abiVersion);
  for (const [name, value] of Object.entries(Status)) {
    assert.equal(constants.get(`MILLRACE_${upper(name)}`), value, name);
  }
  for (const [name, value] of Object.entries(Role)) {
    assert.equal(constants.get(`MILLRACE_${upper(name)}`), value, name);
  }
  for (const [name, value] of Object.entries(Kind)) {
    assert.equal(constants.get(`MILLRACE_${upper(name)}`), value, name);
  }
  for (const [name, value] of Object.entries(Numa)) {
    assert.equal(constants.get(`MILLRACE_NUMA_${upper(name)}`), value, name);
  }
  for (const [name, value] of Object.entries(HugePages)) {
    assert.equal(constants.get(`MILLRACE_HUGE_PAGES_${upper(name)}`), value, name);
  }
  for (const [name, value] of Object.entries(Bells)) {
    assert.equal(constants.get(`MILLRACE_BELL_${upper(name)}`), value, name);
  }
  assert.equal(constants.get("MILLRACE_BUCKETS"), Limits.buckets);
  const strategies = ["spin", "yield", "sleep", "block", "timed", "phased"];
  assert.deepEqual(
    strategies.map((name) => constants.get(`MILLRACE_${name.toUpperCase()}`)),
    [0, 1, 2, 3, 4, 5],
  );
});

/** The structs whose size the header tells. */
const structs = {
  millrace_channel_options: StructBytes.channelOptions,
  millrace_ticket: StructBytes.ticket,
  millrace_mailbox: StructBytes.mailbox,
  millrace_endpoint_info: StructBytes.endpointInfo,
  millrace_statistics: StructBytes.statistics,
  millrace_ring_request: StructBytes.ringRequest,
  millrace_ring_statistics: StructBytes.ringStatistics,
  millrace_latency: StructBytes.latency,
  millrace_bucket: StructBytes.bucket,
  millrace_topology: StructBytes.topology,
  millrace_topology_node: StructBytes.topologyNode,
  millrace_placement: StructBytes.placement,
  millrace_share_options: StructBytes.shareOptions,
  millrace_connect_options: StructBytes.connectOptions,
};

const standards = [
  { language: "c", standard: "c11", file: "use.c", assertion: "_Static_assert" },
  { language: "c++", standard: "c++17", file: "use.cc", assertion: "static_assert" },
] as const;

for (const { language, standard, file, assertion } of standards) {
  test(`millrace.h compiles as ${standard} with -Wall -Wextra -Werror, with structs of the sizes of ffi/abi.ts`, () => {
    const found = compilers(language);
    assert.ok(found.length > 0, "Zig brings a compiler, if nothing else does");
    const directory = mkdtempSync(join(tmpdir(), "millrace-"));
    try {
      const source = join(directory, file);
      const sizes = Object.entries(structs)
        .map(([name, bytes]) => `${assertion}(sizeof(${name}) == ${bytes}, "${name}");`);
      writeFileSync(
        source,
        [
          '#include "millrace.h"',
          '#include "millrace.h"',
          ...sizes,
          "int main(void) { return millrace_abi_version() == MILLRACE_ABI_VERSION ? 0 : 1; }",
          "",
        ].join("\n"),
      );
      const { command } = found[0] as { command: string[] };
      const warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic"];
      const include = path("../zig/include");
      const object = join(directory, "use.o");
      const flags = [`-std=${standard}`, ...warnings, "-I", include, "-c", source, "-o", object];
      compile(command, flags);
      // What the compiler would say if it looked: the assertions are no decoration.
      writeFileSync(
        source,
        `#include "millrace.h"\n${assertion}(sizeof(millrace_ticket) == 1, "");\n`,
      );
      assert.throws(() => compile(command, flags));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

test("the library is stripped, smaller than 400 KB, and needs nothing but libc 2.28", () => {
  const elf = readElf(libraryPath);
  assert.equal(elf.hasSymbolTable, false);
  assert.deepEqual(elf.sections.filter((name) => name.startsWith(".debug")), []);
  assert.ok(statSync(libraryPath).size < 400 * 1024);
  const libc = /^(libc\.so\.6|libpthread\.so\.0|libdl\.so\.2|ld-linux.*|libc\.musl-.*|libc\.so)$/;
  for (const name of elf.needed) assert.match(name, libc);
  for (const version of elf.versions) {
    const [major = 0, minor = 0] = version.replace("GLIBC_", "").split(".").map(Number);
    assert.ok(major === 2 && minor <= 28, version);
  }
  assert.equal(elf.machine, { x64: 62, arm64: 183 }[process.arch as string]);
});
