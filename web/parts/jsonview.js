// JSON as a tree that folds. What is folded is not drawn; long lists come in pieces.

import { button, el } from "../core/dom.js";
import { t } from "../core/text.js";

const PIECE = 200;
// So deep, and with so few children, a node is open at first.
const OPEN_DEPTH = 3;
const OPEN_CHILDREN = 60;

class JsonView extends HTMLElement {
  connectedCallback() {
    this.replaceChildren(draw(this.node, undefined, 0));
  }
}

const punctuation = (text) => el("span", { class: "muted" }, text);

function draw(node, name, depth) {
  const label = name === undefined ? [] : [el("span", { class: "json-name" }, name), punctuation(": ")];
  if (node.kind !== "object" && node.kind !== "array") {
    return el("div", { class: "json-leaf" }, label, el("span", { class: `json-${node.kind}` }, node.text));
  }
  const children = node.kind === "object" ? node.members : node.items.map((item, at) => [String(at), item]);
  const [open, close] = node.kind === "object" ? ["{", "}"] : ["[", "]"];
  if (children.length === 0) return el("div", { class: "json-leaf" }, label, punctuation(open + close));
  const body = el("div", { class: "json-children" });
  const details = el("details", {}, el("summary", {}, label, punctuation(`${open} ${t("json.count", { count: children.length })} ${close}`)), body);
  let drawn = 0;
  const more = () => {
    const next = children.slice(drawn, drawn + PIECE);
    drawn += next.length;
    body.append(...next.map(([key, child]) => draw(child, key, depth + 1)));
    if (drawn < children.length) {
      const rest = button(t("json.more", { count: children.length - drawn }), () => {
        rest.remove();
        more();
      });
      body.append(rest);
    }
  };
  details.addEventListener("toggle", () => details.open && drawn === 0 && more());
  if (depth < OPEN_DEPTH && children.length <= OPEN_CHILDREN) {
    more();
    details.open = true;
  }
  return details;
}

customElements.define("json-view", JsonView);
