// The search field of the bar: what begins with the text is offered while one types; Enter opens it, or searches for the text.

import { debounce, el, fill, freshId, icon } from "../core/dom.js";
import { Question, list } from "../core/api.js";
import { last, namesOf, ofItem, ofText, parent, show, textOf } from "../core/name.js";
import { hrefOf, hrefOfName, route } from "../core/route.js";
import { t } from "../core/text.js";

// How many names are offered, and how long one has to stop typing for that, in milliseconds.
const OFFERED = 10;
const PAUSE_MS = 120;

class Search extends HTMLElement {
  #listId = freshId("offers");
  #input = el("input", {
    type: "search",
    role: "combobox",
    placeholder: t("search.placeholder"),
    "aria-label": t("search.placeholder"),
    "aria-expanded": "false",
    "aria-controls": this.#listId,
    "aria-autocomplete": "list",
    autocomplete: "off",
  });
  #offers = el("ul", { id: this.#listId, role: "listbox", "aria-label": t("search.offers"), hidden: true });
  #names = [];
  #at = -1;
  #asking = new Question();
  #ask = debounce(PAUSE_MS, () => this.#offer());

  connectedCallback() {
    this.append(icon("search"), this.#input, el("kbd", { "aria-hidden": "true" }, "/"), this.#offers);
    this.#input.addEventListener("input", this.#ask);
    this.#input.addEventListener("focus", this.#ask);
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.#input.addEventListener("blur", () => this.#close());
    // A click would take the focus, and with it the list, before it is a click.
    this.#offers.addEventListener("pointerdown", (event) => event.preventDefault());
    route.addEventListener("place", () => this.#close());
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  async #offer() {
    const text = this.#input.value;
    if (text === "" || document.activeElement !== this.#input) return this.#close();
    const signal = this.#asking.anew();
    const name = ofText(text.startsWith("/") ? text : `/${text}`);
    const directory = name.slice(0, name.lastIndexOf("/") + 1);
    const query = { prefix: textOf(name.slice(directory.length)), limit: OFFERED, keysOnly: true };
    try {
      const page = await list(directory, query, signal);
      this.#names = [...namesOf(page, "directories"), ...page.items.map(ofItem)].sort().slice(0, OFFERED);
    } catch {
      if (signal.aborted) return;
      // What is not there has nothing to offer; what else is wrong shows where it matters.
      this.#names = [];
    }
    this.#at = -1;
    this.#draw();
  }

  #draw() {
    const isOpen = this.#names.length > 0;
    this.#offers.hidden = !isOpen;
    this.#input.setAttribute("aria-expanded", isOpen);
    const offer = (name, index) =>
      el(
        "li",
        { id: `${this.#listId}-${index}`, role: "option", "aria-selected": index === this.#at, on: { click: () => this.#open(name) } },
        icon(name.endsWith("/") ? "folder" : "key"),
        el("span", { class: "muted" }, show(parent(name))),
        el("span", {}, show(last(name))),
      );
    fill(this.#offers, this.#names.map(offer));
    if (this.#at >= 0) this.#input.setAttribute("aria-activedescendant", `${this.#listId}-${this.#at}`);
    else this.#input.removeAttribute("aria-activedescendant");
  }

  // No answer that is still on its way opens it again.
  #close() {
    this.#ask.cancel();
    this.#asking.drop();
    this.#names = [];
    this.#draw();
  }

  #open(name) {
    this.#close();
    this.#input.value = "";
    this.#input.blur();
    route.go(hrefOfName(name));
  }

  #key(event) {
    const count = this.#names.length;
    if (event.key === "ArrowDown" && count > 0) this.#at = (this.#at + 1) % count;
    else if (event.key === "ArrowUp" && count > 0) this.#at = (Math.max(this.#at, 0) + count - 1) % count;
    else if (event.key === "Escape") return this.#names.length > 0 ? this.#close() : this.#input.blur();
    else if (event.key === "Enter") return this.#enter();
    else return;
    event.preventDefault();
    this.#draw();
  }

  #enter() {
    const text = this.#input.value.trim();
    if (text === "") return;
    const name = this.#names[this.#at] ?? this.#names.find((offered) => offered === ofText(text));
    if (name !== undefined) return this.#open(name);
    this.#close();
    this.#input.blur();
    route.go(hrefOf({ page: "search", options: { text } }));
  }
}

customElements.define("vardr-search", Search);
