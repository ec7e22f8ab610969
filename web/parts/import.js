// A document or a folder in, after a look at what that changes. Nothing is written over that has changed since the look, and what fits
// one transaction is one.

import { absent, address, convert, freshAttempt, json, put, read } from "../core/api.js";
import { keysOf } from "../core/document.js";
import { el } from "../core/dom.js";
import { everything, exactItem } from "../core/everything.js";
import { dropped, keysOfFiles } from "../core/files.js";
import { isSame, toBase64 } from "../core/codec.js";
import { parseJson, prettyJson } from "../core/json.js";
import { bytesOf, ofText, show, textOf, toBase64Url } from "../core/name.js";
import { t } from "../core/text.js";
import { DONE, changeLine, firstLines, nameList, openDialog } from "./dialog.js";
import { leftOut, problemOf, tellLeftOut } from "./exchange.js";
import { notify } from "./notice.js";
import { choose } from "./transfer.js";

// The keys named in a preview.
const NAMED = 300;
// What one transaction takes: operations, as the server says, and bytes, well below what a request may have. A larger file is a
// request by itself.
const OPERATIONS = 128;
const BYTES = 512 * 1024;
const JSON_TYPE = "application/json";
// What says that a value has no type.
const UNTYPED = "application/x-www-form-urlencoded";

const bytesOfFile = async (file) => new Uint8Array(await file.arrayBuffer());
const isLarge = ({ file }) => file?.size > BYTES / 2;

// Whether a key has already what is to be written.
async function isAlready({ node, base64, file }, item) {
  if (node) return item.encoding === "json" && prettyJson(item.node) === prettyJson(node);
  if (item.encoding === "json") return base64 === undefined && file === undefined;
  const there = item.encoding === "base64" ? item.value : btoa(ofText(item.value));
  if (file) return isSame(await bytesOfFile(file), bytesOf(atob(there)));
  return base64 === undefined || there === base64;
}

// A comparison and a put, as the text of JSON: numbers stay as they were written.
async function operation({ name, node, base64, file, revision }) {
  const key = textOf(name) === null ? `"key64":${JSON.stringify(toBase64Url(name))}` : `"key":${JSON.stringify(textOf(name))}`;
  const holds = revision === undefined ? '"prevExist":false' : `"modRevision":${revision}`;
  const value = file ? toBase64(await bytesOfFile(file)).replaceAll("\n", "") : base64;
  const json = node && `"value":${prettyJson(node)},"encoding":"json","contentType":"${JSON_TYPE}"`;
  const bytes = `"value":${JSON.stringify(value ?? "")},"encoding":"${value === undefined ? "utf8" : "base64"}"`;
  return { when: `{${key},${holds}}`, put: `{"put":{${key},${json ?? bytes}}}` };
}

// About how many bytes the operation of a key has.
const sizeOf = ({ name, node, base64, file }) => 200 + 3 * name.length + (file ? 1.4 * file.size : node ? prettyJson(node).length : (base64?.length ?? 0));

// The transactions that it takes, each a list of changes.
function transactions(changes) {
  const all = [[]];
  let bytes = 0;
  for (const change of changes) {
    const size = sizeOf(change);
    const [first] = all.at(-1);
    if (first && (all.at(-1).length >= OPERATIONS || bytes + size > BYTES || isLarge(first) || isLarge(change))) {
      all.push([]);
      bytes = 0;
    }
    all.at(-1).push(change);
    bytes += size;
  }
  return all;
}

// Does one of them, or says that it cannot be done any more.
async function write(step, attempt) {
  const [{ name, revision = null, file }] = step;
  if (isLarge(step[0])) {
    const bytes = await bytesOfFile(file);
    const done = put(name, bytes, { contentType: UNTYPED, match: revision, attempt });
    return done.then(() => true, async (problem) => {
      if (problem.code === "precondition_failed") return false;
      // An answer that was lost, and is too large to be given again.
      if (problem.code === "result_not_kept") return isSame((await read(name)).bytes, bytes);
      throw problem;
    });
  }
  const operations = await Promise.all(step.map(operation));
  const body = `{"if":[${operations.map(({ when }) => when)}],"then":[${operations.map((one) => one.put)}]}`;
  const headers = { "Content-Type": JSON_TYPE, "Idempotency-Key": attempt };
  return (await json("POST", "/v1/txn", { body, headers })).succeeded;
}

