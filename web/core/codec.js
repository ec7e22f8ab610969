// A value as text that can be read and changed, and back: each form is exact, or says that it cannot be.

import { parseJson } from "./json.js";
import { bytesOf, ofBytes } from "./name.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// The bytes as UTF-8; null when they are not.
export function textOfBytes(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

export const bytesOfText = (text) => encoder.encode(text);

const hexByte = (byte) => byte.toString(16).padStart(2, "0");

function ofHex(text) {
  const digits = text.replace(/\s+/g, "");
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(digits)) throw new SyntaxError("hex");
  return Uint8Array.from({ length: digits.length / 2 }, (_, at) => parseInt(digits.slice(2 * at, 2 * at + 2), 16));
}

function toHex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) lines.push(Array.from(bytes.subarray(at, at + 16), hexByte).join(" "));
  return lines.join("\n");
}

export function toBase64(bytes) {
  return btoa(ofBytes(bytes)).replace(/.{76}(?=.)/g, "$&\n");
}

function ofBase64(text) {
  try {
    return bytesOf(atob(text.replace(/\s+/g, "")));
  } catch {
    throw new SyntaxError("base64");
  }
}

// What a person can look at and change a value as. YAML is read and written by the server: it is another writing of JSON, or what the
// key itself holds.
export const FORMS = ["text", "json", "yaml", "hex", "base64"];
export const isText = (form) => form !== "hex" && form !== "base64";

export const textIn = (form, bytes) => (form === "hex" ? toHex(bytes) : form === "base64" ? toBase64(bytes) : textOfBytes(bytes));

// Throws a SyntaxError or JsonError whose `message` says which rule is broken.
export function bytesIn(form, text) {
  if (form === "hex") return ofHex(text);
  if (form === "base64") return ofBase64(text);
  if (form === "json") parseJson(text);
  return bytesOfText(text);
}

export function isJson(bytes) {
  try {
    return parseJson(textOfBytes(bytes) ?? "") !== undefined;
  } catch {
    return false;
  }
}

// The form in which a value is shown first.
export function formOf(bytes, contentType) {
  const text = textOfBytes(bytes);
  if (text === null || /[\x00-\x08\x0e-\x1a]/.test(text)) return "hex";
  const isDocument = /^\s*[[{]/.test(text) || /\bjson\b/.test(contentType ?? "");
  return isDocument && isJson(bytes) ? "json" : "text";
}

// Bytes as people look at them: where, in hexadecimal, as letters.
export function hexDump(bytes, most) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, most); at += 16) {
    const piece = bytes.subarray(at, at + 16);
    const hex = Array.from(piece, hexByte).join(" ").padEnd(47);
    const letters = Array.from(piece, (byte) => (byte > 0x1f && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex}  ${letters}`);
  }
  return lines.join("\n");
}

// Whether two lists have the same in them, be it bytes or lines.
export const isSame = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);
