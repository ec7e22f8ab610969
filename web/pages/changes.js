// The feed of changes: every change of the store as it comes, newest first. It can be narrowed and held.

import { button, el, fill } from "../core/dom.js";
import { live } from "../core/live.js";
import { ofText, show } from "../core/name.js";
import { hrefOfName, route } from "../core/route.js";
import { size, t } from "../core/text.js";
import "../parts/rows.js";

// So many changes are kept, the oldest go first.
const KEPT = 5000;
const TYPES = ["put", "delete", "expire"];

class ChangesPage extends HTMLElement {
  #all = [];
  #shown = [];
  // What came while the feed is held; null when it is not.
  #held = null;
  #rows = el("vardr-rows", { role: "grid", class: "table feed", "aria-label": t("changes.table") });
  #prefix = el("input", { type: "search", placeholder: t("changes.prefix"), "aria-label": t("changes.prefix"), spellcheck: "false" });
  #types = TYPES.map((type) => el("input", { type: "checkbox", checked: true, value: type }));
  #pause = button("", () => this.#toggle());
  #count = el("span", { class: "muted count", role: "status" });
  #blank = el("div", { class: "blank" });
  #onChanges = ({ detail }) => this.#take(detail);
  #onGap = () => this.#take([{ type: "gap", at: Date.now(), revision: live.since }]);
  #onState = () => this.#draw();

  connectedCallback() {
    document.title = `${t("nav.changes")} · Vardr`;
    this.#rows.draw = (change, index) => this.#row(change, index);
    this.#rows.addEventListener("choose", ({ detail }) => detail.name !== undefined && route.go(hrefOfName(detail.name)));
    const ticks = this.#types.map((input) => el("label", { class: "tick" }, input, t(`type.${input.value}`)));
    const column = (word) => el("span", { role: "columnheader", class: word }, t(`column.${word}`));
    this.#rows.head = el("div", { class: "table-head", role: "row" }, ["time", "revision", "change", "name", "size"].map(column));
    this.append(
      el("div", { class: "toolbar" }, el("h1", {}, t("nav.changes")), el("div", { class: "acts" }, this.#pause, button(t("changes.clear"), () => this.#clear()))),
      el("div", { class: "toolbar thin" }, this.#prefix, ticks, this.#count),
      this.#rows,
      this.#blank,
    );
    this.#prefix.addEventListener("input", () => this.#filter());
    for (const input of this.#types) input.addEventListener("change", () => this.#filter());
    live.addEventListener("changes", this.#onChanges);
    live.addEventListener("gap", this.#onGap);
    live.addEventListener("state", this.#onState);
    this.#draw();
  }

  disconnectedCallback() {
    live.removeEventListener("changes", this.#onChanges);
    live.removeEventListener("gap", this.#onGap);
    live.removeEventListener("state", this.#onState);
  }

  show({ options }) {
    this.#prefix.value = options.prefix ?? "";
    this.#filter();
  }

  #take(changes) {
    if (this.#held !== null) {
      this.#held = this.#held.concat(changes).slice(-KEPT);
      return this.#draw();
    }
    this.#all = changes.slice(-KEPT).toReversed().concat(this.#all).slice(0, KEPT);
    return this.#filter();
  }

  #toggle() {
    const held = this.#held;
    this.#held = held === null ? [] : null;
    this.#take(held ?? []);
  }

  #clear() {
    this.#all = [];
    this.#filter();
  }

  #filter() {
    const prefix = ofText(this.#prefix.value);
    const types = new Set(this.#types.filter((input) => input.checked).map((input) => input.value));
    this.#shown = this.#all.filter(({ type, name }) => type === "gap" || (types.has(type) && name.startsWith(prefix)));
    this.#draw();
  }

  #draw() {
    const isHeld = this.#held !== null;
    fill(this.#pause, t(isHeld ? "changes.resume" : "changes.pause"));
    this.#pause.setAttribute("aria-pressed", String(isHeld));
    fill(this.#count, isHeld ? t("changes.held", { count: this.#held.length }) : t("changes.count", { count: this.#shown.length }));
    this.#rows.items = this.#shown;
    this.#rows.refresh();
    this.#blank.hidden = this.#shown.length > 0;
    fill(this.#blank, t(live.state === "lost" ? "live.lost.hint" : "changes.none"));
  }

  #row(change, index) {
    const cell = (word, ...content) => el("span", { role: "gridcell", class: word }, content);
    const row = el("div", { class: `table-row ${change.type}`, role: "row", "aria-rowindex": index + 1 });
    const time = cell("time", new Date(change.at).toLocaleTimeString());
    if (change.type === "gap") return fill(row, time, cell("revision", String(change.revision)), cell("change", "…"), cell("name", t("changes.gap")));
    const link = el("a", { href: hrefOfName(change.name), tabindex: -1 }, show(change.name));
    const word = change.type === "put" && change.version === 1 ? "type.create" : `type.${change.type}`;
    return fill(
      row,
      time,
      cell("revision", String(change.revision)),
      cell("change", el("span", { class: `operation ${change.type}` }, t(word))),
      cell("name", link),
      cell("size", change.size === undefined ? "" : size(change.size)),
    );
  }
}

customElements.define("changes-page", ChangesPage);
