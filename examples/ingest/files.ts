/** Which files are read: found once, so that every run reads the same. */

import { closeSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { extname, join } from "node:path";
import { Pacer } from "./pacer.ts";

/** A text file to be read. */
export interface SourceFile {
  readonly path: string;
  /** With its dot and in lower case; "(none)" when there is none. */
  readonly extension: string;
  /** Its length when it was found. What is appended later is not read. */
  readonly bytes: number;
}

/** What was found below a directory. */
export interface FileList {
  readonly files: readonly SourceFile[];
  readonly bytes: number;
  /** Regular files below the directory. */
  readonly found: number;
  /** Those that were looked at and are not text. */
  readonly binary: number;
  /** Directories and files that could not be read. */
  readonly unreadable: number;
}

/** As git does it: what has a NUL byte near its start is not text. */
const probeBytes = 8000;

/**
 * Lists text files below `directory`: all of them, or, when they are more than `limitBytes`, a part
 * that is spread over the directory and always the same. Symbolic links are not followed.
 *
 * @throws If `directory` itself cannot be read.
 */
export async function listFiles(
  directory: string,
  limitBytes: number,
  signal: AbortSignal,
  progress: (found: number) => void,
): Promise<FileList> {
  const pacer = new Pacer(signal);
  const files: SourceFile[] = [];
  let bytes = 0;
  let binary = 0;
  const { names, unreadableDirectories } = await walk(directory, pacer, progress);
  let unreadable = unreadableDirectories;
  const probe = new Uint8Array(probeBytes);
  for (const name of scatter(names)) {
    if (bytes >= limitBytes || signal.aborted) break;
    await pacer.pause();
    const path = join(directory, name);
    const kind = look(path, probe);
    if (kind === "unreadable") unreadable++;
    else if (kind === "binary") binary++;
    else {
      files.push({ path, extension: extname(name).toLowerCase() || "(none)", bytes: kind.bytes });
      bytes += kind.bytes;
    }
  }
  return { files, bytes, found: names.length, binary, unreadable };
}

/** The paths of the regular files below `directory`, relative to it. */
async function walk(directory: string, pacer: Pacer, progress: (found: number) => void) {
  const names: string[] = [];
  const pending = [""];
  let unreadableDirectories = 0;
  for (let parent = pending.pop(); parent !== undefined; parent = pending.pop()) {
    if (await pacer.pause()) progress(names.length);
    if (pacer.signal.aborted) break;
    try {
      for (const entry of readdirSync(join(directory, parent), { withFileTypes: true })) {
        const name = join(parent, entry.name);
        if (entry.isDirectory()) pending.push(name);
        else if (entry.isFile()) names.push(name);
      }
    } catch (error) {
      if (parent === "") throw error;
      unreadableDirectories++;
    }
  }
  return { names, unreadableDirectories };
}

/** An order without regard to directories, the same wherever and whenever they are listed. */
function scatter(names: readonly string[]): string[] {
  return names
    .map((name) => ({ name, key: hashOf(name) }))
    .sort((a, b) => a.key - b.key || (a.name < b.name ? -1 : 1))
    .map(({ name }) => name);
}

function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  }
  // The last characters, an extension, must not decide on the upper bits alone.
  return Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0;
}

function look(path: string, probe: Uint8Array): "unreadable" | "binary" | { bytes: number } {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    const bytes = fstatSync(file).size;
    const length = readSync(file, probe, 0, probe.length, 0);
    return probe.subarray(0, length).includes(0) ? "binary" : { bytes };
  } catch {
    return "unreadable";
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
