// The cluster: who is a member, who leads, who lags, what each has room for; and of the member that one looks at, how busy it is and who watches
// what there.

import { ask, json, outcome, query } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { isDirectory, nameIn, show } from "../core/name.js";
import { poll } from "../core/poll.js";
import { hrefOfKey, hrefOfName } from "../core/route.js";
import { ago, countdown, instant, number, size, t, told } from "../core/text.js";
import { facts } from "../parts/facts.js";
import { pagedTable } from "../parts/pager.js";
import { pill, plainTable } from "../parts/table.js";
import "../parts/chart.js";
import { View } from "../parts/view.js";

const EVERY_MS = 2000;
// The sums over all label sets of these are drawn.
const COUNTERS = ["vardr_http_requests_total", "vardr_http_request_seconds_sum", "vardr_http_request_seconds_count", "vardr_revision", "vardr_watchers"];

// The sum of each counter in the text form of Prometheus.
function sums(text) {
  const found = Object.fromEntries(COUNTERS.map((name) => [name, 0]));
  for (const line of text.split("\n")) {
    const name = /^\w+/.exec(line)?.[0];
    if (name in found) found[name] += Number(line.slice(line.lastIndexOf(" ")));
  }
  return found;
}

class ClusterPage extends View {
  #facts = el("dl", { class: "facts" });
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #members = plainTable(t("cluster.members"), ["member", "role", "state", "lag", "revision", "store", "log", "room", "release", "urls"]);
  #charts = Object.fromEntries(["requests", "latency", "revisions", "watchers"].map((word) => [word, el("line-chart", { label: t(`chart.${word}`) })]));
  #watches = pagedTable(t("cluster.watches"), ["watched", "carrier", "address", "agent", "since", "behind"], {
    ask: (page) => json("GET", `/v1/watchers?${query(page)}`),
    cells: watchCells,
    none: t("cluster.unwatched"),
  });
  #before = null;

  connectedCallback() {
    this.append(
      el("div", { class: "toolbar" }, el("h1", {}, t("nav.cluster"))),
      this.#problem,
      this.#facts,
      this.#members.table,
      el("h2", {}, t("cluster.here")),
      el("div", { class: "charts" }, Object.values(this.#charts)),
      el("h2", {}, t("cluster.watches")),
      ...this.#watches.nodes,
    );
    this.atEnd(poll(EVERY_MS, () => Promise.all([this.#look(), this.#watches.look()])));
  }

  async #look() {
    const asked = [json("GET", "/v1/cluster"), json("GET", "/v1/status"), ask("GET", "/metrics", { as: "text" })];
    const [found, problem] = await outcome(Promise.all(asked));
    fill(this.#problem, problem && told(problem)).hidden = !problem;
    if (problem) return;
    const [cluster, status, metrics] = found;
    this.#draw(cluster, status);
    this.#measure(sums(metrics.content));
  }

  #draw({ clusterId, leader, raftTerm, members }, status) {
    const leading = members.find((member) => member.id === leader);
    const values = {
      cluster: el("code", {}, clusterId),
      leader: leading ? leading.name || leading.id : t("cluster.nobody"),
      term: raftTerm,
      revision: status.revision,
      compacted: status.compactRevision,
      uptime: countdown(status.uptime),
      free: size(status.freeBytes),
    };
    fill(this.#facts, facts(values));
    this.#members.show(
      members.map((member) => [
        [el("strong", {}, member.name || member.id), member.id === status.memberId ? el("small", {}, ` ${t("cluster.this")}`) : null],
        t(member.leads ? "role.leader" : member.learner ? "role.learner" : "role.voter"),
        pill(t(member.heard ? "state.heard" : "state.silent"), !member.heard),
        member.lag === undefined ? "" : number(member.lag),
        member.revision,
        member.storeBytes === undefined ? "" : size(member.storeBytes),
        member.logBytes === undefined ? "" : size(member.logBytes),
        member.room === undefined ? "" : pill(t(`room.${member.room}`), member.room !== "enough"),
        member.version,
        member.clientUrls.join(" "),
      ]),
    );
  }

  // What was done since the last look.
  #measure(now) {
    const at = performance.now();
    if (this.#before !== null) {
      const seconds = (at - this.#before.at) / 1000;
      const gone = (name) => Math.max(0, now[name] - this.#before.now[name]);
      const count = gone("vardr_http_request_seconds_count");
      const perSecond = (value) => t("chart.perSecond", { value });
      this.#charts.requests.add(gone("vardr_http_requests_total") / seconds, perSecond);
      this.#charts.latency.add(count === 0 ? 0 : (gone("vardr_http_request_seconds_sum") / count) * 1000, (value) => `${number(value)} ms`);
      this.#charts.revisions.add(gone("vardr_revision") / seconds, perSecond);
      this.#charts.watchers.add(now.vardr_watchers, number);
    }
    this.#before = { at, now };
  }
}

// What is watched: a key or a directory, as a link to it; names that begin alike, or from one to another.
function placeWatched(item) {
  const [key, prefix, from, to] = ["key", "prefix", "from", "to"].map((word) => nameIn(item, word));
  if (key !== undefined) return el("a", { href: hrefOfKey(key) }, show(key));
  if (prefix === undefined) return `${show(from)} … ${show(to ?? "")}`;
  if (!isDirectory(prefix)) return `${show(prefix)}…`;
  const level = item.children && el("small", {}, ` ${t("directory.level")}`);
  return [el("a", { href: hrefOfName(prefix) }, prefix === "" ? t("keys.top") : show(prefix)), level];
}

function watchCells(item, { revision: newest }) {
  const { carrier, address, userAgent, since, revision } = item;
  return [
    placeWatched(item),
    el("code", {}, carrier),
    address,
    el("span", { title: userAgent }, userAgent),
    el("time", { datetime: since, title: instant(since) }, ago(since)),
    // It may be told more while it is asked about. Nothing is told while the present state is on its way.
    revision === 0 ? "…" : number(Math.max(0, newest - revision)),
  ];
}

customElements.define("cluster-page", ClusterPage);
