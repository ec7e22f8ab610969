// The frame around every page: where one can go, the state of the connection, theme, language, keys of the keyboard.
//
// Pages are custom elements, each a module that is loaded when it is first gone to.

import { button, el, fill, icon } from "./core/dom.js";
import { live } from "./core/live.js";
import { hrefOf, route } from "./core/route.js";
import { language, otherLanguage, t, told } from "./core/text.js";
import "./parts/search.js";

// Where the navigation leads, and all pages: `x` is the element `x-page` of `pages/x.js`.
const LINKED = ["keys", "changes", "services", "leases", "cluster"];
const PAGES = [...LINKED, "search"];
const KEYS = "/console/keys/";

const main = el("main", { id: "main", tabindex: -1 });
const links = LINKED.map((page) => el("a", { href: page === "keys" ? KEYS : hrefOf({ page }), "data-page": page }, t(`nav.${page}`)));
const status = el("button", { type: "button", class: "status", role: "status", on: { click: () => live.hurry() } });

function drawStatus() {
  const { state } = live;
  status.dataset.state = state;
  status.title = t(`live.${state}.hint`);
  fill(status, el("span", { class: "dot", "aria-hidden": "true" }), el("span", {}, t(`live.${state}`)));
}

// From what the system says to the other one, and back.
function otherTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("vardr.theme", root.dataset.theme);
}

let shown;
async function draw() {
  const { page } = route.place;
  for (const link of links) link.ariaCurrent = link.dataset.page === page ? "page" : null;
  // The keys begin to follow from what they read.
  if (page !== "keys") live.begin();
  if (!PAGES.includes(page)) return fill(main, el("div", { class: "blank" }, el("h1", {}, t("page.unknown")), el("a", { href: KEYS }, t("nav.keys"))));
  try {
    await import(`./pages/${page}.js`);
  } catch {
    return fill(main, el("div", { class: "blank", role: "alert" }, t("page.outdated"), button(t("page.reload"), () => location.reload())));
  }
  if (route.place.page !== page) return undefined;
  if (!shown?.isConnected || shown.localName !== `${page}-page`) {
    shown = el(`${page}-page`);
    main.replaceChildren(shown);
  }
  document.title = `${t(`nav.${page}`)} · Vardr`;
  return shown.show?.(route.place);
}

function help() {
  import("./parts/help.js").then(({ openHelp }) => openHelp());
}

function isTyping(target) {
  return target.closest("input, textarea, select, dialog, [contenteditable]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (event.key === "/") document.querySelector("vardr-search").focus();
  else if (event.key === "?") help();
  else return;
  event.preventDefault();
});

document.body.append(
  el("a", { class: "skip", href: "#main" }, t("nav.skip")),
  el(
    "header",
    { class: "bar" },
    el("a", { class: "brand", href: KEYS, "aria-label": "Vardr" }, icon("brand"), el("span", {}, "Vardr")),
    el("nav", { "aria-label": t("nav.label") }, links),
    el("vardr-search"),
    status,
    el(
      "div",
      { class: "tools" },
      button(icon("theme"), otherTheme, { class: "plain", "aria-label": t("theme.other"), title: t("theme.other") }),
      button(language === "zh" ? "EN" : "中文", otherLanguage, { class: "plain", lang: language === "zh" ? "en" : "zh-Hans" }),
      button("?", help, { class: "plain", "aria-label": t("help.title"), title: t("help.title") }),
    ),
  ),
  main,
);

live.addEventListener("state", drawStatus);
drawStatus();
route.addEventListener("place", draw);
addEventListener("unhandledrejection", (event) => {
  // A refusal that no page has shown where it belongs.
  if (event.reason?.code === undefined) return;
  event.preventDefault();
  import("./parts/notice.js").then(({ notify }) => notify(told(event.reason), { isBad: true }));
});
draw();
