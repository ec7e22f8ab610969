// The feed of changes: every change of the store as it comes, newest first. It can be narrowed and held.

import { button, el, fill } from "../core/dom.js";
import { live } from "../core/live.js";
import { ofText, show } from "../core/name.js";
import { hrefOfName, route } from "../core/route.js";
import { size, t } from "../core/text.js";
import { grid } from "../parts/grid.js";
import { View } from "../parts/view.js";

// So many changes are kept, the oldest go first.
const KEPT = 5000;
const TYPES = ["put", "delete", "expire"];

class ChangesPage extends View {
  #all = [];
  #shown = [];
  // What came while the feed is held; null when it is not.
  #held = null;
  #rows = grid(t("changes.table"), ["time", "revision", "change", "name", "size"], {
    cells,
    choose: ({ name }) => name !== undefined && route.go(hrefOfName(name)),
    kind: "feed",
  });
  #prefix = el("input", { type: "search", placeholder: t("changes.prefix"), "aria-label": t("changes.prefix") });
  #types = TYPES.map((type) => el("input", { type: "checkbox", checked: true, value: type }));
  #pause = button("", () => this.#toggle());
  #count = el("span", { class: "muted count", role: "status" });
  #blank = el("div", { class: "blank" });

  connectedCallback() {
    const ticks = this.#types.map((input) => el("label", { class: "tick" }, input, t(`operation.${input.value}`)));
    this.append(
      el("div", { class: "toolbar" }, el("h1", {}, t("nav.changes")), el("div", { class: "acts" }, this.#pause, button(t("changes.clear"), () => this.#clear()))),
      el("div", { class: "toolbar thin" }, this.#prefix, ticks, this.#count),
      this.#rows,
      this.#blank,
    );
    for (const input of [this.#prefix, ...this.#types]) input.addEventListener("input", () => this.#filter());
    this.listen(live, "changes", ({ detail }) => this.#take(detail));
    this.listen(live, "gap", () => this.#take([{ type: "gap", at: Date.now(), revision: live.since }]));
    this.listen(live, "state", () => this.#draw());
    this.#draw();
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
    this.#pause.setAttribute("aria-pressed", isHeld);
    fill(this.#count, isHeld ? t("changes.held", { count: this.#held.length }) : t("changes.count", { count: this.#shown.length }));
    this.#rows.items = this.#shown;
    this.#rows.refresh();
    this.#blank.hidden = this.#shown.length > 0;
    fill(this.#blank, t(live.state === "lost" ? "live.lost.hint" : "changes.none"));
  }
}

function cells({ type, at, revision, name, version, size: bytes }) {
  const time = new Date(at).toLocaleTimeString();
  if (type === "gap") return [time, revision, "…", t("changes.gap")];
  const word = type === "put" && version === 1 ? "operation.create" : `operation.${type}`;
  return [
    time,
    revision,
    el("span", { class: `operation ${type}` }, t(word)),
    el("a", { href: hrefOfName(name), tabindex: -1 }, show(name)),
    bytes === undefined ? "" : size(bytes),
  ];
}

customElements.define("changes-page", ChangesPage);