// What a list of keys would change: those that come, those that change, and how many are as they are already.
async function plan(directory, keys) {
  const present = new Map();
  try {
    for await (const { items } of everything(directory)) for (const item of items) present.set(item.name, item);
  } catch (problem) {
    absent(problem);
  }
  // The directory's own marker, and the key that is called like it, are not below it.
  for (const { name } of keys.filter((key) => key.name.length <= directory.length)) {
    const found = await exactItem(address("/v1/keys", name, {}, { literal: true })).catch(absent);
    if (found) present.set(name, found);
  }
  const changes = [];
  for (const key of keys) {
    const there = present.get(key.name);
    if (there === undefined || !(await isAlready(key, there))) changes.push({ ...key, isNew: there === undefined, revision: there?.revision });
  }
  return { changes, same: keys.length - changes.length };
}

// The keys of a document, by the end of its name.
async function keysOfDocument(directory, file) {
  const bytes = await bytesOfFile(file);
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  return keysOf(directory, parseJson(/\.ya?ml$/i.test(file.name) ? await convert(bytes, "yaml", "json") : text));
}

export async function importInto(directory) {
  // What was dropped, which is taken as what is chosen.
  let given;
  const take = (isFolder) => async (signal) => {
    const files = given ?? (await choose(isFolder));
    given = undefined;
    if (files === undefined) return undefined;
    const left = [];
    try {
      const isDocument = files.length === 1 && files[0].isAlone;
      const keys = isDocument ? await keysOfDocument(directory, files[0].file) : keysOfFiles(directory, files, (name, why) => left.push([name, why]));
      const planned = await plan(directory, keys);
      return signal.aborted ? undefined : { ...planned, left };
    } catch (error) {
      if (signal.aborted) return undefined;
      throw problemOf(error);
    }
  };
  const actions = [{ label: t("import.document"), kind: "primary", run: take(false) }, { label: t("import.folder"), run: take(true) }];
  const content = el("p", { class: "hint" }, t("import.hint"));
  const onOpen = (dialog) => {
    dialog.addEventListener("dragover", (event) => event.preventDefault());
    dialog.addEventListener("drop", async (event) => {
      event.preventDefault();
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
      if (entries.length === 0) return;
      given = await dropped(entries);
      dialog.querySelector("form").requestSubmit();
    });
  };
  const planned = await openDialog({ title: t("import.title"), subject: show(directory), content, actions, onOpen });
  if (planned !== undefined) await preview(directory, planned);
}

async function preview(directory, { changes, same, left: before }) {
  const steps = transactions(changes);
  const fresh = changes.filter((change) => change.isNew).length;
  const line = ({ name, isNew }) => changeLine(name, isNew ? { sign: "+", word: t("import.new") } : { sign: "~", word: t("import.changed") });
  // Each transaction has a key of its own: one whose answer was lost is asked for again, and not done twice,
  // unless the dialog was left.
  const tries = steps.map(freshAttempt);
  // The files that the server finds too large.
  const large = [];
  let [made, written] = [0, 0];
  const progress = el("progress", { max: steps.length, value: 0, hidden: true, "aria-label": t("import.title") });
  // Goes on from where it stopped.
  const run = async (left) => {
    progress.hidden = false;
    for (; made < steps.length && !left.aborted; made += 1) {
      const step = steps[made];
      const succeeded = await write(step, tries[made]).catch((problem) => {
        if (problem.code !== "too_large" || !isLarge(step[0])) throw Object.assign(problem, { isUnsure: problem.isUnsure && left.aborted });
        large.push([step[0].name, "large"]);
        return undefined;
      });
      if (succeeded === false) throw Object.assign(new Error(), { code: "changed", detail: t("import.stopped", { count: written }) });
      if (succeeded) written += step.length;
      progress.value = made + 1;
    }
    return true;
  };
  const content = [
    el("p", {}, t("import.counts", { fresh, changed: changes.length - fresh, same })),
    nameList(t("rollback.preview"), firstLines(changes, NAMED, line)),
    before.length > 0 && leftOut(before),
    changes.length > 0 && el("p", { class: "muted" }, t("import.steps", { count: steps.length })),
    progress,
  ];
  const act = changes.length > 0 ? { label: t("import.title"), kind: "primary", run } : DONE;
  const tell = (done, isLeft) => {
    if (changes.length > 0) notify(t(isLeft ? "import.left" : "import.done", { count: written }));
    tellLeftOut(large);
  };
  await openDialog({ title: t("import.title"), subject: show(directory), content, actions: [act], tell });
}
