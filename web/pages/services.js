// Services and their instances: what is registered, how each is, and how long it stays without a heartbeat.

import { json } from "../core/api.js";
import { debounce, el, fill } from "../core/dom.js";
import { live } from "../core/live.js";
import { ofText } from "../core/name.js";
import { poll } from "../core/poll.js";
import { hrefOf, hrefOfName } from "../core/route.js";
import { countdown, t, told } from "../core/text.js";
import { plainTable } from "../parts/table.js";

// Heartbeats make no change that the stream would tell of.
const EVERY_MS = 4000;
// After changes, once there are no more for so long.
const SOON_MS = 250;
const PLACE = "/services/";
// So many instances of a service are shown.
const SHOWN = 1000;

class ServicesPage extends HTMLElement {
  #name;
  #title = el("h1");
  #blank = el("div", { class: "blank", hidden: true });
  #services = plainTable(t("nav.services"), ["service", "instances", "passing", "tags"]);
  #instances = plainTable(t("services.instances"), ["instance", "address", "state", "tags", "weight", "lease"]);
  #items = [];
  // Counts the looks: the answer to an earlier one is not shown.
  #turn = 0;
  #stop = () => {};
  #clock;
  #soon = debounce(SOON_MS, () => this.isConnected && this.#look());
  #onChanges = ({ detail }) => detail.some(({ name }) => name.startsWith(PLACE)) && this.#soon();

  connectedCallback() {
    this.append(el("div", { class: "toolbar" }, this.#title), this.#services.table, this.#instances.table, this.#blank);
    live.addEventListener("changes", this.#onChanges);
    this.#clock = setInterval(() => this.#drawInstances(), 1000);
  }

  disconnectedCallback() {
    this.#stop();
    clearInterval(this.#clock);
    live.removeEventListener("changes", this.#onChanges);
  }

  show({ options }) {
    this.#name = options.name;
    document.title = `${this.#name ?? t("nav.services")} · Vardr`;
    const all = el("a", { href: hrefOf({ page: "services" }) }, t("nav.services"));
    fill(this.#title, this.#name === undefined ? t("nav.services") : [all, ` / ${this.#name}`]);
    this.#items = [];
    this.#services.show([]);
    this.#instances.show([]);
    fill(this.#blank, t("list.loading")).hidden = false;
    this.#stop();
    this.#stop = poll(EVERY_MS, () => this.#look());
  }

  async #look() {
    const turn = ++this.#turn;
    const name = this.#name;
    const path = name === undefined ? "/v1/services" : `/v1/services/${encodeURIComponent(name)}?limit=${SHOWN}`;
    try {
      const { items } = await json("GET", path);
      if (turn !== this.#turn) return;
      this.#blank.hidden = items.length > 0;
      fill(this.#blank, t(name === undefined ? "services.none" : "services.noInstances"));
      if (name === undefined) this.#drawServices(items);
      else {
        this.#items = items.map((item) => ({ ...item, dies: item.ttl === undefined ? undefined : Date.now() + item.ttl * 1000 }));
        this.#drawInstances();
      }
    } catch (problem) {
      if (problem.code === undefined) throw problem;
      if (turn !== this.#turn) return;
      fill(this.#blank, told(problem)).hidden = false;
    }
  }

  #drawServices(items) {
    const link = (name) => el("a", { href: hrefOf({ page: "services", options: { name } }) }, name);
    const passing = (item) => el("span", { class: item.passing < item.instances ? "operation delete" : "operation" }, `${item.passing} / ${item.instances}`);
    this.#services.show(items.map((item) => [link(item.service), String(item.instances), passing(item), item.tags.join(", ")]));
  }

  #drawInstances() {
    if (this.#name === undefined) return;
    const key = (item) => el("a", { href: hrefOfName(ofText(`${PLACE}${item.service}/${item.instance}`)) }, item.instance);
    const state = (item) => el("span", { class: item.status === "passing" ? "operation" : "operation delete" }, t(`status.${item.status}`));
    const left = (item) => (item.dies === undefined ? t("services.stays") : countdown((item.dies - Date.now()) / 1000));
    this.#instances.show(
      this.#items.map((item) => [key(item), el("code", {}, item.port === undefined ? item.address : `${item.address}:${item.port}`), state(item), item.tags.join(", "), String(item.weight), left(item)]),
    );
  }
}

customElements.define("services-page", ServicesPage);
