import assert from "node:assert/strict";
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { abiVersion, symbols } from "../ffi/abi.ts";
import { UnsupportedPlatformError } from "../ffi/errors.ts";
import { platformOf } from "../ffi/platform.ts";
import { compile, compilers } from "./support/compiler.ts";
import { withMachine } from "./support/elf.ts";
import { runChild, runtime } from "./support/runtime.ts";

const libraryPath = fileURLToPath(new URL("../zig/zig-out/lib/libmillrace.so", import.meta.url));
const cCompiler = compilers("c")[0]?.command;

interface Outcome {
  readonly value?: number;
  readonly error?: { readonly name: string; readonly code: string; readonly message: string };
}

/** Runs a program that uses the library at `path`. It must end by itself, with one JSON line. */
async function load(path: string | undefined): Promise<Outcome> {
  const environment: Record<string, string> = path === undefined ? {} : { MILLRACE_LIB: path };
  const child = await runChild("child_load.ts", [], { environment });
  assert.equal(child.signal, null);
  assert.equal(child.code, 0, child.stderr);
  return JSON.parse(child.stdout);
}

/** Expects one clear error that names the file, and the environment variable that named it. */
async function loadFails(path: string, code: string, says: RegExp): Promise<void> {
  const { value, error } = await load(path);
  assert.equal(value, undefined);
  assert.equal(error?.name, "LibraryError");
  assert.equal(error.code, code, error.message);
  assert.match(error.message, /^Cannot /);
  assert.ok(error.message.includes(path), error.message);
  assert.match(error.message, /environment variable MILLRACE_LIB/);
  assert.match(error.message, says);
}

function inDirectory(use: (directory: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const directory = mkdtempSync(join(tmpdir(), "millrace-"));
    try {
      await use(directory);
    } finally {
      rmSync(directory, { recursive: true });
    }
  };
}

/** A library in C that has every function of the table, and answers another ABI version. */
function stubs(names: readonly string[], version: number): string {
  return names.map((name) =>
    name === "millrace_abi_version"
      ? `unsigned ${name}(void) { return ${version}u; }`
      : `int ${name}(void) { return -1; }`
  ).join("\n") + "\n";
}

test("the library is found where it was built", async () => {
  assert.deepEqual(await load(undefined), { value: 7 });
});

test(
  "the library is taken from MILLRACE_LIB when that is set",
  inDirectory(async (directory) => {
    const path = join(directory, "with spaces, symbol & undefined", "copy.so");
    mkdirSync(join(path, ".."));
    copyFileSync(libraryPath, path);
    assert.deepEqual(await load(path), { value: 7 });
  }),
);

test(
  "MILLRACE_LIB that points nowhere, or to a directory, is LIBRARY_NOT_FOUND and nothing else is tried",
  inDirectory(async (directory) => {
    await loadFails(join(directory, "absent.so"), "LIBRARY_NOT_FOUND", /looked for/);
    await loadFails(join(directory, "a", "b.so"), "LIBRARY_NOT_FOUND", /looked for/);
    await loadFails(directory, "LIBRARY_NOT_FOUND", /looked for/);
  }),
);

test(
  "MILLRACE_LIB that points to a file of text, or an empty one, is an error that says so",
  inDirectory(async (directory) => {
    const path = join(directory, "text.so");
    for (const text of ["", "E", "this is not a library\n".repeat(100)]) {
      writeFileSync(path, text);
      await loadFails(path, "LIBRARY_WRONG_ARCHITECTURE", /is not a shared library/);
    }
  }),
);

test(
  "a library of another machine is LIBRARY_WRONG_ARCHITECTURE, and names both",
  inDirectory(async (directory) => {
    const path = join(directory, "other.so");
    const others = [["arm64", 183], ["x64", 62], ["ELF machine 243", 243]] as const;
    for (const [name, machine] of others) {
      if (name === process.arch) continue;
      writeFileSync(path, withMachine(libraryPath, machine));
      const says = new RegExp(`is built for ${name}, this is ${process.arch}`);
      await loadFails(path, "LIBRARY_WRONG_ARCHITECTURE", says);
    }
  }),
);

