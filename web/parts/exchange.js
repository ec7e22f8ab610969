// A directory out as one JSON document, and a document in, after a look at what that changes. Nothing is written over that has
// changed since the look, and what fits one transaction is one.

import { ask, directoryAddress, json } from "../core/api.js";
import { Builder, DocumentError, keysOf, nodeOf } from "../core/document.js";
import { el, fill } from "../core/dom.js";
import { JsonError, parseJson, prettyJson } from "../core/json.js";
import { last, ofBase64Url, ofText, show, textOf, toBase64Url } from "../core/name.js";
import { t, told } from "../core/text.js";
import { openDialog } from "./dialog.js";
import { notify } from "./notice.js";
import { save, upload } from "./transfer.js";

// The keys that a directory may have for this, and those named in a preview.
const MOST_KEYS = 100_000;
const NAMED = 300;
// What one transaction takes: operations, as the server says, and bytes, well below what a request may have.
const OPERATIONS = 128;
const BYTES = 512 * 1024;
const JSON_TYPE = "application/json";

// Everything below a directory at one revision: `{ name, encoding, value, node, revision }` each, values exactly as they are.
async function* everything(directory, onCount = () => {}) {
  let [cursor, count] = [undefined, 0];
  do {
    const response = await ask("GET", directoryAddress(directory, { recursive: true, cursor }));
    const page = Object.fromEntries(parseJson(await response.text()).members.map(([name, node]) => [JSON.parse(name), node]));
    for (const { members } of page.items.items) {
      const item = Object.fromEntries(members.map(([name, node]) => [JSON.parse(name), node]));
      const plain = (node) => (node === undefined ? undefined : JSON.parse(node.text));
      const encoding = plain(item.encoding);
      const name = item.key ? ofText(plain(item.key)) : ofBase64Url(plain(item.key64));
      yield { name, encoding, node: item.value, value: encoding === "json" ? undefined : plain(item.value), revision: plain(item.modRevision) };
    }
    count += page.items.items.length;
    if (count > MOST_KEYS) throw new DocumentError("large");
    onCount(count);
    cursor = page.cursor && JSON.parse(page.cursor.text);
  } while (cursor !== undefined);
}

const whyNot = (error) => {
  if (error instanceof JsonError) return t("json.error", { line: error.line, column: error.column, reason: t(`json.${error.reason}`) });
  return error instanceof DocumentError ? t(`document.${error.message}`) : told(error);
};

export async function exportDirectory(directory) {
  const builder = new Builder();
  try {
    for await (const item of everything(directory)) builder.add(item.name.slice(directory.length), nodeOf(item));
  } catch (error) {
    if (!(error instanceof DocumentError) && error.code === undefined) throw error;
    return notify(whyNot(error), { isBad: true });
  }
  const file = textOf(last(directory)) ?? toBase64Url(last(directory));
  save(`${file.replaceAll("/", "") || "keys"}.json`, new TextEncoder().encode(`${prettyJson(builder.finish())}\n`));
  if (builder.skipped.length > 0) notify(t("export.skipped", { count: builder.skipped.length }), { isBad: true });
  return undefined;
}

// Whether a key has already what the document says.
function isAlready(key, item) {
  if (key.node) return item.encoding === "json" && prettyJson(item.node) === prettyJson(key.node);
  if (key.base64 === undefined) return true;
  return item.encoding === "base64" ? item.value === key.base64 : item.encoding === "utf8" && btoa(ofText(item.value)) === key.base64;
}

// A comparison and a put, as the text of JSON: numbers stay as they were written.
function operation({ name, node, base64 }, revision) {
  const key = textOf(name) === null ? `"key64":${JSON.stringify(toBase64Url(name))}` : `"key":${JSON.stringify(textOf(name))}`;
  const holds = revision === undefined ? '"prevExist":false' : `"modRevision":${revision}`;
  const json = node && `"value":${prettyJson(node)},"encoding":"json","contentType":"${JSON_TYPE}"`;
  const bytes = `"value":${JSON.stringify(base64 ?? "")},"encoding":"${base64 === undefined ? "utf8" : "base64"}"`;
  return { when: `{${key},${holds}}`, put: `{"put":{${key},${json ?? bytes}}}` };
}

// The transactions that it takes, each a list of operations.
function transactions(changes) {
  const all = [[]];
  let bytes = 0;
  for (const change of changes) {
    const size = change.when.length + change.put.length;
    if (all.at(-1).length >= OPERATIONS || (bytes + size > BYTES && all.at(-1).length > 0)) {
      all.push([]);
      bytes = 0;
    }
    all.at(-1).push(change);
    bytes += size;
  }
  return all;
}

// What a document would change: names that come, names that change, and how many are as they are already.
async function plan(directory, bytes) {
  const keys = keysOf(directory, parseJson(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  const present = new Map();
  try {
    for await (const item of everything(directory)) present.set(item.name, item);
  } catch (problem) {
    if (problem.code !== "key_not_found") throw problem;
  }
  const changes = keys.filter((key) => !present.has(key.name) || !isAlready(key, present.get(key.name)));
  const of = (key) => ({ name: key.name, isNew: !present.has(key.name), ...operation(key, present.get(key.name)?.revision) });
  return { changes: changes.map(of), same: keys.length - changes.length };
}

export function importInto(directory) {
  upload(async (bytes) => {
    let planned;
    try {
      planned = await plan(directory, bytes);
    } catch (error) {
      if (error instanceof TypeError) return notify(t("form.bad.json"), { isBad: true });
      return notify(whyNot(error), { isBad: true });
    }
    return preview(directory, planned);
  });
}

async function preview(directory, { changes, same }) {
  const steps = transactions(changes);
  const fresh = changes.filter((change) => change.isNew).length;
  const line = ({ name, isNew }) => el("li", {}, el("span", { "aria-hidden": "true" }, isNew ? "+ " : "~ "), show(name), el("span", { class: "unseen" }, ` ${t(isNew ? "import.new" : "import.changed")}`));
  const rest = changes.length > NAMED && el("li", { class: "muted" }, t("remove.more", { count: changes.length - NAMED }));
  const progress = el("progress", { max: steps.length, value: 0, hidden: true, "aria-label": t("import.title") });
  const run = async () => {
    progress.hidden = false;
    for (const [at, step] of steps.entries()) {
      const body = `{"if":[${step.map(({ when }) => when)}],"then":[${step.map(({ put }) => put)}]}`;
      const { succeeded } = await json("POST", "/v1/txn", { body, headers: { "Content-Type": JSON_TYPE } });
      if (!succeeded) throw Object.assign(new Error(), { code: "changed", detail: t("import.stopped", { count: at * OPERATIONS }) });
      progress.value = at + 1;
    }
    return true;
  };
  const title = t("import.title");
  const content = [
    el("p", {}, el("code", {}, show(directory))),
    el("p", {}, t("import.counts", { fresh, changed: changes.length - fresh, same })),
    el("ul", { class: "names", tabindex: 0, "aria-label": t("rollback.preview") }, changes.slice(0, NAMED).map(line), rest),
    changes.length > 0 && el("p", { class: "muted" }, t("import.steps", { count: steps.length })),
    progress,
  ];
  const act = changes.length > 0 ? { label: t("import.do"), kind: "primary", run } : { label: t("dialog.done"), kind: "primary", run: () => true };
  const done = await openDialog({ title, content, actions: [act] });
  if (done && changes.length > 0) notify(t("import.done", { count: changes.length }));
}
