// The keys: the tree beside what is open, a directory or a key.

import { button, el, fill, icon } from "../core/dom.js";
import { ancestors, isDirectory, last, show } from "../core/name.js";
import { hrefOfName } from "../core/route.js";
import { t } from "../core/text.js";
import "../parts/tree.js";
import "./directory.js";
import "./key.js";

class KeysPage extends HTMLElement {
  #tree = el("vardr-tree");
  #crumbs = el("nav", { class: "crumbs", "aria-label": t("crumbs.label") });
  #view = el("div", { class: "view" });
  #shown;

  connectedCallback() {
    const toggle = button(icon("menu"), () => this.classList.toggle("with-tree"), {
      class: "plain tree-toggle",
      "aria-label": t("tree.toggle"),
    });
    this.append(
      el("aside", { "aria-label": t("tree.label") }, this.#tree),
      el("section", {}, el("div", { class: "head" }, toggle, this.#crumbs), this.#view),
    );
  }

  // Shows a place: what is open already stays as it is.
  show(place) {
    this.classList.remove("with-tree");
    const { name, literal } = place;
    document.title = `${show(name) || t("keys.top")} · Vardr`;
    this.#draw(name, literal);
    const id = `${literal ? "=" : ""}${name}`;
    if (this.#shown !== id) {
      this.#shown = id;
      const view = el(isDirectory(name) && !literal ? "directory-view" : "key-view");
      view.place = place;
      fill(this.#view, view);
      this.#tree.reveal(name);
    } else {
      this.#view.firstChild.show?.(place);
    }
  }

  #draw(name, literal) {
    const crumbs = ancestors(name).map((directory) => {
      const isLast = directory === name && !literal;
      return el("a", { href: hrefOfName(directory), "aria-current": isLast ? "page" : undefined }, show(last(directory)));
    });
    if (literal) crumbs.push(el("a", { "aria-current": "page" }, t("directory.marker")));
    fill(this.#crumbs, name.startsWith("/") ? null : el("a", { href: hrefOfName("") }, t("keys.top")), crumbs);
  }
}

customElements.define("keys-page", KeysPage);
