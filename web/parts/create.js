// Makes what is not there yet: a key, a directory, the next key in order.

import { append, makeDirectory, put } from "../core/api.js";
import { bytesOfText } from "../core/codec.js";
import { el } from "../core/dom.js";
import { ofItem, ofText, show } from "../core/name.js";
import { hrefOfName, route } from "../core/route.js";
import { t } from "../core/text.js";
import { field, openDialog, ttlInput } from "./dialog.js";
import { notify } from "./notice.js";

function fields() {
  const value = el("textarea", { rows: 6 });
  const type = el("input", { list: "media-types", placeholder: t("editor.noType") });
  const ttl = ttlInput({ placeholder: "30s" });
  const content = [
    field(t("key.value"), value),
    el("div", { class: "pair" }, field(t("column.type"), type), field(t("create.ttl"), ttl, t("create.ttlHint"))),
  ];
  const read = () => ({
    bytes: bytesOfText(value.value),
    options: { contentType: type.value.trim() || undefined, ttl: ttl.value.trim() || undefined },
  });
  return { content, read };
}

const nameField = (directory, hint) => {
  const name = el("input", { required: true, autofocus: true, value: "", autocomplete: "off" });
  return { name, shown: field(t("create.name", { directory: show(directory) || "—" }), name, hint) };
};

const open = (title, content, run, tell) => openDialog({ title, content, actions: [{ label: t("create.do"), kind: "primary", run }], tell });

const tellMade = (name) => notify(t("create.made", { name: show(name) }), { link: { href: hrefOfName(name), text: t("create.open") } });
// Goes to what has just been made, unless somebody has gone elsewhere.
const arrive = (name, isLeft) => (isLeft ? tellMade(name) : route.go(hrefOfName(name)));

export function createKey(directory) {
  const { name, shown } = nameField(directory, t("create.nameHint"));
  const { content, read } = fields();
  const run = async () => {
    const { bytes, options } = read();
    const made = directory + ofText(name.value);
    await put(made, bytes, { ...options, match: null, literal: made.endsWith("/") });
    return made;
  };
  return open(t("create.key"), [shown, content], run, arrive);
}

export function createDirectory(directory) {
  const { name, shown } = nameField(directory, t("create.directoryHint"));
  const run = async () => {
    const made = directory + ofText(name.value.replace(/\/*$/, "/"));
    await makeDirectory(made);
    return made;
  };
  return open(t("create.directory"), shown, run, arrive);
}

export function appendKey(directory) {
  const { content, read } = fields();
  const run = async () => {
    const { bytes, options } = read();
    return ofItem(await append(directory, bytes, options));
  };
  return open(t("create.append"), [el("p", { class: "hint" }, t("create.appendHint")), content], run, tellMade);
}
