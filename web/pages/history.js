// The versions of a key that are still kept: what each change was, what differs between any two, and the way back.

import { history, read } from "../core/api.js";
import { button, el, fill } from "../core/dom.js";
import { hrefOfName, route } from "../core/route.js";
import { ago, instant, size, t, told } from "../core/text.js";
import { diffTable } from "../parts/diffview.js";
import { openRollback } from "../parts/rollback.js";

const PAGE = 50;

// How large the value of a version is, where the answer says it exactly: of JSON it lacks the line breaks.
function sizeOf({ encoding, value }) {
  if (encoding === "utf8") return size(new TextEncoder().encode(value).length);
  return encoding === "base64" ? size(atob(value).length) : "";
}

class KeyHistory extends HTMLElement {
  #versions = [];
  #before;
  #revision = 0;
  #list = el("ol", { class: "versions", "aria-label": t("history.list") });
  #rest = el("div", { class: "toolbar thin" });
  #difference = el("section", { class: "difference", "aria-live": "polite" });

  connectedCallback() {
    if (!this.firstChild) this.append(el("div", { class: "side-list" }, this.#list, this.#rest), this.#difference);
  }

  // Shows the history of the key as it is now; read anew when the key has changed.
  async show(item) {
    const revision = item?.modRevision ?? -1;
    if (revision !== this.#revision) {
      this.#revision = revision;
      this.#versions = [];
      this.#before = undefined;
      await this.#more();
    }
    return this.#compare();
  }

  async #more() {
    const { name, literal } = this.place;
    try {
      const page = await history(name, { limit: PAGE, before: this.#before }, { literal });
      this.#versions.push(...page.items);
      this.#before = page.before;
    } catch (problem) {
      if (problem.code === undefined) throw problem;
      return fill(this.#rest, el("p", { class: "muted" }, told(problem)));
    }
    fill(this.#rest, this.#before && button(t("history.more"), () => this.#more().then(() => this.#compare())));
    return undefined;
  }

  // The two revisions that are compared: those of the place, or the last two.
  get #pair() {
    const { a, b } = this.place.options;
    const newest = b ? Number(b) : this.#versions[0]?.revision;
    const at = this.#versions.findIndex((version) => version.revision === newest);
    return [a ? Number(a) : this.#versions[at + 1]?.revision, newest];
  }

  #drawList() {
    const [from, to] = this.#pair;
    const choose = (option) => (version) => {
      const [a, b] = option === "a" ? [version.revision, to] : [from, version.revision];
      const options = { view: "history", a: String(a ?? version.revision), b: String(b ?? version.revision) };
      route.go(hrefOfName(this.place.name, options, this.place.literal), { replace: true });
    };
    const radio = (option, version, checked) => {
      const label = t(`history.${option}`, { revision: String(version.revision) });
      return el("input", { type: "radio", name: `version-${option}`, checked, "aria-label": label, title: label, on: { change: () => choose(option)(version) } });
    };
    const row = (version, at) => {
      const isGone = version.type !== "put";
      return el(
        "li",
        { class: isGone ? "gone" : "" },
        radio("a", version, version.revision === from),
        radio("b", version, version.revision === to),
        el("span", { class: "number" }, String(version.revision)),
        el("span", { class: `operation ${version.type}` }, t(`operation.${version.operation}`)),
        el("span", { class: "muted" }, sizeOf(version)),
        el("time", { datetime: version.time, title: instant(version.time) }, ago(version.time)),
        version.author && el("span", { class: "muted" }, version.author),
        (at > 0 || isGone) && button(t("history.back"), () => this.#back(version), { class: "plain", "aria-label": t("history.backTo", { revision: String(version.revision) }) }),
      );
    };
    fill(this.#list, this.#versions.map(row));
  }

  async #back(version) {
    await openRollback(this.place.name, { to: version.revision, literal: this.place.literal });
  }

  async #compare() {
    this.#drawList();
    const [from, to] = this.#pair;
    if (to === undefined) return fill(this.#difference);
    const value = (revision) => {
      const isGone = this.#versions.find((version) => version.revision === revision)?.type !== "put";
      if (revision === undefined || isGone) return null;
      return read(this.place.name, { revision, literal: this.place.literal }).then((item) => item.bytes);
    };
    try {
      const [before, after] = await Promise.all([value(from), value(to)]);
      if (String(this.#pair) !== String([from, to])) return undefined;
      const title = (revision) => (revision === undefined ? t("history.nothing") : t("history.at", { revision: String(revision) }));
      return fill(this.#difference, diffTable(before, after, [title(from), title(to)]));
    } catch (problem) {
      if (problem.code === undefined) throw problem;
      return fill(this.#difference, el("p", { class: "problem" }, told(problem)));
    }
  }
}

customElements.define("key-history", KeyHistory);
