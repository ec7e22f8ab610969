// Leases, with what is left of each and the keys that die with it; and locks, with who holds them and who waits.

import { json } from "../core/api.js";
import { debounce, el, fill } from "../core/dom.js";
import { live } from "../core/live.js";
import { namesOf, ofBase64Url, ofText, show } from "../core/name.js";
import { poll } from "../core/poll.js";
import { hrefOf, hrefOfName, route } from "../core/route.js";
import { countdown, number, t, told } from "../core/text.js";
import { firstLines, openDialog } from "../parts/dialog.js";
import { notify } from "../parts/notice.js";
import { pager } from "../parts/pager.js";
import "../parts/rows.js";
import { left, plainTable, tick } from "../parts/table.js";

const EVERY_MS = 4000;
// After changes, once there are no more for so long.
const SOON_MS = 250;
// So many keys of a lease are named.
const NAMED = 200;
// So many locks stand on a page.
const LOCKS = 50;

// What an answer says and null, or null and why there is none.
const attempt = (answer) =>
  answer.then(
    (found) => [found, null],
    (problem) => {
      if (problem.code === undefined) throw problem;
      return [null, problem];
    },
  );

class LeasesPage extends HTMLElement {
  #rows = el("vardr-rows", { role: "grid", class: "table leases", "aria-label": t("nav.leases") });
  #blank = el("div", { class: "blank", hidden: true });
  #prefix = el("input", { type: "search", "aria-label": t("locks.prefix"), placeholder: t("locks.prefix"), spellcheck: "false" });
  #locks = plainTable(t("locks.title"), ["lock", "owner", "holder", "token", "lease", "waiting"]);
  #pages = pager(() => this.#lookAtLocks());
  #none = el("p", { class: "muted", role: "status", hidden: true });
  // The beginning of names that the list has, and the lock that is looked at.
  #asked = { prefix: "", lock: "" };
  #lock = el("p", { class: "hint", role: "status", hidden: true });
  // Counts the looks at each: the answer to an earlier one is not shown.
  #turns = { leases: 0, locks: 0, lock: 0 };
  #queue = plainTable(t("locks.queue"), ["place", "owner", "holder", "token", "lease"]);
  #stop;
  #clock;
  #narrow = debounce(SOON_MS, () => this.isConnected && route.go(this.#href({ prefix: this.#prefix.value }), { replace: true }));
  #onChanges = debounce(SOON_MS, () => this.isConnected && this.#look());