test(
  "a library cut short is an error that names it",
  inDirectory(async (directory) => {
    const path = join(directory, "short.so");
    writeFileSync(path, withMachine(libraryPath, process.arch === "x64" ? 62 : 183).slice(0, 100));
    await loadFails(path, "LIBRARY_NOT_FOUND", /Cannot open/);
  }),
);

(cCompiler === undefined ? test.skip : test)(
  "a library with another ABI version is LIBRARY_ABI_MISMATCH, and names both versions",
  inDirectory(async (directory) => {
    const [source, path] = [join(directory, "stub.c"), join(directory, "stub.so")];
    writeFileSync(source, stubs(Object.keys(symbols), 999));
    compile(cCompiler as string[], ["-shared", "-fPIC", source, "-o", path]);
    const says = new RegExp(`has ABI version 999, this module needs ${abiVersion}`);
    await loadFails(path, "LIBRARY_ABI_MISMATCH", says);
  }),
);

(cCompiler === undefined ? test.skip : test)(
  "a library that lacks functions is LIBRARY_ABI_MISMATCH, and the version it has is named",
  inDirectory(async (directory) => {
    const [source, path] = [join(directory, "stub.c"), join(directory, "stub.so")];
    for (const names of [["millrace_abi_version"], ["something_else"]]) {
      writeFileSync(source, stubs(names, 999));
      compile(cCompiler as string[], ["-shared", "-fPIC", source, "-o", path]);
      await loadFails(path, "LIBRARY_ABI_MISMATCH", /lacks a function|ABI version/);
    }
  }),
);

/** A copy of the module without a library, and the two places where it looks for one. */
function copyModule(directory: string) {
  const root = join(directory, "a copy");
  for (const part of ["mod.ts", "src", "ffi", "deno.json", "package.json", "tests/support"]) {
    cpSync(fileURLToPath(new URL(`../${part}`, import.meta.url)), join(root, part), {
      recursive: true,
    });
  }
  const script = pathToFileURL(join(root, "tests/support/child_load.ts")).href;
  return {
    packaged: join(root, `prebuilt/linux-${process.arch}/libmillrace.so`),
    built: join(root, "zig/zig-out/lib/libmillrace.so"),
    async load(): Promise<Outcome> {
      const child = await runChild(script, [], { environment: { MILLRACE_LIB: "" } });
      assert.equal(child.code, 0, child.stderr);
      return JSON.parse(child.stdout);
    },
  };
}

test(
  "without MILLRACE_LIB the packaged library is taken, else the one that was built",
  inDirectory(async (directory) => {
    const { packaged, built, load } = copyModule(directory);
    const none = (await load()).error;
    assert.equal(none?.code, "LIBRARY_NOT_FOUND");
    assert.ok(
      none.message.includes(`looked for ${packaged} (the packaged binary), then ${built} (a local`),
      none.message,
    );
    for (const path of [packaged, built]) mkdirSync(dirname(path), { recursive: true });
    copyFileSync(libraryPath, built);
    assert.deepEqual(await load(), { value: 7 });
    // The packaged one comes first: an error in it is not hidden by one that could be used.
    writeFileSync(packaged, "this is not a library");
    const first = (await load()).error;
    assert.equal(first?.code, "LIBRARY_WRONG_ARCHITECTURE");
    assert.ok(
      first.message.includes(`from the packaged binary: ${packaged} is not`),
      first.message,
    );
    copyFileSync(libraryPath, packaged);
    writeFileSync(built, "this is not a library");
    assert.deepEqual(await load(), { value: 7 });
  }),
);

