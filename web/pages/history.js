// The versions of a key that are still kept: what each change was, what differs between any two, and the way back.

import { Question, absent, history, read } from "../core/api.js";
import { bytesOfText } from "../core/codec.js";
import { button, el, fill } from "../core/dom.js";
import { hrefOfName, route } from "../core/route.js";
import { ago, instant, size, t, told } from "../core/text.js";
import { diffTable } from "../parts/diffview.js";
import { openRollback } from "../parts/rollback.js";
import { View } from "../parts/view.js";

const PAGE = 50;

// How large the value of a version is, where the answer says it exactly: of JSON it lacks the line breaks.
function sizeOf({ encoding, value }) {
  if (encoding === "utf8") return size(bytesOfText(value).length);
  return encoding === "base64" ? size(atob(value).length) : "";
}

class KeyHistory extends View {
  // The pages that are read, newest first; `#before` is where the next one begins, if there is one.
  #versions = [];
  #before;
  // The revision of the key that they are of.
  #revision;
  // Of the versions and of the values: only the last question counts.
  #reading = new Question();
  #comparing = new Question();
  #list = el("ol", { class: "versions", "aria-label": t("history.list") });
  #rest = el("div", { class: "toolbar thin" });
  #difference = el("section", { class: "difference", "aria-live": "polite" });

  connectedCallback() {
    this.append(el("div", { class: "side-list" }, this.#list, this.#rest), this.#difference);
    this.atEnd(() => [this.#reading, this.#comparing].forEach((question) => question.drop()));
  }

  // Shows the history of the key as it is now; read anew when the key has changed.
  show(item) {
    const revision = item?.modRevision ?? null;
    if (revision === this.#revision) return this.#compare();
    this.#revision = revision;
    return this.#read();
  }

  // Reads the first page, or the one after those that are here.
  async #read(before) {
    const { name, literal } = this.place;
    const signal = this.#reading.anew();
    fill(this.#rest, el("span", { class: "muted" }, t("list.loading")));
    try {
      const page = await history(name, { limit: PAGE, before }, { literal, signal });
      this.#versions = before === undefined ? page.items : this.#versions.concat(page.items);
      this.#before = page.before;
    } catch (problem) {
      if (signal.aborted) return undefined;
      if (problem.code === undefined) throw problem;
      const isGone = problem.code === "key_not_found";
      if (isGone) {
        this.#versions = [];
        this.#compare();
      }
      return fill(this.#rest, el("span", { class: "muted" }, told(problem)), !isGone && button(t("list.again"), () => this.#read(before)));
    }
    fill(this.#rest, this.#before && button(t("history.more"), () => this.#read(this.#before)));
    return this.#compare();
  }

  // The two revisions that are compared: those of the place, or the last two. The first is undefined where no page has it.
  get #pair() {
    const { a, b } = this.place.options;
    const newest = b ? Number(b) : this.#versions[0]?.revision;
    return [a ? Number(a) : this.#versions.find((version) => version.revision < newest)?.revision, newest];
  }

  #drawList() {
    const [from, to] = this.#pair;
    const { name, literal } = this.place;
    const choose = (option) => (version) => {
      const [a, b] = option === "a" ? [version.revision, to] : [from, version.revision];
      const options = { view: "history", a: a ?? version.revision, b: b ?? version.revision };
      route.go(hrefOfName(name, options, literal), { replace: true });
    };
    const radio = (option, version, checked) => {
      const label = t(`history.${option}`, version);
      return el("input", { type: "radio", name: `version-${option}`, checked, "aria-label": label, title: label, on: { change: () => choose(option)(version) } });
    };
    const row = (version, at) => {
      const isGone = version.type !== "put";
      return el(
        "li",
        { class: isGone ? "gone" : "" },
        radio("a", version, version.revision === from),
        radio("b", version, version.revision === to),
        el("span", { class: "number" }, version.revision),
        el("span", { class: `operation ${version.type}` }, t(`operation.${version.operation}`)),
        el("span", { class: "muted" }, sizeOf(version)),
        el("time", { datetime: version.time, title: instant(version.time) }, ago(version.time)),
        version.author && el("span", { class: "muted" }, version.author),
        (at > 0 || isGone) && button(t("history.back"), () => openRollback(name, { to: version.revision, literal }), { class: "plain", "aria-label": t("history.backTo", version) }),
      );
    };
    // Whoever chooses by keyboard goes on from there.
    const held = this.#list.contains(document.activeElement) ? document.activeElement.ariaLabel : null;
    fill(this.#list, this.#versions.map(row));
    if (held !== null) [...this.#list.querySelectorAll("input, button")].find((control) => control.ariaLabel === held)?.focus();
  }

  // What the key was at a revision: bytes, or null when it was not there.
  async #valueAt(revision, signal) {
    const isGone = this.#versions.some((version) => version.revision === revision && version.type !== "put");
    if (revision === undefined || isGone) return null;
    const { name, literal } = this.place;
    return (await read(name, { revision, literal, signal }).catch(absent))?.bytes ?? null;
  }

  // The version before one, where that is on a page that is not here yet.
  async #earlier(revision, signal) {
    if (this.#before === undefined) return undefined;
    const { name, literal } = this.place;
    return (await history(name, { limit: 1, before: revision }, { literal, signal })).items[0]?.revision;
  }

  async #compare() {
    const signal = this.#comparing.anew();
    this.#drawList();
    const [known, to] = this.#pair;
    if (to === undefined) return fill(this.#difference);
    try {
      const from = known ?? (await this.#earlier(to, signal));
      const [before, after] = await Promise.all([from, to].map((revision) => this.#valueAt(revision, signal)));
      const title = (revision) => (revision === undefined ? t("history.nothing") : t("history.at", { revision }));
      return fill(this.#difference, diffTable(before, after, [title(from), title(to)]));
    } catch (problem) {
      if (signal.aborted) return undefined;
      if (problem.code === undefined) throw problem;
      return fill(this.#difference, el("p", { class: "problem" }, told(problem)));
    }
  }
}

customElements.define("key-history", KeyHistory);
