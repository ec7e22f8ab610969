// A table of a bounded number of rows, drawn whole. Columns are the ends of keys of the texts; long lists are in rows.js.

import { el, fill, pressOn } from "../core/dom.js";
import { countdown, t } from "../core/text.js";

// What is left of a time to live in seconds, if there is one; `tick` counts it down in all that an element holds.
export const left = (ttl) => (ttl === undefined ? "" : el("span", { "data-dies": Date.now() + ttl * 1000 }, countdown(ttl)));
export function tick(element) {
  for (const span of element.querySelectorAll("[data-dies]")) span.textContent = countdown((span.dataset.dies - Date.now()) / 1000);
}

// A word for how something is, that stands out where that is bad.
export const pill = (text, isBad) => el("span", { class: isBad ? "operation delete" : "operation" }, text);

// Gives the table, and a function that fills it: rows are lists of cells, each a node, a text or a list of these.
export function plainTable(label, columns) {
  const body = el("tbody");
  const head = el("tr", {}, columns.map((column) => el("th", { scope: "col", class: column }, t(`column.${column}`))));
  const table = el("div", { class: "plain-table", role: "region", "aria-label": label, tabindex: 0 }, el("table", {}, el("caption", { class: "unseen" }, label), el("thead", {}, head), body));
  let rows;
  const isPressed = pressOn(body, () => show(rows));
  const show = (latest) => {
    rows = latest;
    if (isPressed()) return;
    // The link that has the focus keeps it: of those that lead there, the one in the same place.
    const focused = document.activeElement;
    const alike = () => [...body.querySelectorAll("a")].filter(({ href }) => href === focused.href);
    const place = alike().indexOf(focused);
    table.hidden = rows.length === 0;
    fill(body, rows.map((cells) => el("tr", {}, cells.map((cell, at) => el("td", { class: columns[at] }, cell)))));
    alike()[place]?.focus({ preventScroll: true });
  };
  show([]);
  return { table, show };
}
