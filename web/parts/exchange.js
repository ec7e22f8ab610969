// A directory out as one JSON document, and a document in, after a look at what that changes. Nothing is written over that has
// changed since the look, and what fits one transaction is one.

import { Problem, address, ask, directoryAddress, freshAttempt, json } from "../core/api.js";
import { Builder, DocumentError, keysOf } from "../core/document.js";
import { el } from "../core/dom.js";
import { JsonError, parseJson, prettyJson } from "../core/json.js";
import { last, ofBase64Url, ofText, show, textOf, toBase64Url } from "../core/name.js";
import { t, told } from "../core/text.js";
import { changeLine, firstLines, openDialog } from "./dialog.js";
import { notify } from "./notice.js";
import { save, upload } from "./transfer.js";

// The keys that a directory may have for this, and those named in a preview.
const MOST_KEYS = 100_000;
const NAMED = 300;
// What one transaction takes: operations, as the server says, and bytes, well below what a request may have.
const OPERATIONS = 128;
const BYTES = 512 * 1024;
const JSON_TYPE = "application/json";

// What the server says, as nodes: numbers stay as they are.
async function exactly(url) {
  const { content } = await ask("GET", url, { as: "text" });
  try {
    return membersOf(parseJson(content));
  } catch {
    throw new Problem({ code: "unreachable", status: 0 });
  }
}

const membersOf = ({ members }) => Object.fromEntries(members.map(([name, node]) => [JSON.parse(name), node]));

// A key of an answer: `{ name, encoding, value, node, revision }`, JSON as a node, any other value as a string.
function itemOf(item) {
  const plain = (node) => (node === undefined ? undefined : JSON.parse(node.text));
  const encoding = plain(item.encoding);
  const name = item.key ? ofText(plain(item.key)) : ofBase64Url(plain(item.key64));
  return { name, encoding, node: item.value, value: encoding === "json" ? undefined : plain(item.value), revision: plain(item.modRevision) };
}

// Everything below a directory at one revision, values exactly as they are.
async function* everything(directory) {
  let [cursor, count] = [undefined, 0];
  do {
    const page = await exactly(directoryAddress(directory, { recursive: true, cursor }));
    for (const node of page.items.items) yield itemOf(membersOf(node));
    count += page.items.items.length;
    if (count > MOST_KEYS) throw new DocumentError("large");
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
    for await (const item of everything(directory)) builder.add(item.name.slice(directory.length), item);
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
  const unlessAbsent = (problem) => {
    if (problem.code !== "key_not_found") throw problem;
  };
  try {
    for await (const item of everything(directory)) present.set(item.name, item);
  } catch (problem) {
    unlessAbsent(problem);
  }
  // The directory's own marker, and the key that is called like it, are not below it.
  for (const { name } of keys.filter((key) => key.name.length <= directory.length)) {
    const found = await exactly(address("/v1/keys", name, {}, { literal: true })).catch(unlessAbsent);
    if (found) present.set(name, itemOf(found));
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
  const line = ({ name, isNew }) => changeLine(name, isNew ? { sign: "+", word: t("import.new") } : { sign: "~", word: t("import.changed") });
  // Each transaction has a key of its own: one whose answer was lost is asked for again, and not done twice,
  // unless the dialog was left.
  const tries = steps.map(freshAttempt);
  let made = 0;
  const written = () => steps.slice(0, made).reduce((sum, step) => sum + step.length, 0);
  const progress = el("progress", { max: steps.length, value: 0, hidden: true, "aria-label": t("import.title") });
  // Goes on from where it stopped.
  const run = async (left) => {
    progress.hidden = false;
    while (made < steps.length && !left.aborted) {
      const step = steps[made];
      const body = `{"if":[${step.map(({ when }) => when)}],"then":[${step.map(({ put }) => put)}]}`;
      const headers = { "Content-Type": JSON_TYPE, "Idempotency-Key": tries[made] };
      const { succeeded } = await json("POST", "/v1/txn", { body, headers }).catch((problem) => {
        throw Object.assign(problem, { isUnsure: problem.isUnsure && left.aborted });
      });
      if (!succeeded) throw Object.assign(new Error(), { code: "changed", detail: t("import.stopped", { count: written() }) });
      made += 1;
      progress.value = made;
    }
    if (left.aborted) notify(t("import.left", { count: written() }));
    return true;
  };
  const title = t("import.title");
  const content = [
    el("p", {}, el("code", {}, show(directory))),
    el("p", {}, t("import.counts", { fresh, changed: changes.length - fresh, same })),
    el("ul", { class: "names", tabindex: 0, "aria-label": t("rollback.preview") }, firstLines(changes, NAMED, line)),
    changes.length > 0 && el("p", { class: "muted" }, t("import.steps", { count: steps.length })),
    progress,
  ];
  const act = changes.length > 0 ? { label: t("import.do"), kind: "primary", run } : { label: t("dialog.done"), kind: "primary", run: () => true };
  const done = await openDialog({ title, content, actions: [act] });
  if (done && changes.length > 0) notify(t("import.done", { count: changes.length }));
}
