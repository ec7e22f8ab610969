// JSON (RFC 8259) read without losing anything: numbers of any length, the order of members and names that come twice stay as
// they were written. JSON.parse would round the first and drop the last.

const DEEPEST = 512;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SPACE = /[ \t\n\r]*/y;
const WORD = /true|false|null/y;

// Where and why a text is no JSON. `reason` is the end of a key of the texts.
export class JsonError extends Error {
  constructor(text, offset, reason) {
    super(reason);
    const before = text.slice(0, offset).split("\n");
    Object.assign(this, { reason, offset, line: before.length, column: before.at(-1).length + 1 });
  }
}

// The document as nodes: `{ kind: "object", members: [[name, node]] }`, names as written, quotes included;
// `{ kind: "array", items }`; `{ kind, text }` for strings, numbers and words. Throws JsonError.
export function parseJson(text) {
  let at = 0;
  const match = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  };
  const fail = (reason) => {
    throw new JsonError(text, at, at >= text.length ? "end" : reason);
  };
  const takes = (character) => {
    match(SPACE);
    if (text[at] !== character) return false;
    at += 1;
    return true;
  };
  function many(close, one, depth) {
    const found = [];
    if (depth > DEEPEST) fail("deep");
    if (takes(close)) return found;
    do found.push(one());
    while (takes(","));
    if (!takes(close)) fail("comma");
    return found;
  }
  function member(depth) {
    match(SPACE);
    const name = match(STRING) ?? fail("name");
    if (!takes(":")) fail("colon");
    return [name, value(depth + 1)];
  }
  function value(depth) {
    if (takes("{")) return { kind: "object", members: many("}", () => member(depth), depth) };
    if (takes("[")) return { kind: "array", items: many("]", () => value(depth + 1), depth) };
    if (text[at] === '"') return { kind: "string", text: match(STRING) ?? fail("string") };
    const number = match(NUMBER);
    if (number !== undefined) return { kind: "number", text: number };
    return { kind: "word", text: match(WORD) ?? fail("value") };
  }
  const root = value(0);
  match(SPACE);
  if (at < text.length) fail("rest");
  return root;
}

// The document again, with two spaces for each level; what is empty stays on its line.
export function prettyJson(node, indent = "") {
  const inner = `${indent}  `;
  const lines = (open, parts, close) => (parts.length === 0 ? open + close : `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}`);
  if (node.kind === "object") return lines("{", node.members.map(([name, value]) => `${name}: ${prettyJson(value, inner)}`), "}");
  if (node.kind === "array") return lines("[", node.items.map((item) => prettyJson(item, inner)), "]");
  return node.text;
}
