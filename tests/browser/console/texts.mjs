// Both languages say everything: the tables have the same keys with the same places, every key that is used is there, and every one
// that is there is used.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";

// Keys that are put together at run time: all the words that stand for `*`. Those of the first come from the console, and stand
// somewhere in it by themselves; those of the second from the server.
const OF_THE_CONSOLE = {
  "chart.*": ["latency", "requests", "revisions", "watchers"],
  "column.*": [
    ...["address", "agent", "behind", "carrier", "change", "cluster", "compacted", "created", "free", "granted", "holder", "id", "instance", "instances", "kind", "lag", "leader", "lease"],
    ...["lock", "log", "member", "name", "owner", "passing", "place", "release", "revision", "role", "room", "service", "since", "size", "state", "store", "tags"],
    ...["term", "time", "token", "type", "uptime", "urls", "version", "waiting", "watched", "weight"],
  ],
  "conflict.*": ["before", "now", "yours"],
  "document.*": ["itself", "large", "object", "top", "twice", "zip"],
  "form.*": ["base64", "hex", "json", "text", "yaml"],
  "form.bad.*": ["base64", "hex"],
  "history.*": ["a", "b"],
  "json.*": ["colon", "comma", "deep", "end", "name", "rest", "string", "value"],
  "key.*": ["history", "value"],
  "left.*": ["directory", "document", "key", "large", "name", "utf8", "value"],
  "live.*": ["connecting", "live", "lost", "resting"],
  "live.*.hint": ["connecting", "live", "lost", "resting"],
  "nav.*": ["changes", "cluster", "keys", "leases", "search", "services"],
  "rollback.*": ["gone", "new"],
};
const OF_THE_SERVER = {
  "operation.*": ["append", "copy", "create", "createDirectory", "delete", "expire", "increment", "move", "patch", "put", "revoke", "rollback", "transaction"],
  "room.*": ["enough", "none", "short"],
  "status.*": ["critical", "draining", "passing", "warning"],
};

const web = new URL("../../../web/", import.meta.url);
const tables = await Promise.all(["en", "zh"].map((language) => import(new URL(`text/${language}.js`, web))));
const flat = ({ texts }) => Object.entries(texts).flatMap(([family, words]) => Object.entries(words).map(([word, text]) => [`${family}.${word}`, text]));
const [en, zh] = tables.map((table) => Object.fromEntries(flat(table)));

// Chinese says one as it says any number.
assert.deepEqual(Object.keys(zh).toSorted(), Object.keys(en).filter((key) => !key.endsWith(".one")).toSorted());
const known = new Set(Object.keys(en));
const places = (text) => (text.match(/\{\w+\}/g) ?? []).toSorted();
for (const [key, text] of Object.entries(en)) {
  if (key.endsWith(".one")) {
    assert(places(text).every((place) => en[key.replace(/\.one$/, "")].includes(place)), key);
    continue;
  }
  assert.deepEqual(places(zh[key]), places(text), key);
  assert.notEqual(zh[key].trim(), "", key);
}

const names = (await readdir(web, { recursive: true })).filter((name) => name.endsWith(".js") && !name.startsWith("text"));
const files = await Promise.all(names.map((name) => readFile(new URL(name, web), "utf8")));
const used = new Set();
const composed = new Set();
for (const [at, text] of files.entries()) {
  for (const [, key] of text.matchAll(/["'`]([a-z]+(?:\.[a-zA-Z0-9]+)+)["'`]/g)) {
    const isText = known.has(key) || new RegExp(`\\bt\\("${key.replaceAll(".", "\\.")}"`).test(text);
    if (!isText) continue;
    assert(known.has(key), `${names[at]}: ${key}`);
    used.add(key);
  }
  for (const [, before, after] of text.matchAll(/`((?:[a-z]+\.)+)\$\{[^`}]+\}((?:\.[a-z]+)*)`/g)) composed.add(`${before}*${after}`);
}
assert(used.size > 100, `${used.size}`);

const families = { ...OF_THE_CONSOLE, ...OF_THE_SERVER };
assert.deepEqual([...composed].toSorted(), Object.keys(families).toSorted());
for (const [family, words] of Object.entries(families)) {
  for (const word of words) {
    const key = family.replace("*", word);
    assert(known.has(key), key);
    used.add(key);
    const isSaid = family in OF_THE_SERVER || files.some((text) => new RegExp(`["\\s]${word}(?:"|: )`).test(text));
    assert(isSaid, `nothing says ${word} of ${family}`);
  }
}
const idle = [...known].filter((key) => !used.has(key) && !used.has(key.replace(/\.one$/, "")));
assert.deepEqual(idle, [], "texts that nothing says");
