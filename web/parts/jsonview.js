// JSON as a tree that folds. What is folded is not drawn; long lists come in pieces.

import { el } from "../core/dom.js";
import { t } from "../core/text.js";
import { appendPieces } from "./pieces.js";

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
  const children = node.kind === "object" ? node.members : node.items.map((item, at) => [at, item]);
  const [open, close] = node.kind === "object" ? ["{", "}"] : ["[", "]"];
  if (children.length === 0) return el("div", { class: "json-leaf" }, label, punctuation(open + close));
  const body = el("div", { class: "json-children" });
  const details = el("details", {}, el("summary", {}, label, punctuation(`${open} ${t("json.count", { count: children.length })} ${close}`)), body);
  const unfold = () => body.firstChild ?? appendPieces(body, children, PIECE, ([key, child]) => draw(child, key, depth + 1));
  details.addEventListener("toggle", () => details.open && unfold());
  if (depth < OPEN_DEPTH && children.length <= OPEN_CHILDREN) {
    unfold();
    details.open = true;
  }
  return details;
}

customElements.define("json-view", JsonView);