  connectedCallback() {
    document.title = `${t("nav.leases")} · Vardr`;
    const column = (word) => el("span", { role: "columnheader", class: word }, t(`column.${word}`));
    this.#rows.head = el("div", { class: "table-head", role: "row" }, ["id", "granted", "kind", "lease"].map(column));
    this.#rows.draw = (lease, index) => this.#row(lease, index);
    this.#rows.nameOf = ({ id }) => id;
    this.#rows.addEventListener("choose", ({ detail }) => this.#open(detail.id));
    this.#rows.addEventListener("click", (event) => {
      const lease = this.#rows.itemOf(event);
      if (lease) this.#open(lease.id);
    });
    this.#prefix.addEventListener("input", this.#narrow);
    const bar = el("div", { class: "toolbar thin" }, this.#prefix);
    this.append(el("div", { class: "toolbar" }, el("h1", {}, t("nav.leases"))), this.#rows, this.#blank);
    this.append(el("h2", {}, t("locks.title")), bar, this.#none, this.#locks.table, this.#pages.bar, this.#lock, this.#queue.table);
    live.addEventListener("changes", this.#onChanges);
    this.#stop = poll(EVERY_MS, () => this.#look());
    this.#clock = setInterval(() => {
      this.#rows.refresh();
      tick(this);
    }, 1000);
  }

  disconnectedCallback() {
    this.#stop();
    clearInterval(this.#clock);
    live.removeEventListener("changes", this.#onChanges);
  }

  show({ options }) {
    const { lock = "", prefix = "" } = options;
    if (this.#prefix !== document.activeElement) this.#prefix.value = prefix;
    if (prefix !== this.#asked.prefix) this.#pages.reset();
    this.#asked = { lock, prefix };
    this.#look();
  }

  // The address of this page with another lock or beginning.
  #href(changed) {
    const options = Object.entries({ ...this.#asked, ...changed }).filter(([, value]) => value !== "");
    return hrefOf({ page: "leases", options: Object.fromEntries(options) });
  }

  #look() {
    return Promise.all([this.#lookAtLeases(), this.#lookAtLocks(), this.#lookAtLock()]);
  }

  async #lookAtLocks() {
    const turn = ++this.#turns.locks;
    const words = { limit: LOCKS, prefix: this.#asked.prefix, cursor: this.#pages.cursor() ?? "" };
    const query = new URLSearchParams(Object.entries(words).filter(([, value]) => value !== ""));
    const [found, problem] = await attempt(json("GET", `/v1/locks?${query}`));
    if (turn !== this.#turns.locks) return;
    fill(this.#none, problem ? told(problem) : t("locks.none")).hidden = found?.items.length > 0;
    if (problem) return;
    this.#pages.show(found.cursor);
    this.#locks.show(found.items.map((item) => this.#lockRow(item)));
  }

  #lockRow({ name, name64, holder, waiting }) {
    const shown = show(name === undefined ? ofBase64Url(name64) : ofText(name));
    // A path goes nowhere by these.
    const link = name === undefined || name === "." || name === ".." ? shown : el("a", { href: this.#href({ lock: name }) }, shown);
    return [link, holder.owner ?? "", el("code", {}, holder.holder), String(holder.fencingToken), left(holder.ttl), number(waiting)];
  }

  async #lookAtLeases() {
    const turn = ++this.#turns.leases;
    const [found, problem] = await attempt(json("GET", "/v1/leases"));
    if (turn !== this.#turns.leases) return;
    fill(this.#blank, problem ? told(problem) : t("leases.none")).hidden = found?.items.length > 0;
    if (problem) return;
    this.#rows.items = found.items.map((item) => ({ ...item, dies: Date.now() + item.ttl * 1000 })).toSorted((a, b) => a.dies - b.dies);
    this.#rows.refresh();
  }

  async #lookAtLock() {
    const turn = ++this.#turns.lock;
    const name = this.#asked.lock;
    this.#lock.hidden = name === "";
    if (name === "") return this.#queue.show([]);
    // A path goes nowhere by these, and no lock is called so.
    if (name === "." || name === "..") return this.#refuse(t("locks.dots"));
    const [found, problem] = await attempt(json("GET", `/v1/locks/${encodeURIComponent(name)}`));
    if (turn !== this.#turns.lock) return undefined;
    if (problem) return this.#refuse(told(problem));
    const { holder, queue } = found;
    fill(this.#lock, el("code", {}, show(ofText(name))), " ", holder === null ? t("locks.free") : t("locks.held", { count: queue.length }));
    const places = [holder, ...queue].filter((place) => place !== null);
    const row = (place, at) => [
      t(at === 0 ? "locks.holds" : "locks.waits"),
      place.owner ?? "",
      el("code", {}, place.holder),
      String(place.fencingToken),
      left(place.ttl),
    ];
    return this.#queue.show(places.map(row));
  }

  #refuse(why) {
    fill(this.#lock, why);
    this.#queue.show([]);
  }

  #row(lease, index) {
    const cell = (word, ...content) => el("span", { role: "gridcell", class: word }, content);
    const seconds = (lease.dies - Date.now()) / 1000;
    return el(
      "div",
      { class: "table-row", role: "row", "aria-rowindex": index + 1 },
      cell("name", lease.id),
      cell("granted", countdown(lease.grantedTtl)),
      cell("kind", t(lease.own ? "leases.own" : "leases.shared")),
      cell("lease", countdown(seconds)),
    );
  }

  // Shows the keys of a lease; ending it deletes them, which is why they are shown first.
  async #open(id) {
    const lease = await json("GET", `/v1/leases/${id}`);
    const names = namesOf(lease, "keys");
    const line = (name) => el("li", {}, el("a", { href: hrefOfName(name, {}, name.endsWith("/")) }, show(name)));
    const list = el("ul", { class: "names", tabindex: 0, "aria-label": t("leases.keys") }, firstLines(names, NAMED, line));
    const content = [el("p", {}, el("code", {}, id)), el("p", { class: "muted" }, t("leases.with", { count: names.length })), list];
    const run = async () => (await json("DELETE", `/v1/leases/${id}`)).deleted;
    const opened = openDialog({
      title: t("leases.title"),
      content,
      actions: [{ label: t("dialog.done"), kind: "primary", run: () => true }, { label: t("leases.revoke"), kind: "bad", run }],
      onOpen: (dialog) => dialog.querySelectorAll("a").forEach((link) => link.addEventListener("click", () => dialog.close())),
    });
    const deleted = await opened;
    if (typeof deleted === "number") notify(t("remove.done", { count: deleted }));
    this.#look();
  }
}

customElements.define("leases-page", LeasesPage);
