// Two texts side by side, with the lines that differ marked and long equal stretches folded.

import { hexDump, textOfBytes } from "../core/codec.js";
import { sideBySide } from "../core/diff.js";
import { button, el } from "../core/dom.js";
import { t } from "../core/text.js";
import { appendPieces } from "./pieces.js";

// Equal lines kept around a difference, and rows drawn before one has to ask.
const AROUND = 3;
const PIECE = 2000;
// Of bytes that are no text so many are compared.
const DUMPED = 64 * 1024;

// The table for two values, each bytes or null where there was none.
export function diffTable(before, after, titles) {
  const isText = [before, after].every((bytes) => bytes === null || textOfBytes(bytes) !== null);
  const write = (bytes) => (bytes === null ? "" : isText ? textOfBytes(bytes) : hexDump(bytes, DUMPED));
  const rows = folded(sideBySide(write(before), write(after)));
  const body = el("div", { class: "diff", role: "table", "aria-label": t("diff.label") });
  body.append(el("div", { class: "diff-row head", role: "row" }, titles.map((title) => el("span", { role: "columnheader" }, title))));
  appendPieces(body, rows, PIECE, draw);
  if (rows.every((row) => row.kind !== "changed")) return el("div", {}, el("p", { class: "hint" }, t("diff.equal")), body);
  return body;
}

// Long equal stretches become one row that says how long they are.
function folded(rows) {
  const near = new Uint8Array(rows.length);
  rows.forEach((row, at) => row.kind === "changed" && near.fill(1, Math.max(0, at - AROUND), at + AROUND + 1));
  if (!near.includes(1)) return rows.slice(0, PIECE);
  const found = [];
  for (let at = 0; at < rows.length; at += 1) {
    if (near[at]) found.push(rows[at]);
    else if (found.at(-1)?.kind === "folded") found.at(-1).rows.push(rows[at]);
    else found.push({ kind: "folded", rows: [rows[at]] });
  }
  return found;
}

function draw(row) {
  if (row.kind === "folded") {
    const open = el("div", { class: "diff-row folded", role: "row" });
    open.append(button(t("diff.folded", { count: row.rows.length }), () => open.replaceWith(...row.rows.slice(0, PIECE).map(draw))));
    return open;
  }
  const side = (cell, word) => {
    const what = row.kind === "changed" && cell ? word : "";
    const sign = { gone: "−", new: "+" }[what] ?? " ";
    return el("span", { role: "cell", class: `side ${cell ? what : "none"}` }, el("span", { class: "no" }, cell?.number), el("code", {}, cell ? `${sign} ${cell.text}` : ""));
  };
  return el("div", { class: "diff-row", role: "row" }, side(row.left, "gone"), side(row.right, "new"));
}
