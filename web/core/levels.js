// Directories as far as they are shown: read page by page, and kept up to date by the stream of changes.
//
// A level is one directory, or everything below one. Its pages all show the revision of the first; what has happened
// since is laid over them, also over pages that come later.

import { Question, firstOf, list } from "./api.js";
import { live } from "./live.js";
import { namesOf, ofItem, parent } from "./name.js";

const FIRST_PAGE = 500;
const NEXT_PAGE = 2000;
// Changes kept for pages that are not read yet, and changes taken in at once; with more of them, the level is read anew.
const MOST_MISSED = 20_000;
// How long after a deletion a directory is asked whether it is still there, in milliseconds.
const CHECK_MS = 200;

// Where an entry of that name is, or would be.
export function placeOf(entries, name) {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle].name < name) low = middle + 1;
    else high = middle;
  }
  return low;
}

const keyEntry = (item, name) => ({
  name,
  directory: false,
  size: item.size,
  revision: item.modRevision,
  version: item.version,
  lease: item.lease,
  dies: item.ttl === undefined ? undefined : Date.now() + item.ttl * 1000,
});
const directoryEntry = (name) => ({ name, directory: true });

class Level extends EventTarget {
  entries = [];
  // Whether all pages are here, whether one is on its way, and why the last one did not come.
  complete = false;
  loading = false;
  problem = null;
  // The revision that the pages show; 0 before the first.
  revision = 0;
  users = 0;
  #cursor;
  #missed = new Map();
  #reading = new Question();

  constructor(directory, recursive) {
    super();
    Object.assign(this, { directory, recursive });
  }

  // Reads the next page, if there is one and none is on its way.
  async more() {
    if (this.loading || this.complete) return;
    const isFirst = this.#cursor === undefined;
    const limit = isFirst ? FIRST_PAGE : NEXT_PAGE;
    const { signal } = this.#reading;
    this.loading = true;
    this.problem = null;
    try {
      const query = { limit, keysOnly: true, recursive: this.recursive, cursor: this.#cursor };
      const page = await list(this.directory, query, signal);
      live.start(page.revision);
      if (isFirst && live.since > page.revision) return this.renew();
      this.#take(page, isFirst);
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.code === "compacted") return this.renew();
      this.problem = problem;
      if (problem.code === "key_not_found" && isFirst) {
        this.entries = [];
        // What has come into it since then.
        const isBack = [...this.#missed.values()].some(({ type, revision }) => type === "put" && revision > problem.revision);
        if (isBack) return this.renew();
      }
      // The stream says when the server is there again.
      if (problem.code === "unreachable") live.begin();
    }
    this.loading = false;
    this.changed();
  }

  #take(page, isFirst) {
    const entries = [...page.items.map((item) => keyEntry(item, ofItem(item))), ...namesOf(page, "directories").map(directoryEntry)];
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    if (isFirst) [this.entries, this.revision] = [entries, page.revision];
    else this.entries.push(...entries);
    this.#cursor = page.cursor;
    this.complete = page.cursor === undefined;
    for (const [name, change] of this.#missed) {
      if (!this.#isBehind(name)) {
        this.#missed.delete(name);
        this.#lay(name, change);
      }
    }
  }

  // Reads everything anew, from the first page; what is shown stays until then.
  renew() {
    this.#reading.anew();
    this.#cursor = undefined;
    this.#missed.clear();
    // The store may be another one, whose revisions are not to be compared with those of this one.
    this.revision = 0;
    this.loading = this.complete = false;
    return this.more();
  }

  close() {
    this.#reading.drop();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  // Whether a name belongs to a page that is not here yet.
  #isBehind(name) {
    if (this.complete) return false;
    return this.#cursor === undefined || this.entries.length === 0 || name > this.entries.at(-1).name;
  }

  // Takes changes of the store in, in order.
  follow(changes) {
    const within = changes.filter(({ name }) => name.startsWith(this.directory) && name !== this.directory);
    // Whether the directory is there hangs on its own marker where nothing is in it.
    const isMarked = this.entries.length === 0 && changes.some(({ name }) => name === this.directory);
    if (isMarked || within.length > MOST_MISSED) return this.renew();
    let isNew = false;
    for (const change of within) isNew = this.#apply(change) || isNew;
    if (isNew) this.#told();
    return undefined;
  }

