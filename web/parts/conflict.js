// Somebody else changed the key meanwhile: what it was, what it is now and what one wants it to be, and the choice.

import { hexDump, textOfBytes } from "../core/codec.js";
import { matching, merge } from "../core/diff.js";
import { el } from "../core/dom.js";
import { size, t } from "../core/text.js";
import { openDialog } from "./dialog.js";

// More of each side than this is not drawn, in bytes.
const SHOWN = 64 * 1024;

// Gives `theirs` (nothing is written), `mine` (after `overwrite`, which writes over the revision shown and no other), or
// `{ merged }`, a text to go on from; undefined when nothing was chosen.
export function openConflict({ before, theirs, mine, overwrite }) {
  const texts = [before, theirs?.bytes ?? new Uint8Array(), mine].map(textOfBytes);
  const isText = texts.every((text) => text !== null && !text.includes("\r"));
  const actions = [];
  if (isText && theirs !== null) {
    const merged = merge(texts[0], texts[2], texts[1]);
    const label = merged.conflicts === 0 ? t("conflict.merge") : t("conflict.mergeMarked", { count: merged.conflicts });
    actions.push({ label, kind: "primary", run: () => ({ merged: merged.text }) });
  }
  actions.push(
    { label: theirs === null ? t("conflict.again") : t("conflict.mine", { revision: String(theirs.modRevision) }), kind: "bad", run: overwrite },
    { label: t(theirs === null ? "conflict.leave" : "conflict.theirs"), run: () => "theirs" },
  );
  const column = (word, bytes, other) => {
    const title = el("h3", {}, t(`conflict.${word}`), " ", el("small", { class: "muted" }, bytes === null ? "" : size(bytes.length)));
    if (bytes === null) return el("section", { class: word }, title, el("p", { class: "muted" }, t("conflict.deleted")));
    return el("section", { class: word }, title, isText ? marked(textOfBytes(bytes.subarray(0, SHOWN)) ?? "", other) : el("pre", { tabindex: 0 }, hexDump(bytes, SHOWN)));
  };
  const was = isText ? texts[0] : "";
  return openDialog({
    title: t(theirs === null ? "conflict.titleGone" : "conflict.title"),
    content: [
      el("p", {}, t(theirs === null ? "conflict.textGone" : "conflict.text", { revision: String(theirs?.modRevision ?? 0) })),
      el("div", { class: "three" }, column("before", before, was), column("now", theirs?.bytes ?? null, was), column("yours", mine, was)),
    ],
    actions,
    wide: true,
  });
}

// A text in which the lines that another one lacks stand out.
function marked(text, other) {
  const lines = text.split("\n");
  const known = new Set();
  for (const [, at, length] of matching(other.split("\n"), lines)) for (let step = 0; step < length; step += 1) known.add(at + step);
  return el("pre", { tabindex: 0 }, lines.map((line, at) => el(known.has(at) ? "span" : "mark", {}, `${line}\n`)));
}
