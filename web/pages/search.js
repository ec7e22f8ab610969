// Keys that hold a text, in their name or their value. The server looks; the page says how far it has come.

import { Question, list } from "../core/api.js";
import { button, el, fill } from "../core/dom.js";
import { last, ofItem, ofText, parent, show, textOf } from "../core/name.js";
import { hrefOf, hrefOfKey, route } from "../core/route.js";
import { size, t, told } from "../core/text.js";
import { grid, rowLink } from "../parts/grid.js";
import { View } from "../parts/view.js";

// Found or looked into so many, the search waits to be told to go on.
const FOUND_AT_ONCE = 500;
const EXAMINED_AT_ONCE = 200_000;

class SearchPage extends View {
  #found = [];
  #examined = 0;
  #cursor;
  #asking = new Question();
  // What is looked for, and where: what stands in the fields may be another one already.
  #wanted;
  #text = el("input", { type: "search", "aria-label": t("search.text"), placeholder: t("search.text"), required: true });
  #below = el("input", { "aria-label": t("search.below"), placeholder: "/" });
  #state = el("span", { class: "muted count", role: "status" });
  #act = el("span", {});
  #rows = grid(t("search.found"), ["name", "size", "revision"], {
    cells,
    nameOf: ({ name }) => name,
    choose: ({ name }) => route.go(hrefOfKey(name)),
  });
  #blank = el("div", { class: "blank", hidden: true });

  connectedCallback() {
    const form = el("form", { class: "toolbar thin" }, this.#text, el("label", { class: "tick" }, t("search.below"), this.#below), el("button", { class: "primary" }, t("nav.search")), this.#state, this.#act);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const options = { text: this.#text.value, below: this.#below.value || undefined };
      route.go(hrefOf({ page: "search", options }), { replace: true });
    });
    this.append(el("div", { class: "toolbar" }, el("h1", {}, t("nav.search"))), form, this.#rows, this.#blank);
    this.atEnd(() => this.#asking.drop());
  }

  show({ options }) {
    this.#text.value = options.text ?? "";
    this.#below.value = options.below ?? "";
    this.#asking.drop();
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
    const signal = this.#asking.anew();
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
    this.#asking.drop();
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
}

function cells(item) {
  const { name } = item;
  const link = rowLink(hrefOfKey(name), item, el("span", { class: "muted" }, show(parent(name))), show(last(name)));
  return [link, size(item.size), item.modRevision];
}

customElements.define("search-page", SearchPage);
