// Somebody else changed the key meanwhile: what it was, what it is now and what one wants it to be, and the choice.

import { hexDump, textOfBytes } from "../core/codec.js";
import { matching, merge } from "../core/diff.js";
import { el } from "../core/dom.js";
import { size, t } from "../core/text.js";
import { openDialog } from "./dialog.js";

// More of each side than this is not drawn: characters of text, or bytes.
const SHOWN = 64 * 1024;

// The beginning of a text, not cut amid a character.
const beginning = (text) => text.slice(0, SHOWN).replace(/[\ud800-\udbff]$/, "");

// `before`, `theirs` and `mine` are each `{ bytes, contentType }`, `theirs` with its `modRevision`, or null when the key is gone.
// Gives `theirs` (nothing is written), `mine` (after `overwrite`, which writes over the revision shown and no other), or
// `{ merged }`, a text to go on from; undefined when nothing was chosen.
export function openConflict({ subject, before, theirs, mine, overwrite }) {
  const texts = [before.bytes, theirs?.bytes ?? new Uint8Array(), mine.bytes].map(textOfBytes);
  const isTyped = [theirs ?? mine, mine].some(({ contentType }) => contentType !== before.contentType);
  const isText = texts.every((text) => text !== null && !text.includes("\r"));
  const actions = [];
  if (isText && theirs !== null) {
    const merged = merge(texts[0], texts[2], texts[1]);
    const label = merged.conflicts === 0 ? t("conflict.merge") : t("conflict.mergeMarked", { count: merged.conflicts });
    actions.push({ label, kind: "primary", run: () => ({ merged: merged.text }) });
  }
  actions.push(
    { label: theirs === null ? t("conflict.again") : t("conflict.mine", { revision: theirs.modRevision }), kind: "bad", run: overwrite },
    { label: t(theirs === null ? "conflict.leave" : "conflict.theirs"), run: () => "theirs" },
  );
  const column = (word, side, text) => {
    const title = el("h3", {}, t(`conflict.${word}`), " ", el("small", { class: "muted" }, side === null ? "" : size(side.bytes.length)));
    if (side === null) return el("section", { class: word }, title, el("p", { class: "muted" }, t("conflict.deleted")));
    const type = isTyped && el("p", { class: "type" }, side.contentType || t("editor.noType"));
    const isCut = (isText ? text : side.bytes).length > SHOWN;
    const shown = isText ? marked(beginning(text), beginning(texts[0])) : el("pre", { tabindex: 0 }, hexDump(side.bytes, SHOWN));
    return el("section", { class: word }, title, type, shown, isCut && el("p", { class: "hint" }, t("conflict.cut")));
  };
  return openDialog({
    title: t(theirs === null ? "conflict.titleGone" : "conflict.title"),
    content: [
      el("p", {}, t(theirs === null ? "conflict.textGone" : "conflict.text", { revision: theirs?.modRevision })),
      el("div", { class: "three" }, column("before", before, texts[0]), column("now", theirs, texts[1]), column("yours", mine, texts[2])),
    ],
    subject,
    actions,
    wide: true,
    // What is written says so itself.
    tell: () => {},
  });
}

// A text in which the lines that another one lacks stand out.
function marked(text, other) {
  const lines = text.split("\n");
  const known = new Set();
  for (const [, at, length] of matching(other.split("\n"), lines)) for (let step = 0; step < length; step += 1) known.add(at + step);
  return el("pre", { tabindex: 0 }, lines.map((line, at) => el(known.has(at) ? "span" : "mark", {}, `${line}\n`)));
}
