// What changes, as it does: one stream of events for the whole console, resumed by revision, with no gap and no repeat.
//
// Whoever reads the store tells it the revision first read (`start`). It then sends `changes`, whole revisions in order;
// `state`, when the connection comes or goes; and `gap`, when what happened meanwhile cannot be told any more, because history
// was compacted or the store is another one: then everything has to be read anew.

import { ask, json } from "./api.js";
import { ofItem } from "./name.js";

// Waits between attempts, in milliseconds: doubled from the first to the last, each shortened by chance.
const FIRST_WAIT_MS = 250;
const LAST_WAIT_MS = 8_000;
// The server says something every 15 s: after this long without, the connection is dead, as it is after a sleep.
const SILENCE_MS = 40_000;
// A page that nobody has seen for so long lets its connection go: a browser has six for all pages of a server. It goes on from where
// it was once it is seen again.
const UNSEEN_MS = 30_000;
// Changes are handed on together, so that a flood is drawn a few times a second.
const GATHER_MS = 50;
// The smallest question to which the answer says the revision.
const PROBE = "/v1/keys?limit=1&keysOnly=true";

class Live extends EventTarget {
  state = "connecting";
  // The revision that the stream begins behind: what was read at an earlier one may lack something.
  since = 0;
  // Everything up to here was handed on, or is about to be.
  #after = 0;
  #isBegun = false;
  #source = null;
  // Events of a revision that is not complete yet, and changes that wait to be handed on.
  #partial = [];
  #waiting = [];
  #attempts = 0;
  // Counts connections: an earlier one that has still something to say is not listened to.
  #turn = 0;
  #retry;
  #gather;
  #heard = 0;
  #cluster = null;
  #unseen;

  // Follows from a revision on. Does nothing when it follows already.
  start(revision) {
    if (this.#isBegun) return;
    this.#isBegun = true;
    clearTimeout(this.#retry);
    this.#after = this.since = revision;
    this.#tell("connecting");
    this.#connect();
    setInterval(() => this.#listen(), 5_000);
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => this.#see(document.visibilityState === "visible"));
  }

  // Follows from now on, where nothing has been read that it could follow from.
  async begin() {
    if (this.#isBegun) return;
    const found = await json("GET", PROBE).catch(() => null);
    if (found !== null) this.start(found.revision);
    else this.#lose();
  }

  // Tries again now, whatever the wait.
  hurry() {
    if (this.state !== "lost") return;
    clearTimeout(this.#retry);
    this.#again();
  }

  #again() {
    if (this.#isBegun) this.#connect();
    else this.begin();
  }

  #tell(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #listen() {
    if (this.state === "live" && Date.now() - this.#heard > SILENCE_MS) this.#lose();
  }

  #see(isSeen) {
    clearTimeout(this.#unseen);
    if (!isSeen) {
      this.#unseen = setTimeout(() => this.#rest(), UNSEEN_MS);
    } else if (this.state === "resting") {
      this.#tell("connecting");
      this.#connect();
    } else {
      this.#listen();
      this.hurry();
    }
  }

  #rest() {
    this.#end();
    this.#tell("resting");
  }

  #end() {
    this.#turn += 1;
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#retry);
  }

  async #connect() {
    if (this.state === "resting") return;
    const turn = ++this.#turn;
    try {
      // EventSource tells nothing of a refusal: so the server is asked first whether it is there and still knows of us.
      const { headers, content } = await ask("GET", PROBE);
      const cluster = headers.get("Vardr-Cluster-Id");
      const { revision } = content;
      if (turn !== this.#turn) return;
      const isOther = this.#cluster !== null && this.#cluster !== cluster;
      this.#cluster = cluster;
      if (isOther || revision < this.#after) this.#gap(revision);
    } catch {
      if (turn === this.#turn) this.#lose();
      return;
    }
    this.#open();
  }

  #open() {
    if (this.state === "resting") return;
    this.#source?.close();
    const source = new EventSource(`/v1/watch?keysOnly=true&after=${this.#after}`);
    this.#source = source;
    this.#partial = [];
    source.onopen = () => {
      this.#attempts = 0;
      this.#heard = Date.now();
      this.#tell("live");
    };
    source.onerror = () => this.#lose();
    for (const type of ["put", "delete", "expire"]) source.addEventListener(type, (event) => this.#change(event));
    source.addEventListener("progress", (event) => this.#complete(Number(event.lastEventId)));
    source.addEventListener("lagging", () => this.#lose());
    source.addEventListener("compacted", async () => {
      source.close();
      const turn = ++this.#turn;
      // What is read anew is at least of the revision that is answered now.
      const found = await json("GET", PROBE).catch(() => null);
      if (turn !== this.#turn) return;
      if (found === null) return this.#lose();
      this.#gap(found.revision);
      this.#open();
    });
  }

  #lose() {
    if (this.state === "resting") return;
    this.#end();
    this.#tell("lost");
    const wait = Math.min(FIRST_WAIT_MS * 2 ** this.#attempts++, LAST_WAIT_MS);
    this.#retry = setTimeout(() => this.#again(), wait * (0.5 + Math.random() / 2));
  }

  #change(event) {
    const item = JSON.parse(event.data);
    this.#partial.push({ ...item, name: ofItem(item), revision: item.modRevision, at: Date.now() });
    // The id stands on the last event of a revision alone.
    if (event.lastEventId === String(item.modRevision)) this.#complete(item.modRevision);
  }

  #complete(revision) {
    this.#heard = Date.now();
    this.#waiting = this.#waiting.concat(this.#partial);
    this.#partial = [];
    this.#after = Math.max(this.#after, revision);
    if (this.#waiting.length > 0) this.#gather ??= setTimeout(() => this.#hand(), GATHER_MS);
  }

  #hand() {
    this.#gather = undefined;
    const changes = this.#waiting;
    this.#waiting = [];
    if (changes.length > 0) this.dispatchEvent(new CustomEvent("changes", { detail: changes }));
  }

  #gap(revision) {
    this.#after = this.since = revision;
    this.#partial = [];
    this.#waiting = [];
    this.dispatchEvent(new Event("gap"));
  }
}

export const live = new Live();
