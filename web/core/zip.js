// A ZIP archive (APPNOTE 6.3.10) of files that are stored as they are, under names in UTF-8, as one Blob. Without ZIP64 it holds
// 65,535 entries and 4 GiB.

import { DocumentError } from "./document.js";
import { bytesOf } from "./name.js";

const MOST_ENTRIES = 0xffff;
const MOST_BYTES = 0xffff_fffe;
// So many bytes are held by the page; the browser keeps what is a Blob where it has room, on disk too.
const HELD = 8 * 1024 * 1024;
// Version 2.0 is what directories take; names are UTF-8; files are those of Unix, which has no other use for a backslash.
const [VERSION, UTF8, UNIX] = [20, 0x0800, 3 << 8];
const [FILE, DIRECTORY] = [0o100644 * 0x1_0000, 0o40755 * 0x1_0000 + 0x10];

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit += 1) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

// The CRC-32 of ISO 3309.
export function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// Numbers one after the other, little end first, each with its width in bytes.
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [width]) => sum + width, 0)));
  let at = 0;
  for (const [width, value] of fields) {
    view[`setUint${width * 8}`](at, value, true);
    at += width;
  }
  return view;
}

export class Zip {
  #parts = [];
  #held = 0;
  #offset = 0;
  #directory = [];
  #directoryBytes = 0;
  #when;

  constructor(now = new Date()) {
    const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
    this.#when = [[2, time], [2, ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate()]];
  }

  // Adds a file, or a directory, whose name ends in a slash. Throws a DocumentError when there is no room for it.
  add(name, bytes) {
    const words = bytesOf(name);
    const grown = this.#offset + this.#directoryBytes + bytes.length + 2 * words.length + 98;
    if (this.#directory.length / 2 >= MOST_ENTRIES || grown > MOST_BYTES) throw new DocumentError("zip");
    const size = [4, bytes.length];
    const common = [[2, VERSION], [2, UTF8], [2, 0], ...this.#when, [4, crc32(bytes)], size, size, [2, words.length], [2, 0]];
    const kind = name.endsWith("/") ? DIRECTORY : FILE;
    const central = record([4, 0x02014b50], [2, UNIX | VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, kind], [4, this.#offset]);
    this.#directory.push(central, words);
    this.#directoryBytes += central.byteLength + words.length;
    for (const part of [record([4, 0x04034b50], ...common), words, bytes]) {
      this.#parts.push(part);
      this.#held += part.byteLength;
      this.#offset += part.byteLength;
    }
    if (this.#held < HELD) return;
    this.#parts = [new Blob(this.#parts)];
    this.#held = 0;
  }

  finish() {
    const count = [2, this.#directory.length / 2];
    const end = record([4, 0x06054b50], [2, 0], [2, 0], count, count, [4, this.#directoryBytes], [4, this.#offset], [2, 0]);
    return new Blob([...this.#parts, ...this.#directory, end]);
  }
}
