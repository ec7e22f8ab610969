// What the keyboard does.

import { el } from "../core/dom.js";
import { t } from "../core/text.js";
import { DONE, openDialog } from "./dialog.js";

const KEYS = [
  ["/", "help.search"],
  ["↑ ↓", "help.rows"],
  ["← →", "help.fold"],
  ["Enter", "help.open"],
  ["e", "help.edit"],
  ["Ctrl S", "help.save"],
  ["Esc", "help.escape"],
  ["?", "help.help"],
];

export function openHelp() {
  if (document.querySelector("dialog[open]")) return undefined;
  const rows = KEYS.map(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, t(text))]);
  const content = [el("dl", { class: "shortcuts" }, rows), el("p", {}, el("a", { href: "/docs/", target: "_blank" }, t("help.docs")))];
  return openDialog({ title: t("help.title"), content, actions: [DONE] });
}
