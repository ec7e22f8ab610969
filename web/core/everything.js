// Everything below a directory at one revision, values exactly as they are, numbers and all.

import { Problem, ask, directoryAddress } from "./api.js";
import { DocumentError } from "./document.js";
import { parseJson } from "./json.js";
import { ofBase64Url, ofText } from "./name.js";

// The keys that a directory may have for this.
const MOST_KEYS = 100_000;

const membersOf = ({ members }) => Object.fromEntries(members.map(([name, node]) => [JSON.parse(name), node]));
const plain = (node) => node && JSON.parse(node.text);

// What the server says, as nodes: numbers stay as they are.
async function exactly(url, signal) {
  const { content } = await ask("GET", url, { as: "text", signal });
  try {
    return membersOf(parseJson(content));
  } catch {
    throw new Problem({ code: "unreachable", status: 0 });
  }
}

// A key of an answer: `{ name, encoding, value, node, revision }`, JSON as a node, any other value as a string.
function itemOf({ key, key64, encoding: how, value, modRevision }) {
  const encoding = plain(how);
  const name = key ? ofText(plain(key)) : ofBase64Url(plain(key64));
  return { name, encoding, node: value, value: encoding === "json" ? undefined : plain(value), revision: plain(modRevision) };
}

export const exactItem = async (url) => itemOf(await exactly(url));

// The keys in order of their names, page by page, each page with the revision that all are of: `{ revision, items }`.
export async function* everything(directory, signal) {
  let [cursor, count] = [undefined, 0];
  do {
    const page = await exactly(directoryAddress(directory, { recursive: true, cursor }), signal);
    const items = page.items.items.map((node) => itemOf(membersOf(node)));
    count += items.length;
    if (count > MOST_KEYS) throw new DocumentError("large");
    yield { revision: plain(page.revision), items };
    cursor = plain(page.cursor);
  } while (cursor !== undefined);
}
