// A directory: what is in it as a table, one level or everything below, and what can be done with it.

import { firstOf, list } from "../core/api.js";
import { button, el, fill, icon } from "../core/dom.js";
import { levels } from "../core/levels.js";
import { isSayable, last, ofItem, show } from "../core/name.js";
import { hrefOfKey, hrefOfName, route } from "../core/route.js";
import { countdown, size, t, told } from "../core/text.js";
import { grid, rowLink } from "../parts/grid.js";
import { View } from "../parts/view.js";

// What is needed once somebody acts is loaded then.
const create = () => import("../parts/create.js");

class DirectoryView extends View {
  #name;
  #level;
  #total = null;
  #rows = grid(t("directory.table"), ["name", "size", "revision", "version", "lease"], {
    cells: (entry) => this.#cells(entry),
    nameOf: ({ name }) => name,
    choose: (entry) => route.go(this.#href(entry)),
  });
  #count = el("span", { class: "muted count", role: "status" });
  #ways = el("div", { class: "switch", role: "group", "aria-label": t("directory.depth") });
  #blank = el("div", { class: "blank", hidden: true });
  #marker = el("p", { class: "hint", hidden: true });
  // Why there is no more of it, beside what there is.
  #failed = el("div", { class: "toolbar thin failed", role: "alert", hidden: true });
  #redraw = () => this.#draw();

  connectedCallback() {
    this.#name = this.place.name;
    this.#rows.addEventListener("drawn", ({ detail }) => detail.end >= this.#level.entries.length - 50 && this.#more());
    const act = [
      button([icon("plus"), t("create.key")], async () => (await create()).createKey(this.#name), { class: "primary" }),
      button(t("create.directory"), async () => (await create()).createDirectory(this.#name)),
      this.#name !== "" && button(t("create.append"), async () => (await create()).appendKey(this.#name)),
      this.#name !== "" && button(t("import.action"), async () => (await import("../parts/import.js")).importInto(this.#name)),
      this.#name !== "" && button(t("export.action"), async () => (await import("../parts/export.js")).exportDirectory(this.#name)),
      this.#name !== "" && isSayable(this.#name) && button(t("rollback.action"), async () => (await import("../parts/rollback.js")).openRollback(this.#name)),
      this.#name !== "/" && isSayable(this.#name) && button(t("move.action"), async () => (await import("../parts/move.js")).openMove(this.#name)),
      this.#name !== "" && this.#name !== "/" && button(t("remove.action"), async () => (await import("../parts/remove.js")).removeDirectory(this.#name), { class: "bad" }),
    ];
    this.append(
      el("div", { class: "toolbar" }, el("h1", {}, this.#name === "" ? t("keys.top") : show(last(this.#name))), el("div", { class: "acts" }, act)),
      el("div", { class: "toolbar thin" }, this.#ways, this.#count),
      this.#marker,
      this.#failed,
      this.#rows,
      this.#blank,
    );
    this.show(this.place);
    this.#findMarker();
    // Countdowns go on, and what was new becomes usual.
    this.eachSecond(() => this.#level.entries.some((entry) => entry.dies || entry.fresh) && this.#rows.refresh());
    this.atEnd(() => this.#leave());
  }

  show({ options }) {
    const recursive = options.all !== undefined;
    if (this.#level?.recursive === recursive) return;
    this.#leave();
    this.#level = levels.open(this.#name, recursive);
    this.#level.addEventListener("change", this.#redraw);
    const way = (all) =>
      el("a", { href: hrefOfName(this.#name, all ? { all: "" } : {}), "aria-current": all === recursive ? "true" : undefined }, t(all ? "directory.all" : "directory.level"));
    fill(this.#ways, way(false), way(true));
    this.#rows.scrollTop = 0;
    this.#total = null;
    this.#draw();
  }

  #leave() {
    if (this.#level === undefined) return;
    this.#level.removeEventListener("change", this.#redraw);
    levels.close(this.#level);
  }

  #more() {
    if (!this.#level.loading && !this.#level.problem) this.#level.more();
  }

  // A marker may hold a value, as other programs write them: then it can be opened as a key.
  async #findMarker() {
    if (this.#name === "") return;
    const { item } = await firstOf(this.#name).catch(() => ({ item: null }));
    if (item === null || ofItem(item) !== this.#name || item.size === 0) return;
    fill(this.#marker, t("directory.hasMarker"), " ", el("a", { href: hrefOfName(this.#name, {}, true) }, t("directory.openMarker")));
    this.#marker.hidden = false;
  }

  #draw() {
    const level = this.#level;
    const { entries, complete, loading, problem } = level;
    if (!complete && !loading && !problem && entries.length > 0 && this.#total === null) this.#countAll();
    this.#rows.items = entries;
    this.#rows.setAttribute("aria-rowcount", complete ? entries.length : -1);
    this.#rows.refresh();
    const values = { count: entries.length, total: this.#total ?? "…" };
    this.#count.hidden = !complete && entries.length === 0;
    fill(this.#count, complete ? t("directory.count", values) : t("directory.part", values));
    this.#blank.hidden = entries.length > 0;
    const why = problem && [el("span", { class: "problem" }, told(problem)), button(t("list.again"), () => level.more())];
    this.#failed.hidden = !problem || entries.length === 0;
    fill(this.#failed, this.#failed.hidden ? [] : why);
    if (entries.length > 0) return;
    const state = !complete ? "list.loading" : this.#name === "/" ? "directory.first" : "directory.empty";
    fill(this.#blank, problem?.code === "key_not_found" ? t("directory.absent") : (why ?? t(state)));
  }

  // How many there are in all, where that takes a second request.
  async #countAll() {
    const level = this.#level;
    this.#total = "…";
    const counted = await list(this.#name, { countOnly: true, recursive: level.recursive }).catch(() => null);
    if (level !== this.#level || counted === null) return;
    this.#total = counted.count;
    this.#draw();
  }

  // With everything below, a marker is shown as the key that it is.
  #href(entry) {
    return this.#level.recursive ? hrefOfKey(entry.name) : hrefOfName(entry.name);
  }

  #cells(entry) {
    const name = this.#level.recursive ? entry.name.slice(this.#name.length) : last(entry.name);
    const link = rowLink(this.#href(entry), entry, show(name));
    if (entry.directory) return [link];
    const left = entry.dies === undefined ? (entry.lease ? t("lease.held") : "") : countdown((entry.dies - Date.now()) / 1000);
    return [link, entry.size === undefined ? "" : size(entry.size), entry.revision, entry.version, left];
  }
}

customElements.define("directory-view", DirectoryView);
