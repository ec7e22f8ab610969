// A directory as one JSON document and back, as `vardr export` and `vardr import` have it: objects are directories, an empty
// one an empty directory; any other value is a key with that JSON value; `{"$base64": "…"}` is bytes without a type; the member
// "" is the key of its object itself; a slash in a name is `~1`, as in JSON Pointers (RFC 6901).

import { ofText, textOf } from "./name.js";

const BYTES = "$base64";

// Why a document cannot be taken; `message` is the end of a key of the texts.
export class DocumentError extends Error {}

const escaped = (name) => (/\/|~0|~1/.test(name) ? name.replaceAll("~", "~0").replaceAll("/", "~1") : name);
const unescaped = (name) => name.replaceAll("~1", "/").replaceAll("~0", "~");

// The keys of a document (as `parseJson` gives it) below a directory: `{ name, node }` with a JSON value, `{ name, base64 }`, or
// `{ name }` for an empty directory.
export function keysOf(directory, document) {
  if (document.kind !== "object") throw new DocumentError("object");
  const found = new Map();
  const add = (key) => {
    if (found.has(key.name)) throw new DocumentError("twice");
    found.set(key.name, key);
  };
  const walk = (place, { members }) => {
    for (const [quoted, node] of members) {
      const word = JSON.parse(quoted);
      const name = word === "" ? place.slice(0, -1) : place + ofText(escaped(word));
      if (name === "") throw new DocumentError("top");
      const isBytes = node.kind === "object" && node.members.length === 1 && JSON.parse(node.members[0][0]) === BYTES;
      if (isBytes && node.members[0][1].kind === "string") add({ name, base64: JSON.parse(node.members[0][1].text) });
      else if (node.kind !== "object") add({ name, node });
      else if (word === "") throw new DocumentError("itself");
      else if (node.members.length === 0) add({ name: `${name}/` });
      else walk(`${name}/`, node);
    }
  };
  if (document.members.length === 0) add({ name: directory });
  walk(directory, document);
  return [...found.values()];
}

const string = (text) => ({ kind: "string", text: JSON.stringify(text) });

// A document that is put together key by key.
export class Builder {
  // Names of which no document can say all.
  skipped = [];
  #root = { members: new Map() };

  // Takes the key of a name relative to the directory; a directory is a name that ends in a slash, and has no value here.
  add(relative, { encoding, node, value }) {
    const text = textOf(relative);
    const isMarker = text?.endsWith("/");
    const path = isMarker ? text.slice(0, -1) : text;
    const words = path === "" ? [] : path?.split("/");
    if (words === undefined || words.includes("") || (isMarker && value !== "")) {
      this.skipped.push(relative);
      return;
    }
    let at = this.#root;
    for (const word of words) {
      const name = unescaped(word);
      if (!at.members.has(name)) at.members.set(name, { members: new Map() });
      at = at.members.get(name);
    }
    if (isMarker) at.isMarked = true;
    else at.value = nodeOf({ encoding, node, value });
  }

  finish() {
    return written({ ...this.#root, isMarked: true });
  }
}

function written({ value, members, isMarked }) {
  const isDirectory = isMarked || members.size > 0;
  if (value && !isDirectory) return value;
  const own = value ? [[JSON.stringify(""), value]] : [];
  const within = [...members].map(([name, node]) => [JSON.stringify(name), written(node)]);
  return { kind: "object", members: [...own, ...within] };
}

// What a value becomes in a document: JSON as it is, text as a string, other bytes in base64.
function nodeOf({ encoding, node, value }) {
  if (encoding === "json") return node;
  return encoding === "utf8" ? string(value) : { kind: "object", members: [[JSON.stringify(BYTES), string(value)]] };
}