test("a runtime that is too old is an UnsupportedPlatformError that names what is found and needed", () => {
  const linux = { system: "linux", architecture: "x64" };
  const recent = { deno: ["2.8.0", "2.10.1", "3.0.0-rc.1+abc"], bun: ["1.4.0", "1.10.2", "2.0.0"] };
  const old = { deno: ["2.7.14", "1.46.3"], bun: ["1.3.11", "0.8.0"] };
  for (const runtime of ["deno", "bun"] as const) {
    for (const version of recent[runtime]) {
      const platform = platformOf({ [runtime]: version, ...linux });
      assert.deepEqual(platform, { runtime, architecture: "x64" });
    }
    for (const version of old[runtime]) {
      assert.throws(() => platformOf({ [runtime]: version, ...linux }), (error) => {
        assert.ok(error instanceof UnsupportedPlatformError);
        assert.equal(error.code, "UNSUPPORTED_PLATFORM");
        const says = `needs Deno 2.8 or Bun 1.4, or later, on Linux, x86-64 or arm64; ` +
          `found ${runtime} ${version} on linux, x64`;
        assert.ok(error.message.endsWith(says), error.message);
        return true;
      });
    }
  }
  assert.throws(() => platformOf(linux), /found another runtime on linux, x64/);
});

test("the stage oldest runs the oldest versions that are promised", () => {
  const file = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
  const { engines } = JSON.parse(file("package.json")) as {
    engines: Record<"deno" | "bun", string>;
  };
  for (const runtime of ["deno", "bun"] as const) {
    const tested = new RegExp(`OLDEST = {.*\\b${runtime}: "(\\d+\\.\\d+)\\.0"`);
    const [, version = ""] = tested.exec(file("tools/oldest.mjs")) ?? [];
    assert.equal(engines[runtime], `>=${version}`);
    const linux = { system: "linux", architecture: "x64" };
    platformOf({ [runtime]: version, ...linux });
    const [major, minor] = version.split(".").map(Number);
    const before = `${major}.${(minor ?? 0) - 1}`;
    assert.throws(() => platformOf({ [runtime]: before, ...linux }), UnsupportedPlatformError);
  }
});

test("another system or processor is an UnsupportedPlatformError that names both", async () => {
  const foreign = {
    "platform=darwin": /found (deno|bun) [\d.]+ on darwin, (x64|arm64)/,
    "arch=riscv64": /found (deno|bun) [\d.]+ on linux, riscv64/,
  };
  for (const [parameter, says] of Object.entries(foreign)) {
    const child = await runChild("child_load.ts", [parameter]);
    assert.equal(child.code, 0, child.stderr);
    const { error } = JSON.parse(child.stdout) as Outcome;
    assert.equal(error?.name, "UnsupportedPlatformError");
    assert.equal(error.code, "UNSUPPORTED_PLATFORM");
    assert.match(
      error.message,
      /^Cannot load Millrace: it needs Deno 2\.8 or Bun 1\.4, or later, on Linux/,
    );
    assert.match(error.message, says);
  }
});

(runtime === "deno" ? test : test.skip)(
  "Deno needs --allow-ffi and no other permission, and says so when it is missing",
  async () => {
    const allowed = await runChild("child_load.ts", [], { permissions: ["--allow-ffi"] });
    assert.equal(allowed.code, 0, allowed.stderr);
    assert.deepEqual(JSON.parse(allowed.stdout), { value: 7 });
    const denied = await runChild("child_load.ts", [], {
      permissions: ["--allow-read", "--allow-env"],
    });
    assert.equal(denied.code, 0, denied.stderr);
    const { error } = JSON.parse(denied.stdout) as Outcome;
    assert.equal(error?.name, "NotCapable");
    assert.match(error.message, /--allow-ffi/);
  },
);

(runtime === "deno" ? test : test.skip)(
  "Deno with --allow-ffi for the library's path says at once that this is not enough",
  async () => {
    const { code, stdout, stderr } = await runChild("child_load.ts", [], {
      permissions: [`--allow-ffi=${libraryPath}`, "--allow-env"],
      environment: { MILLRACE_LIB: libraryPath },
    });
    assert.equal(code, 0, stderr);
    const { error } = JSON.parse(stdout) as Outcome;
    assert.equal(error?.name, "LibraryError");
    assert.equal(error.code, "FFI_NOT_ALLOWED");
    assert.match(error.message, /needs all of --allow-ffi, received a permission for some paths/);
  },
);

test(`the module alone loads no library: importing it under ${runtime} needs none`, async () => {
  const child = await runChild("child_import.ts", [], {
    environment: { MILLRACE_LIB: "/nonexistent/libmillrace.so" },
  });
  assert.equal(child.code, 0, child.stderr);
  assert.equal(child.stdout.trim(), "imported");
});
