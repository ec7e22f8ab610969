// A directory out: as one document in JSON or YAML, or as the files that `vardr export` makes, in a ZIP archive.

import { address, ask, convert } from "../core/api.js";
import { bytesOfText } from "../core/codec.js";
import { Builder } from "../core/document.js";
import { el, fill } from "../core/dom.js";
import { everything } from "../core/everything.js";
import { Files } from "../core/files.js";
import { prettyJson } from "../core/json.js";
import { bytesOf, fileOf, show } from "../core/name.js";
import { t } from "../core/text.js";
import { Zip } from "../core/zip.js";
import { openDialog } from "./dialog.js";
import { problemOf, tellLeftOut } from "./exchange.js";
import { save } from "./transfer.js";

// Values that are asked for at once, where a page does not give their very bytes.
const AT_ONCE = 6;

// The bytes of each key of a page, in order; those of JSON stand in it without their line breaks.
async function bytesOfAll({ revision, items }, signal) {
  const all = items.map(({ encoding, value }) => (encoding === "utf8" ? bytesOfText(value) : encoding === "base64" ? bytesOf(atob(value)) : undefined));
  let next = 0;
  const work = async () => {
    while ((next = all.indexOf(undefined, next)) >= 0) {
      const at = next;
      next += 1;
      const { name } = items[at];
      const url = address("/v1/keys", name, { raw: true, revision }, { literal: name.endsWith("/") });
      all[at] = new Uint8Array((await ask("GET", url, { as: "arrayBuffer", signal })).content);
    }
    next = all.length;
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return all;
}

// What puts a document together: `take` is given each page, `finish` gives the file.
function documentOf(directory, leaveOut) {
  const builder = new Builder();
  const take = ({ items }) => items.forEach((item) => builder.add(item.name.slice(directory.length), item));
  const finish = () => {
    builder.skipped.forEach((name) => leaveOut(name, "document"));
    return bytesOfText(`${prettyJson(builder.finish())}\n`);
  };
  return { take, finish };
}

function zipOf(directory, leaveOut, signal) {
  const zip = new Zip();
  const files = new Files((name, bytes) => zip.add(name, bytes), leaveOut);
  const take = async (page) => {
    const all = await bytesOfAll(page, signal);
    page.items.forEach(({ name }, at) => files.take(name.slice(directory.length), all[at]));
  };
  const finish = () => {
    files.finish();
    return zip.finish();
  };
  return { take, finish };
}

export async function exportDirectory(directory) {
  const read = el("p", { role: "status" });
  const out = (ending, begin) => async (signal) => {
    let count = 0;
    const left = [];
    const { take, finish } = begin(directory, (name, why) => left.push([name, why]), signal);
    try {
      for await (const page of everything(directory, signal)) {
        await take(page);
        count += page.items.length;
        fill(read, t("export.read", { count }));
      }
      const made = finish();
      const bytes = ending === "yaml" ? await convert(made, "json", "yaml", signal) : made;
      save(`${fileOf(directory) || "keys"}.${ending}`, bytes);
    } catch (error) {
      // Who leaves wants nothing of it.
      if (signal.aborted) return undefined;
      throw problemOf(error);
    }
    return left;
  };
  const content = [el("p", { class: "hint" }, t("export.hint")), read];
  const actions = [
    { label: "JSON", kind: "primary", run: out("json", documentOf) },
    { label: "YAML", run: out("yaml", documentOf) },
    { label: t("export.zip"), run: out("zip", zipOf) },
  ];
  tellLeftOut((await openDialog({ title: t("export.title"), subject: show(directory), content, actions })) ?? []);
}
