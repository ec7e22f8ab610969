// The tree of keys: one level at a time, as it is opened, and only the rows in view in the page.

import { el, icon } from "../core/dom.js";
import { levels, placeOf } from "../core/levels.js";
import { ancestors, last, parent, show } from "../core/name.js";
import { hrefOfName, route } from "../core/route.js";
import { t, told } from "../core/text.js";
import { isFresh, rowLink } from "./grid.js";

class Tree extends HTMLElement {
  // The levels that are open, by directory; the top is always.
  #levels = new Map();
  #rows = el("vardr-rows", { role: "tree", "aria-label": t("tree.label") });
  #flat = [];
  #selected = null;
  // What is to be the current row once its level is here; null when a person has moved since.
  #wanted = null;
  #redraw = () => this.#later();
  #frame = 0;

  connectedCallback() {
    this.#rows.draw = (row) => this.#draw(row);
    // No name has a character beyond a byte: what is told of a level is none of its entries.
    this.#rows.nameOf = ({ entry, level }) => entry?.name ?? `${level.directory}\u2026`;
    this.#rows.addEventListener("keydown", (event) => this.#key(event), true);
    this.#rows.addEventListener("choose", ({ detail }) => this.#choose(detail));
    this.#rows.addEventListener("drawn", ({ detail }) => this.#page(detail));
    this.#rows.addEventListener("click", (event) => this.#click(event));
    this.append(this.#rows);
    this.#open("");
    this.#open("/");
  }

  disconnectedCallback() {
    for (const directory of [...this.#levels.keys()]) this.#close(directory);
    cancelAnimationFrame(this.#frame);
  }

  // Opens what is above a name, and marks it where it is.
  reveal(name) {
    this.#selected = name;
    for (const directory of ancestors(name).slice(0, -1)) this.#open(directory);
    this.#wanted = name;
    this.#later();
  }

  focus() {
    this.#rows.focus();
    if (this.#rows.current === undefined) this.#rows.moveTo(0);
  }

  #open(directory) {
    if (this.#levels.has(directory)) return;
    const level = levels.open(directory);
    level.addEventListener("change", this.#redraw);
    this.#levels.set(directory, level);
    this.#later();
  }

  #close(directory) {
    for (const [name, level] of this.#levels) {
      if (!name.startsWith(directory) || (name === "" && directory !== "")) continue;
      level.removeEventListener("change", this.#redraw);
      levels.close(level);
      this.#levels.delete(name);
    }
    this.#later();
  }

  #toggle(directory) {
    if (this.#levels.has(directory)) this.#close(directory);
    else this.#open(directory);
  }

  #later() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      this.#flatten();
      const wanted = this.#wanted === null ? -1 : this.#placeOf(this.#wanted);
      if (wanted < 0) return this.#rows.refresh();
      this.#wanted = null;
      return this.#rows.moveTo(wanted);
    });
  }

  #placeOf(name) {
    return this.#flat.findIndex((row) => row.entry?.name === name);
  }

  #flatten() {
    const flat = [];
    const walk = (level, depth) => {
      for (const entry of level.entries) {
        const child = entry.directory ? this.#levels.get(entry.name) : undefined;
        flat.push({ entry, depth, level, open: child !== undefined });
        if (child) walk(child, depth + 1);
      }
      if (level.problem?.code === "key_not_found") flat.push({ note: t("directory.absent"), depth, level });
      else if (level.problem) flat.push({ note: told(level.problem), depth, level, failed: true });
      else if (!level.complete) flat.push({ note: t("list.loading"), depth, level, more: true });
      else if (level.entries.length === 0) flat.push({ note: t(depth === 0 ? "tree.empty" : "directory.empty"), depth, level });
    };
    walk(this.#levels.get(""), 0);
    this.#flat = flat;
    this.#rows.items = flat;
  }

  #draw({ entry, depth, level, open, note, failed }) {
    const kind = entry ? (isFresh(entry) ? "fresh" : "") : failed ? "failed" : "note";
    const place = entry && {
      "aria-selected": String(entry.name === this.#selected),
      "aria-setsize": level.complete ? level.entries.length : -1,
      "aria-posinset": placeOf(level.entries, entry.name) + 1,
      "aria-expanded": entry.directory && String(open),
    };
    const row = el(
      "div",
      { class: `tree-row ${kind}`, role: "treeitem", "aria-level": depth + 1, ...place },
      entry?.directory && el("span", { class: "toggle" }, icon("chevron")),
      entry ? rowLink(hrefOfName(entry.name), entry, show(last(entry.name))) : note,
    );
    row.style.setProperty("--depth", depth);
    return row;
  }

  // The next page of a level, once its end comes into view.
  #page({ first, end }) {
    for (const { more, level } of this.#flat.slice(first, end)) if (more && !level.loading) level.more();
  }

  #click(event) {
    const row = this.#rows.itemOf(event);
    if (!row) return;
    this.#wanted = null;
    if (row.failed) row.level.more();
    if (!row.entry?.directory) return;
    if (event.target.closest(".toggle")) this.#toggle(row.entry.name);
    else if (event.target.closest("a")) this.#open(row.entry.name);
  }

  #choose(row) {
    if (row?.failed) row.level.more();
    if (!row?.entry) return;
    if (row.entry.directory) this.#open(row.entry.name);
    route.go(hrefOfName(row.entry.name));
  }

  #key(event) {
    this.#wanted = null;
    const row = this.#rows.current;
    if (!row?.entry || event.altKey || event.ctrlKey || event.metaKey) return;
    const { name, directory } = row.entry;
    if (event.key === "ArrowRight" && directory) {
      if (row.open) this.#rows.move(1);
      else this.#open(name);
    } else if (event.key === "ArrowLeft") {
      if (row.open) this.#close(name);
      else this.#rows.moveTo(this.#placeOf(parent(name)));
    } else if (event.key === " " && directory) {
      this.#toggle(name);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

customElements.define("vardr-tree", Tree);
