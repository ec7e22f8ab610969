// Keys that hold a text, in their name or their value. The server looks; the page says how far it has come.

import { list } from "../core/api.js";
import { button, el, fill, icon } from "../core/dom.js";
import { last, ofItem, ofText, parent, show, textOf } from "../core/name.js";
import { hrefOf, hrefOfName, route } from "../core/route.js";
import { size, t, told } from "../core/text.js";
import "../parts/rows.js";

// Found or looked into so many, the search waits to be told to go on.
const FOUND_AT_ONCE = 500;
const EXAMINED_AT_ONCE = 200_000;

class SearchPage extends HTMLElement {
  #found = [];
  #examined = 0;
  #cursor;
  #asking = new AbortController();
  // What is looked for, and where: what stands in the fields may be another one already.
  #wanted;
  #text = el("input", { type: "search", "aria-label": t("search.text"), placeholder: t("search.text"), spellcheck: "false", required: true });
  #below = el("input", { "aria-label": t("search.below"), placeholder: "/", spellcheck: "false" });
  #state = el("span", { class: "muted count", role: "status" });
  #act = el("span", {});
  #rows = el("vardr-rows", { role: "grid", class: "table", "aria-label": t("search.found") });
  #blank = el("div", { class: "blank", hidden: true });

  connectedCallback() {
    const form = el("form", { class: "toolbar thin" }, this.#text, el("label", { class: "tick" }, t("search.below"), this.#below), el("button", { class: "primary" }, t("search.do")), this.#state, this.#act);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const options = { text: this.#text.value, below: this.#below.value || undefined };
      route.go(hrefOf({ page: "search", options }), { replace: true });
    });
    this.#rows.draw = (item, index) => this.#row(item, index);
    this.#rows.nameOf = (item) => item.name;
    this.#rows.addEventListener("choose", ({ detail }) => route.go(this.#href(detail)));
    const column = (word) => el("span", { role: "columnheader", class: word }, t(`column.${word}`));
    this.#rows.head = el("div", { class: "table-head", role: "row" }, ["name", "size", "revision"].map(column));
    this.append(el("div", { class: "toolbar" }, el("h1", {}, t("search.title"))), form, this.#rows, this.#blank);
  }

  disconnectedCallback() {
    this.#asking.abort();
  }

  show({ options }) {
    document.title = `${t("search.title")} · Vardr`;
    this.#text.value = options.text ?? "";
    this.#below.value = options.below ?? "";
    this.#asking.abort();
    [this.#found, this.#examined, this.#cursor] = [[], 0, undefined];
    // What is below a path that is no directory begins with the rest of it.
    const name = ofText(options.below ?? "");
    const directory = name.endsWith("/") ? name : parent(name);
    this.#wanted = { directory, prefix: textOf(name.slice(directory.length)) || undefined, contains: options.text };
    if (options.text) return this.#look();
    this.#draw("");
    this.#blank.hidden = true;
    fill(this.#act);
    return this.#text.focus();
  }

  async #look() {
    this.#asking.abort();
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    const [most, deepest] = [this.#found.length + FOUND_AT_ONCE, this.#examined + EXAMINED_AT_ONCE];
    const { directory, prefix, contains } = this.#wanted;
    fill(this.#act, button(t("search.stop"), () => this.#stop()));
    try {
      do {
        const query = { recursive: true, keysOnly: true, contains, prefix, cursor: this.#cursor, limit: FOUND_AT_ONCE };
        const page = await list(directory, query, signal);
        this.#found.push(...page.items.map((item) => ({ ...item, name: ofItem(item) })));
        this.#examined += page.examined;
        this.#cursor = page.cursor;
        this.#draw(t("search.looking", { count: this.#examined, found: this.#found.length }));
      } while (this.#cursor !== undefined && this.#found.length < most && this.#examined < deepest);
      this.#stop();
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.code === undefined) throw problem;
      this.#draw(told(problem));
      this.#blank.hidden = true;
      fill(this.#act, button(t("list.again"), () => this.#look()));
    }
  }

  #stop() {
    this.#asking.abort();
    const isWhole = this.#cursor === undefined && this.#examined > 0;
    this.#draw(t(isWhole ? "search.done" : "search.stopped", { count: this.#examined, found: this.#found.length }));
    fill(this.#act, this.#cursor && button(t("search.on"), () => this.#look()));
  }

  #draw(state) {
    fill(this.#state, state);
    this.#rows.items = this.#found;
    this.#rows.refresh();
    this.#blank.hidden = this.#found.length > 0;
    fill(this.#blank, t(this.#cursor === undefined ? "search.nothing" : "search.nothingYet"));
  }

  #href(item) {
    return hrefOfName(item.name, {}, item.name.endsWith("/"));
  }

  #row(item, index) {
    const cell = (word, ...content) => el("span", { role: "gridcell", class: word }, content);
    const link = el("a", { href: this.#href(item), tabindex: -1, title: show(item.name) }, icon("key"), el("span", {}, el("span", { class: "muted" }, show(parent(item.name))), show(last(item.name))));
    return el("div", { class: "table-row", role: "row", "aria-rowindex": index + 1 }, cell("name", link), cell("size", size(item.size)), cell("revision", String(item.modRevision)));
  }
}

customElements.define("search-page", SearchPage);
