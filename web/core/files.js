// Keys as the files of a directory and back, as `vardr export` and `vardr import` have it: a file is a key with the file's bytes and
// without a type, an empty directory is one.

import { ofText, textOf } from "./name.js";

// The longest name that file systems take, and the longest key, in bytes.
const LONGEST_NAME = 255;
const LONGEST_KEY = 4096;

// Why there can be no file for a key, as the end of a key of the texts.
function whyNot(relative) {
  const names = relative.replace(/\/$/, "").split("/");
  if (names.some((name) => name === "" || name === "." || name === ".." || name.includes("\0") || name.length > LONGEST_NAME)) return "name";
  return textOf(relative) === null ? "utf8" : undefined;
}

// The files of keys `[relative, bytes]` that come in order of their names, directories with a slash behind theirs. Why one is not
// among them is told to `leaveOut`. A key that is also a directory is none: it is held until that is known.
export class Files {
  #held = [];

  constructor(add, leaveOut) {
    Object.assign(this, { add, leaveOut });
  }

  take(relative, bytes) {
    // The marker of the directory itself.
    if (relative === "") return;
    const why = whyNot(relative);
    if (why !== undefined) return this.leaveOut(relative, why);
    this.#settle(relative);
    if (!relative.endsWith("/")) return this.#held.push([relative, bytes]);
    if (bytes.length > 0) this.leaveOut(relative, "value");
    return this.add(relative, new Uint8Array());
  }

  // `a` stands before `a!` and `a/b`, and those before `a0`.
  #settle(next) {
    const isOver = ([name]) => next === undefined || next >= `${name}0`;
    const isWithin = ([name]) => next?.startsWith(`${name}/`);
    for (const file of this.#held.filter(isOver)) this.add(...file);
    for (const [name] of this.#held.filter(isWithin)) this.leaveOut(name, "directory");
    this.#held = this.#held.filter((file) => !isOver(file) && !isWithin(file));
  }

  finish() {
    this.#settle();
  }
}

// The keys of files `{ path, file }` below a directory, in order: `{ name, file }`, or `{ name }` for a directory in which there is
// nothing, whose path ends in a slash.
export function keysOfFiles(directory, files, leaveOut) {
  const keys = files.map(({ path, file }) => ({ name: directory + ofText(path), file }));
  const isTaken = ({ name }, at) => {
    // A browser gives names that are not UTF-8 with this in place of what it could not read.
    const why = files[at].path.includes("\ufffd") ? "utf8" : name.length > LONGEST_KEY ? "key" : undefined;
    if (why !== undefined) leaveOut(name, why);
    return why === undefined;
  };
  return keys.filter(isTaken).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

// Files as a person drops them: a folder is what is in it; several are what is in a folder.
export async function dropped(entries) {
  const files = [];
  const isAlone = entries.length === 1 && entries[0].isFile;
  const asked = (ask) => new Promise(ask);
  const walk = async (entry, path) => {
    if (entry.isFile) return files.push({ path, file: await asked((...of) => entry.file(...of)), isAlone });
    const reader = entry.createReader();
    const before = files.length;
    for (;;) {
      const some = await asked((...of) => reader.readEntries(...of));
      if (some.length === 0) break;
      for (const inner of some) await walk(inner, `${path}${path && "/"}${inner.name}`);
    }
    return files.length === before && files.push({ path: `${path}${path && "/"}` });
  };
  for (const entry of entries) await walk(entry, entries.length === 1 && entry.isDirectory ? "" : entry.name);
  return files;
}
