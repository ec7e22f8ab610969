// Leases, with what is left of each and the keys that die with it; and locks, with who holds them and who waits.

import { Question, json, outcome, query } from "../core/api.js";
import { debounce, el, fill } from "../core/dom.js";
import { live } from "../core/live.js";
import { nameIn, namesOf, ofText, show } from "../core/name.js";
import { poll } from "../core/poll.js";
import { hrefOf, hrefOfKey, route } from "../core/route.js";
import { countdown, number, t, told } from "../core/text.js";
import { DONE, firstLines, nameList, openDialog } from "../parts/dialog.js";
import { grid } from "../parts/grid.js";
import { notify } from "../parts/notice.js";
import { pagedTable } from "../parts/pager.js";
import { left, plainTable, tick } from "../parts/table.js";
import { View } from "../parts/view.js";

const EVERY_MS = 4000;
// After changes, once there are no more for so long.
const SOON_MS = 250;
// So many keys of a lease are named.
const NAMED = 200;

// A path goes nowhere by these, and no lock is called so.
const isDots = (name) => name === "." || name === "..";

class LeasesPage extends View {
  #rows = grid(t("nav.leases"), ["id", "granted", "kind", "lease"], {
    cells,
    nameOf: ({ id }) => id,
    choose: ({ id }) => this.#open(id),
    kind: "leases",
  });
  #blank = el("div", { class: "blank", hidden: true });
  #prefix = el("input", { type: "search", "aria-label": t("locks.prefix"), placeholder: t("locks.prefix") });
  #locks = pagedTable(t("locks.title"), ["lock", "owner", "holder", "token", "lease", "waiting"], {
    ask: (page) => json("GET", `/v1/locks?${query({ ...page, prefix: this.#asked.prefix })}`),
    cells: (lock) => this.#lockCells(lock),
    none: t("locks.none"),
  });
  // The beginning of names that the list has, and the lock that is looked at.
  #asked = { prefix: "", lock: "" };
  #lock = el("p", { class: "hint", role: "status", hidden: true });
  #looking = { leases: new Question(), lock: new Question() };
  #queue = plainTable(t("locks.queue"), ["place", "owner", "holder", "token", "lease"]);
  #narrow = debounce(SOON_MS, () => this.isConnected && route.go(this.#href({ prefix: this.#prefix.value }), { replace: true }));

  connectedCallback() {
    this.#rows.addEventListener("click", (event) => {
      const lease = this.#rows.itemOf(event);
      if (lease) this.#open(lease.id);
    });
    this.#prefix.addEventListener("input", this.#narrow);
    const bar = el("div", { class: "toolbar thin" }, this.#prefix);
    this.append(el("div", { class: "toolbar" }, el("h1", {}, t("nav.leases"))), this.#rows, this.#blank);
    this.append(el("h2", {}, t("locks.title")), bar, ...this.#locks.nodes, this.#lock, this.#queue.table);
    this.listen(live, "changes", debounce(SOON_MS, () => this.isConnected && this.#look()));
    this.atEnd(poll(EVERY_MS, () => this.#look()));
    this.eachSecond(() => {
      this.#rows.refresh();
      tick(this);
    });
  }

  show({ options }) {
    const { lock = "", prefix = "" } = options;
    if (this.#prefix !== document.activeElement) this.#prefix.value = prefix;
    if (prefix !== this.#asked.prefix) this.#locks.reset();
    this.#asked = { lock, prefix };
    this.#look();
  }

  // The address of this page with another lock or beginning.
  #href(changed) {
    const { lock, prefix } = { ...this.#asked, ...changed };
    return hrefOf({ page: "leases", options: { lock: lock || undefined, prefix: prefix || undefined } });
  }

  #look() {
    return Promise.all([this.#lookAtLeases(), this.#locks.look(), this.#lookAtLock()]);
  }

  #lockCells(lock) {
    const { name, holder, waiting } = lock;
    const shown = show(nameIn(lock, "name"));
    const link = name === undefined || isDots(name) ? shown : el("a", { href: this.#href({ lock: name }) }, shown);
    return [link, ...placeCells(holder), number(waiting)];
  }

  async #lookAtLeases() {
    const signal = this.#looking.leases.anew();
    const [found, problem] = await outcome(json("GET", "/v1/leases"));
    if (signal.aborted) return;
    fill(this.#blank, problem ? told(problem) : t("leases.none")).hidden = found?.items.length > 0;
    if (problem) return;
    this.#rows.items = found.items.map((item) => ({ ...item, dies: Date.now() + item.ttl * 1000 })).toSorted((a, b) => a.dies - b.dies);
    this.#rows.refresh();
  }

  async #lookAtLock() {
    const signal = this.#looking.lock.anew();
    const name = this.#asked.lock;
    this.#lock.hidden = name === "";
    if (name === "") return this.#queue.show([]);
    if (isDots(name)) return this.#refuse(t("locks.dots"));
    const [found, problem] = await outcome(json("GET", `/v1/locks/${encodeURIComponent(name)}`));
    if (signal.aborted) return undefined;
    if (problem) return this.#refuse(told(problem));
    const { holder, queue } = found;
    fill(this.#lock, el("code", {}, show(ofText(name))), " ", holder === null ? t("locks.free") : t("locks.held", { count: queue.length }));
    const places = [holder, ...queue].filter((place) => place !== null);
    const row = (place, at) => [t(at === 0 ? "locks.holds" : "locks.waits"), ...placeCells(place)];
    return this.#queue.show(places.map(row));
  }

  #refuse(why) {
    fill(this.#lock, why);
    this.#queue.show([]);
  }

  // Shows the keys of a lease; ending it deletes them, which is why they are shown first.
  async #open(id) {
    const lease = await json("GET", `/v1/leases/${id}`);
    const names = namesOf(lease, "keys");
    const line = (name) => el("li", {}, el("a", { href: hrefOfKey(name) }, show(name)));
    const list = nameList(t("leases.keys"), firstLines(names, NAMED, line));
    const run = async () => (await json("DELETE", `/v1/leases/${id}`)).deleted;
    await openDialog({
      title: t("column.id"),
      subject: id,
      content: [el("p", { class: "muted" }, t("leases.with", { count: names.length })), list],
      actions: [DONE, { label: t("leases.revoke"), kind: "bad", run }],
      tell: (deleted) => deleted !== true && notify(t("remove.done", { count: deleted })),
    });
    this.#look();
  }
}

function cells({ id, grantedTtl, own, dies }) {
  return [id, countdown(grantedTtl), t(own ? "leases.own" : "leases.shared"), countdown((dies - Date.now()) / 1000)];
}

// A place in the queue of a lock.
const placeCells = ({ owner, holder, fencingToken, ttl }) => [owner, el("code", {}, holder), fencingToken, left(ttl)];

customElements.define("leases-page", LeasesPage);
