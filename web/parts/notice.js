// Short words on what has just happened, at the edge of the page, read out as they come.

import { el } from "../core/dom.js";
import { t, told } from "../core/text.js";

const STAYS_MS = 6_000;

const place = el("div", { class: "notices", role: "status", "aria-live": "polite" });

export function notify(text, { isBad = false, link } = {}) {
  if (!place.isConnected) document.body.append(place);
  const notice = el("div", { class: isBad ? "notice bad" : "notice" }, text, link && el("a", { href: link.href }, link.text));
  place.append(notice);
  setTimeout(() => notice.remove(), STAYS_MS);
}

// How something ended that was left while it was under way: done, or with a problem.
export function notifyEnd(what, problem) {
  notify(problem ? t("notice.failed", { what, why: told(problem) }) : t("notice.done", { what }), { isBad: problem !== undefined });
}
