// A list of any length as a table: rows of cells below headings. Columns are the ends of keys of the texts.

import { el, icon } from "../core/dom.js";
import { show } from "../core/name.js";
import { t } from "../core/text.js";
import "./rows.js";

// What has come within so many milliseconds is marked.
const FRESH_MS = 2000;
export const isFresh = ({ fresh }) => fresh > Date.now() - FRESH_MS;

// The list. `cells` makes the cells of an item, in the order of the columns, each a node, a text or a list of these; `choose` is given the
// item that somebody opens, where a row is no link.
export function grid(label, columns, { cells, nameOf = (item) => item, choose, kind = "" }) {
  const rows = el("vardr-rows", { role: "grid", class: `table ${kind}`, "aria-label": label });
  const row = (role, content) => content.map((cell, at) => el("span", { role, class: columns[at] }, cell));
  const draw = (item, index) => {
    const mark = isFresh(item) ? " fresh" : "";
    return el("div", { class: `table-row${mark}`, role: "row", "aria-rowindex": index + 1 }, row("gridcell", cells(item)));
  };
  const head = el("div", { class: "table-head", role: "row" }, row("columnheader", columns.map((column) => t(`column.${column}`))));
  Object.assign(rows, { head, draw, nameOf });
  rows.addEventListener("choose", ({ detail }) => choose(detail));
  return rows;
}

// The link of a row to a key or directory.
export const rowLink = (href, { name, directory }, ...text) =>
  el("a", { href, tabindex: -1, title: show(name) }, icon(directory ? "folder" : "key"), el("span", {}, text));
