// Names of keys: any bytes, held as a string with one character for each byte, so that `<` orders them as the store does.
//
// What a person sees and what a URL says is made of that here, and nowhere else.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const bytesOf = (name) => Uint8Array.from(name, (byte) => byte.charCodeAt(0));
export const ofBytes = (bytes) => {
  let name = "";
  for (let at = 0; at < bytes.length; at += 4096) name += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return name;
};
export const ofText = (text) => ofBytes(encoder.encode(text));

// The text of a name; null when it is not UTF-8.
export function textOf(name) {
  if (/^[\x00-\x7f]*$/.test(name)) return name;
  try {
    return decoder.decode(bytesOf(name));
  } catch {
    return null;
  }
}

export const toBase64Url = (name) => btoa(name).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
export const ofBase64Url = (text) => atob(text.replaceAll("-", "+").replaceAll("_", "/"));

// A name as `/v1` tells it under a word (`key`): text, or base64 under another one (`key64`); undefined where there is neither.
export function nameIn(answer, word) {
  const base64 = answer[`${word}64`];
  return answer[word] === undefined ? base64 && ofBase64Url(base64) : ofText(answer[word]);
}
export const ofItem = (item) => nameIn(item, "key");

// The names in a list of an answer (`writtenKeys`): those that are UTF-8 stand in it, the others in a second one (`writtenKeys64`).
export const namesOf = (answer, list) => [...answer[list].map(ofText), ...(answer[`${list}64`] ?? []).map(ofBase64Url)];

const hex = (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;

// As a person reads it. What cannot be seen stands as an escape; bytes that are no text as `\xab`.
export function show(name) {
  const text = textOf(name);
  if (text === null) return name.replace(/[^\x20-\x7e]/g, hex);
  // Controls, and the marks that turn the direction of what follows.
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, hex).replace(/[\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (mark) => {
    return `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

// As a person can type it, whatever its bytes are: `\xab` is a byte, and `\\` a backslash.
export const spell = (name) => name.replaceAll("\\", "\\\\").replace(/[^\x20-\x7e]/g, hex);

// The name that is spelled so; null when a backslash stands for nothing.
export function ofSpelling(text) {
  const escape = /\\(?:x([0-9A-Fa-f]{2})|\\)/g;
  if (text.replace(escape, "").includes("\\")) return null;
  return ofText(text).replace(escape, (all, digits) => (digits === undefined ? "\\" : String.fromCharCode(parseInt(digits, 16))));
}

export const isDirectory = (name) => name === "" || name.endsWith("/");

// The directory that a name stands in; "" is the top of the key space.
export function parent(name) {
  const body = name.endsWith("/") ? name.slice(0, -1) : name;
  return body.slice(0, body.lastIndexOf("/") + 1);
}

// What a name is called in its directory; of a directory with the slash.
export const last = (name) => name.slice(parent(name).length);

// What a file is called that is made of it.
export const fileOf = (name) => (textOf(last(name)) ?? toBase64Url(last(name))).replaceAll("/", "");

// The directories on the way from the top down to the name, and the name itself.
export function ancestors(name) {
  const found = [];
  for (let at = name; at !== ""; at = parent(at)) found.unshift(at);
  return found;
}

// Whether a path can say the name: as `/v1` reads paths.
export function isSayable(name) {
  if (!name.startsWith("/") || textOf(name) === null) return false;
  if (name === "/") return true;
  const inner = name.slice(1, name.endsWith("/") ? -1 : undefined);
  return inner.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
}

// The name as the path of a URL.
export const toPath = (name) =>
  name.replace(/[^A-Za-z0-9/._~-]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);

// The name of a path that `toPath` made, or that a person wrote; null when it is badly encoded.
export function ofPath(path) {
  try {
    return ofText(path).replace(/%([0-9A-Fa-f]{2})?/g, (all, digits) => {
      if (digits === undefined) throw new URIError(all);
      return String.fromCharCode(parseInt(digits, 16));
    });
  } catch {
    return null;
  }
}
