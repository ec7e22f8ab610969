// Both languages say everything: the tables have the same keys with the same places, and every key that is used is there.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";

const web = new URL("../../../web/", import.meta.url);
const [{ texts: en }, { texts: zh }] = await Promise.all(["en", "zh"].map((language) => import(new URL(`text/${language}.js`, web))));

assert.deepEqual(Object.keys(zh).toSorted(), Object.keys(en).toSorted());
const places = (text) => (text.match(/\{\w+\}/g) ?? []).toSorted();
for (const [key, text] of Object.entries(en)) {
  assert.deepEqual(places(zh[key]), places(text), key);
  assert.notEqual(zh[key].trim(), "", key);
}

const files = (await readdir(web, { recursive: true })).filter((name) => name.endsWith(".js"));
const known = new Set(Object.keys(en));
let found = 0;
const used = new Set();
for (const name of files) {
  const text = await readFile(new URL(name, web), "utf8");
  for (const [, key] of text.matchAll(/["'`]([a-z]+(?:\.[a-zA-Z]+)+)["'`]/g)) {
    const isText = known.has(key) || new RegExp(`\\bt\\("${key.replaceAll(".", "\\.")}"`).test(text);
    if (!isText) continue;
    assert(known.has(key), `${name}: ${key}`);
    used.add(key);
    found += 1;
  }
  // What is put together at run time: `t(`form.${form}`)` uses all that begins so.
  for (const [, prefix] of text.matchAll(/\bt\(`([a-z.]+\.)\$\{/g)) {
    const matching = [...known].filter((key) => key.startsWith(prefix));
    assert(matching.length > 0, `${name}: ${prefix}`);
    matching.forEach((key) => used.add(key));
  }
}
assert(found > 100, `${found}`);
const idle = [...known].filter((key) => !used.has(key) && !used.has(key.replace(/\.one$/, "")));
assert.deepEqual(idle, [], "texts that nothing says");
