// `/v1` over fetch: addresses, requests, and errors as the server words them. Knows nothing of pages.

import { bytesOfText } from "./codec.js";
import { bytesOf, isDirectory, isSayable, last, parent, textOf, toBase64Url, toPath } from "./name.js";

// How long an answer may take before the server counts as out of reach, in milliseconds.
const PATIENCE_MS = 20_000;

// A refusal (RFC 9457), with the store's revision that it tells of; or that no whole answer came: then `code` is `unreachable`,
// and `isUnsure` says whether something may have been changed.
export class Problem extends Error {
  constructor(members) {
    super(members.detail ?? members.title ?? members.code);
    Object.assign(this, members);
  }
}

// Names with their values, those without one left out.
export const given = (parameters) => Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== false);
export const query = (parameters) => given(parameters).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");

// The address of a key under `root` (`/v1/keys`, `/v1/history`, `/v1/watch`); `literal` names a marker as a key.
export function address(root, name, parameters = {}, { verb = "", literal = false } = {}) {
  const sayable = isSayable(name) && !(literal && name.endsWith("/"));
  const path = sayable ? `${root}${toPath(name)}${verb}` : `${root}${verb}`;
  const text = query(sayable || name === "" ? parameters : { key64: toBase64Url(name), ...parameters });
  return text === "" ? path : `${path}?${text}`;
}

// The address of a directory's list, where literal names need to say that they mean one.
export function directoryAddress(name, parameters = {}) {
  const literal = name !== "" && !isSayable(name);
  return address("/v1/keys", name, literal ? { recursive: false, ...parameters, ...said(parameters) } : parameters);
}
// `false` is left out of a query elsewhere; here its presence says that a directory is meant.
const said = ({ recursive }) => ({ recursive: recursive === true ? "true" : "false" });

// Asks; gives the answer's `headers` and its `content`, `as` it is read (`json`, `text`, `arrayBuffer`), or throws a Problem.
export async function ask(method, url, { body, headers, signal, as = "json", mayChange = method !== "GET" } = {}) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const signals = signal ? AbortSignal.any([signal, patience]) : patience;
  let response;
  let content;
  try {
    response = await fetch(url, { method, body, headers, signal: signals, cache: "no-store" });
    content = await response[response.ok ? as : "text"]();
  } catch (error) {
    if (signal?.aborted) throw error;
    // Nobody answered, the connection was cut amid the answer, or what stands in it is none of the server's.
    throw new Problem({ code: "unreachable", status: 0, isUnsure: mayChange });
  }
  if (response.ok) return { headers: response.headers, content };
  throw refusal(response, content);
}

// A question that may be asked anew: then the answer to the earlier one is not waited for any more.
export class Question {
  #asking = new AbortController();

  // Gives the signal of the new one.
  anew() {
    this.drop();
    this.#asking = new AbortController();
    return this.signal;
  }

  // The signal of the last one.
  get signal() {
    return this.#asking.signal;
  }

  drop() {
    this.#asking.abort();
  }
}

function refusal({ status, statusText, headers }, text) {
  const revision = Number(headers.get("Vardr-Revision") ?? 0);
  try {
    const problem = JSON.parse(text);
    if (typeof problem?.code === "string") return new Problem({ ...problem, status, revision });
  } catch {
    // As below.
  }
  // Not this server's own words: a proxy's, perhaps.
  return new Problem({ code: "unknown", title: `${status} ${statusText}`, detail: text.slice(0, 200) || undefined, status, revision });
}

export const json = async (method, url, options) => (await ask(method, url, options)).content;

// What an answer says and null, or null and why there is none.
export const outcome = (answer) =>
  answer.then(
    (found) => [found, null],
    (problem) => {
      if (problem.code === undefined) throw problem;
      return [null, problem];
    },
  );

// Null where a key is not there.
export function absent(problem) {
  if (problem.code !== "key_not_found") throw problem;
  return null;
}

// A page of a directory; `parameters` as `/v1/keys` takes them.
export const list = (directory, parameters, signal) => json("GET", directoryAddress(directory, parameters), { signal });

