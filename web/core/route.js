// The URL is the place: reads one from it, writes one into it, and tells when it changes.

import { given } from "./api.js";
import { toBase64Url, ofBase64Url, isSayable, ofPath, toPath } from "./name.js";

const ROOT = "/console";
const KEYS = `${ROOT}/keys`;

// A place: `page` (`keys`, `changes`, `search`), of keys the `name`, whether a marker is meant as a key (`literal`), and
// `options`, a record of words.
export function placeOf(url) {
  const { pathname, searchParams } = new URL(url, location.href);
  const { key64, literal, ...options } = Object.fromEntries(searchParams);
  if (pathname === KEYS || pathname.startsWith(`${KEYS}/`)) {
    const path = pathname.slice(KEYS.length);
    let name = key64 === undefined ? ofPath(path) : undefined;
    try {
      name ??= ofBase64Url(key64 ?? "");
    } catch {
      name = "";
    }
    return { page: "keys", name, literal: literal !== undefined, options };
  }
  const page = pathname.slice(ROOT.length + 1).replace(/\/$/, "");
  return { page: page === "" ? "keys" : page, name: page === "" ? "/" : undefined, options };
}

export function hrefOf({ page, name, literal = false, options = {} }) {
  const query = new URLSearchParams(given(options));
  if (page !== "keys") return withQuery(`${ROOT}/${page}`, query);
  if (literal) query.set("literal", "1");
  if (isSayable(name)) return withQuery(`${KEYS}${toPath(name)}`, query);
  query.set("key64", toBase64Url(name));
  return withQuery(KEYS, query);
}

const withQuery = (path, query) => (query.size === 0 ? path : `${path}?${query}`);

// The address of a key or directory.
export const hrefOfName = (name, options, literal) => hrefOf({ page: "keys", name, options, literal });
// Of a key, also where it is called like a directory.
export const hrefOfKey = (name) => hrefOfName(name, {}, name.endsWith("/"));

class Route extends EventTarget {
  place = placeOf(location.href);
  // Asked before a place is left; one that says no keeps it.
  guards = new Set();
  #href = location.href;

  constructor() {
    super();
    document.addEventListener("click", (event) => this.#click(event));
    addEventListener("popstate", () => this.#return());
    addEventListener("beforeunload", (event) => {
      if ([...this.guards].some((guard) => guard.isDirty())) event.preventDefault();
    });
  }

  // Goes to an address of the console; `replace` leaves no step back.
  async go(href, { replace = false } = {}) {
    for (const guard of this.guards) if (!(await guard.mayLeave())) return;
    history[replace ? "replaceState" : "pushState"](null, "", href);
    this.#arrive();
  }

  // The browser has gone back or forth already: where something would be lost, it comes back until that is decided.
  async #return() {
    const wanted = location.href;
    if (![...this.guards].some((guard) => guard.isDirty())) return this.#arrive();
    history.pushState(null, "", this.#href);
    return this.go(wanted);
  }

  #arrive() {
    this.#href = location.href;
    this.place = placeOf(location.href);
    this.dispatchEvent(new Event("place"));
  }

  #click(event) {
    const link = event.target.closest?.("a[href]");
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain || link.target || link.hasAttribute("download")) return;
    if (link.origin !== location.origin || !link.pathname.startsWith(`${ROOT}/`)) return;
    event.preventDefault();
    this.go(link.href);
  }
}

export const route = new Route();