  // With the last of it goes the directory, unless it was made by itself, which only the server knows.
  #told() {
    this.changed();
    if (this.complete && this.entries.length === 0) this.renew();
  }

  // True when there is something new to show.
  #apply(change) {
    if (this.revision > 0 && change.revision <= this.revision) return false;
    const slash = this.recursive ? -1 : change.name.indexOf("/", this.directory.length);
    const name = slash < 0 ? change.name : change.name.slice(0, slash + 1);
    // It was not there, and now something of it is.
    if (this.problem?.code === "key_not_found" && change.type === "put") this.renew();
    if (this.#isBehind(name)) {
      const earlier = this.#missed.get(name);
      // Of a directory, that something came into it must not be forgotten for what went since.
      const isKept = slash >= 0 && earlier?.type === "put" && change.type !== "put";
      this.#missed.set(name, isKept ? { ...earlier, revision: change.revision, doubtful: true } : change);
      if (this.#missed.size > MOST_MISSED) this.renew();
      return false;
    }
    return this.#lay(name, change);
  }

  #lay(name, change) {
    if (this.revision > 0 && change.revision <= this.revision) return false;
    const isDirectory = !this.recursive && name.endsWith("/");
    const at = placeOf(this.entries, name);
    const present = this.entries[at]?.name === name ? this.entries[at] : undefined;
    if (isDirectory) {
      if (change.type !== "put") {
        if (present) levels.check(name);
        return false;
      }
      if (present) {
        present.seen = change.revision;
        return false;
      }
      this.entries.splice(at, 0, { ...directoryEntry(name), seen: change.revision, fresh: Date.now() });
      if (change.doubtful) levels.check(name);
    } else if (change.type === "put") {
      this.entries.splice(at, present ? 1 : 0, { ...keyEntry(change, name), fresh: Date.now() });
    } else if (present) {
      this.entries.splice(at, 1);
    } else {
      return false;
    }
    return true;
  }

  // Takes out a directory that was not there at a revision, unless something has come into it since.
  drop(name, revision) {
    const at = placeOf(this.entries, name);
    const entry = this.entries[at];
    if (entry?.name !== name || (entry.seen ?? this.revision) > revision) return;
    this.entries.splice(at, 1);
    this.#told();
  }
}

const idOf = (directory, recursive) => `${recursive} ${directory}`;

class Levels {
  #open = new Map();
  #checks = new Set();
  #timer;

  constructor() {
    live.addEventListener("changes", ({ detail }) => this.#apply(detail));
    live.addEventListener("gap", () => this.#open.forEach((level) => level.renew()));
    live.addEventListener("state", () => {
      if (live.state !== "live") return;
      for (const level of this.#open.values()) if (level.problem?.code === "unreachable") level.more();
    });
  }

  // The level of a directory, shared by all who show it; each gives it back with `close`.
  open(directory, recursive = false) {
    const id = idOf(directory, recursive);
    let level = this.#open.get(id);
    if (level === undefined) {
      level = new Level(directory, recursive);
      this.#open.set(id, level);
      level.more();
    }
    level.users += 1;
    return level;
  }

  close(level) {
    level.users -= 1;
    if (level.users > 0) return;
    level.close();
    this.#open.delete(idOf(level.directory, level.recursive));
  }

  #apply(changes) {
    for (const level of this.#open.values()) level.follow(changes);
  }

  // Asks, once things are quiet, whether a directory is still there.
  check(directory) {
    this.#checks.add(directory);
    this.#timer ??= setTimeout(async () => {
      this.#timer = undefined;
      for (const name of [...this.#checks]) {
        this.#checks.delete(name);
        // Where nobody answers, the directory stays until there is more to tell.
        const first = await firstOf(name).catch(() => undefined);
        if (first?.item === null) this.#open.get(idOf(parent(name), false))?.drop(name, first.revision);
      }
    }, CHECK_MS);
  }
}

export const levels = new Levels();