// What comes first in a directory, its own marker included, or null; and the revision that this was read at. Asked of the directory
// above where a prefix can say this one.
export async function firstOf(directory) {
  const prefix = textOf(last(directory));
  const above = prefix === null ? directory : parent(directory);
  try {
    const page = await list(above, { recursive: true, keysOnly: true, limit: 1, prefix: prefix ?? undefined });
    return { item: page.items[0] ?? null, revision: page.revision };
  } catch (problem) {
    if (problem.code !== "key_not_found") throw problem;
    return { item: null, revision: problem.revision };
  }
}

// A key, its value as `bytes` exactly as they are stored, and the store's revision that was read (`at`); throws `key_not_found`.
export async function read(name, { revision, signal, literal } = {}) {
  for (;;) {
    const answer = await ask("GET", address("/v1/keys", name, { revision }, { literal }), { signal });
    const item = { ...answer.content, at: Number(answer.headers.get("Vardr-Revision")) };
    if (item.encoding === "utf8") return { ...item, bytes: bytesOfText(item.value) };
    if (item.encoding === "base64") return { ...item, bytes: bytesOf(atob(item.value)) };
    // JSON stands in the answer without its line breaks: the bytes come by themselves, of the same revision or not at all.
    const headers = { "If-Match": `"${item.modRevision}"` };
    try {
      const raw = await ask("GET", address("/v1/keys", name, { raw: true, revision }, { literal }), { headers, signal, as: "arrayBuffer" });
      return { ...item, bytes: new Uint8Array(raw.content) };
    } catch (problem) {
      if (problem.code !== "precondition_failed") throw problem;
    }
  }
}

// Writes a key. `match` is the revision that it has to be of, or null when it must not be there yet.
export function put(name, bytes, { contentType, match, ttl, keepLease, literal, attempt, method = "PUT" } = {}) {
  const headers = attempt === undefined ? {} : { "Idempotency-Key": attempt };
  if (contentType) headers["Content-Type"] = contentType;
  if (match === null) headers["If-None-Match"] = "*";
  else if (match !== undefined) headers["If-Match"] = `"${match}"`;
  const url = address("/v1/keys", name, { ttl, keepLease }, { literal });
  return json(method, url, { body: bytes, headers });
}

// Makes an empty directory; one that is there already is a problem.
export const makeDirectory = (name) => json("PUT", address("/v1/keys", name, { prevExist: "false" }));

// Adds the next key in order to a directory.
export const append = (directory, bytes, options) => put(directory, bytes, { ...options, method: "POST" });

// Deletes a key of a revision, or a directory with all that is below it.
export function remove(name, { match, literal } = {}) {
  if (isDirectory(name) && !literal) return json("DELETE", directoryAddress(name, { recursive: true }));
  const headers = match === undefined ? {} : { "If-Match": `"${match}"` };
  return json("DELETE", address("/v1/keys", name, {}, { literal }), { headers });
}

// The versions of a key, newest first.
export const history = (name, parameters, { literal, signal } = {}) => json("GET", address("/v1/history", name, parameters, { literal }), { signal });

// Goes back to a revision, or tells what that would change.
export function rollback(name, to, { dryRun = false, literal } = {}) {
  const url = address("/v1/history", name, { dryRun }, { verb: ":rollback", literal });
  return json("POST", url, { body: JSON.stringify({ to }), headers: { "Content-Type": "application/json" }, mayChange: !dryRun });
}

// The text of a document in another language: each `json` or `yaml`.
export async function convert(document, from, to, signal) {
  const headers = { "Content-Type": `application/${from}`, Accept: `application/${to}` };
  return (await ask("POST", "/v1/convert", { body: document, headers, signal, as: "text", mayChange: false })).content;
}

// An idempotency key: what is asked for again with it is not done twice.
export const freshAttempt = () => toBase64Url(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))));

// Gives another name to a key, or to a directory with all that is below it, besides its own (`copy`) or instead of it (`move`); or tells
// what that would write.
export function copy(name, to, { verb, overwrite, dryRun = false, literal, attempt, signal } = {}) {
  const url = address("/v1/keys", name, { dryRun }, { verb: `:${verb}`, literal });
  const named = textOf(to) === null ? { to64: toBase64Url(to) } : { to: textOf(to) };
  const headers = { "Content-Type": "application/json" };
  if (attempt !== undefined) headers["Idempotency-Key"] = attempt;
  return json("POST", url, { body: JSON.stringify({ ...named, overwrite }), headers, signal, mayChange: !dryRun });
}
