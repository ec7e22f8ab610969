// One key: what it is, its value or its history, and what can be done with it. It follows what others do to it.

import { Question, read } from "../core/api.js";
import { button, el, fill, icon } from "../core/dom.js";
import { live } from "../core/live.js";
import { last, show } from "../core/name.js";
import { hrefOfName } from "../core/route.js";
import { countdown, size, t, told } from "../core/text.js";
import { facts } from "../parts/facts.js";
import "../parts/value.js";
import { View } from "../parts/view.js";

// What is needed once somebody acts is loaded then.
const transfer = () => import("../parts/transfer.js");

class KeyView extends View {
  // The key as it was last read; null when it is not there; undefined before.
  #item;
  #problem = null;
  // The store's revision that it was read at.
  #at = 0;
  #dies;
  #title = el("h1");
  #acts = el("div", { class: "acts" });
  #facts = el("dl", { class: "facts" });
  #tabs = el("nav", { class: "tabs", "aria-label": t("key.tabs") });
  #body = el("div", { class: "key-body" });
  #editor = null;
  #reading = new Question();

  connectedCallback() {
    fill(this.#title, show(last(this.place.name)));
    this.append(el("div", { class: "toolbar" }, this.#title, this.#acts), this.#facts, this.#tabs, this.#body);
    this.listen(live, "changes", ({ detail }) => this.#follow(detail));
    this.listen(live, "gap", () => this.#forget());
    this.listen(live, "state", () => live.state === "live" && this.#problem?.code === "unreachable" && this.#read());
    this.listen(document, "keydown", (event) => this.#key(event));
    this.eachSecond(() => this.#count());
    this.atEnd(() => this.#reading.drop());
    this.#read();
  }

  get #name() {
    return this.place.name;
  }

  show(place) {
    this.place = place;
    // Whoever was editing has been asked.
    if (this.#editor !== null) {
      this.#editor = null;
      this.#body.replaceChildren();
    }
    this.#draw();
  }

  // Reads the key. Answers may overtake each other: one that is older than what is shown is dropped.
  async #read() {
    const { name, literal } = this.place;
    const { signal } = this.#reading;
    const before = this.#at;
    const [item, at, problem] = await read(name, { literal, signal }).then(
      (found) => [found, found.at, null],
      (failure) => (failure.code === "key_not_found" ? [null, failure.revision, null] : [undefined, before, failure]),
    );
    if (signal.aborted || at < this.#at) return undefined;
    if (problem !== null && problem.code === undefined) throw problem;
    this.#problem = problem;
    if (problem === null) [this.#item, this.#at] = [item, at];
    if (this.#at > 0) live.start(this.#at);
    if (this.#problem === null && live.since > this.#at) return this.#read();
    this.#dies = this.#item?.ttl === undefined ? undefined : Date.now() + this.#item.ttl * 1000;
    if (this.isConnected && this.#editor === null) this.#draw();
    else if (this.#problem === null) this.#editor?.meanwhile(this.#item);
    return undefined;
  }

  // The store may be another one: nothing that is on its way counts, and no revision is older than what is shown.
  #forget() {
    this.#reading.anew();
    this.#at = 0;
    this.#read();
  }

  // What others did to the key, once it is newer than what is shown.
  #follow(changes) {
    const newest = changes.findLast((change) => change.name === this.#name);
    if (newest === undefined || newest.revision <= this.#at) return;
    this.classList.add("fresh");
    setTimeout(() => this.classList.remove("fresh"), 1500);
    this.#read();
  }

  // Counts down; a lease that has run out by our clock may have been renewed, which is no change.
  #count() {
    if (this.#dies === undefined) return;
    const left = (this.#dies - Date.now()) / 1000;
    const place = this.querySelector(".left");
    if (place) place.textContent = countdown(left);
    if (left > 0) return;
    this.#dies = undefined;
    setTimeout(() => this.isConnected && this.#read(), 1500);
  }

  #draw() {
    const item = this.#item;
    fill(this.#acts, item ? this.#actsOf(item) : []);
    fill(this.#facts, item ? facts(this.#factsOf(item)) : []);
    const view = this.place.options.view === "history" ? "history" : "value";
    const tab = (word) => {
      const href = hrefOfName(this.#name, word === "value" ? {} : { view: word }, this.place.literal);
      return el("a", { href, "aria-current": word === view ? "page" : undefined }, t(`key.${word}`));
    };
    fill(this.#tabs, tab("value"), tab("history"));
    if (view === "history") return this.#showHistory();
    if (this.#problem) return fill(this.#body, this.#blank(told(this.#problem), button(t("list.again"), () => this.#read())));
    if (item === undefined) return fill(this.#body, this.#blank(t("list.loading")));
    if (item === null) return fill(this.#body, this.#blank(t("key.absent"), button(t("key.create"), () => this.edit(), { class: "primary" })));
    if (this.#body.firstChild?.localName !== "value-view") fill(this.#body, el("value-view"));
    return this.#body.firstChild.show(item);
  }

  async #showHistory() {
    await import("./history.js");
    if (this.place.options.view !== "history" || this.#editor !== null) return;
    if (this.#body.firstChild?.localName !== "key-history") fill(this.#body, el("key-history"));
    const history = this.#body.firstChild;
    history.place = this.place;
    await history.show(this.#item);
  }

  #blank(...content) {
    return el("div", { class: "blank" }, content);
  }

  #actsOf(item) {
    const { name, literal } = this.place;
    const more = [
      button(t("key.curl"), async () => (await transfer()).copyCurl(name, literal)),
      button(t("key.download"), async () => (await transfer()).download(name, item)),
      button(t("key.upload"), async () => (await transfer()).upload((bytes) => this.edit(bytes))),
      button(t("lease.change"), async () => (await import("../parts/lease.js")).changeLease(name, item, { literal })),
      button(t("move.action"), async () => (await import("../parts/move.js")).openMove(name, { literal })),
      button(t("remove.action"), async () => (await import("../parts/remove.js")).removeKey(name, item, { literal }), { class: "bad" }),
    ];
    return [button([t("key.edit"), el("kbd", { "aria-hidden": "true" }, "e")], () => this.edit(), { class: "primary" }), ...more];
  }

  #factsOf(item) {
    return {
      revision: item.modRevision,
      created: item.createRevision,
      version: item.version,
      size: size(item.bytes.length),
      type: item.contentType,
      id: item.lease && [el("code", {}, item.lease), item.ttl !== undefined && [" ", icon("clock"), el("span", { class: "left" }, countdown(item.ttl))]],
    };
  }

  // Opens the editor, on the value as it is or on other bytes.
  async edit(bytes) {
    await import("../parts/editor.js");
    if (this.#editor !== null || this.#item === undefined || !this.isConnected) return;
    const editor = el("value-editor");
    this.#editor = editor;
    Object.assign(editor, { place: this.place, base: this.#item, initial: bytes, form: bytes ? undefined : this.#body.firstChild?.chosen });
    editor.addEventListener("done", () => {
      if (this.#editor !== editor) return;
      this.#editor = null;
      this.#body.replaceChildren();
      this.#read();
    });
    fill(this.#acts);
    fill(this.#body, editor);
  }

  #key(event) {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key !== "e" || !isPlain || event.target.closest("input, textarea, select, dialog")) return;
    event.preventDefault();
    this.edit();
  }
}

customElements.define("key-view", KeyView);
