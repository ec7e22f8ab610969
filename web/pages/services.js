// Services and their instances: what is registered, how each is, and how long it stays without a heartbeat.

import { Question, json, outcome } from "../core/api.js";
import { debounce, el, fill } from "../core/dom.js";
import { live } from "../core/live.js";
import { ofText } from "../core/name.js";
import { poll } from "../core/poll.js";
import { hrefOf, hrefOfName } from "../core/route.js";
import { t, told } from "../core/text.js";
import { left, pill, plainTable, tick } from "../parts/table.js";
import { View } from "../parts/view.js";

// Heartbeats make no change that the stream would tell of.
const EVERY_MS = 4000;
// After changes, once there are no more for so long.
const SOON_MS = 250;
const PLACE = "/services/";
// So many instances of a service are shown.
const SHOWN = 1000;

class ServicesPage extends View {
  #name;
  #title = el("h1");
  #blank = el("div", { class: "blank", hidden: true });
  #services = plainTable(t("nav.services"), ["service", "instances", "passing", "tags"]);
  #instances = plainTable(t("column.instances"), ["instance", "address", "state", "tags", "weight", "lease"]);
  #looking = new Question();
  #stop = () => {};
  #soon = debounce(SOON_MS, () => this.isConnected && this.#look());

  connectedCallback() {
    this.append(el("div", { class: "toolbar" }, this.#title), this.#services.table, this.#instances.table, this.#blank);
    this.listen(live, "changes", ({ detail }) => detail.some(({ name }) => name.startsWith(PLACE)) && this.#soon());
    this.eachSecond(() => tick(this));
    this.atEnd(() => this.#stop());
  }

  show({ options }) {
    this.#name = options.name;
    document.title = `${this.#name ?? t("nav.services")} · Vardr`;
    const all = el("a", { href: hrefOf({ page: "services" }) }, t("nav.services"));
    fill(this.#title, this.#name === undefined ? t("nav.services") : [all, ` / ${this.#name}`]);
    this.#services.show([]);
    this.#instances.show([]);
    fill(this.#blank, t("list.loading")).hidden = false;
    this.#stop();
    this.#stop = poll(EVERY_MS, () => this.#look());
  }

  async #look() {
    const signal = this.#looking.anew();
    const name = this.#name;
    const path = name === undefined ? "/v1/services" : `/v1/services/${encodeURIComponent(name)}?limit=${SHOWN}`;
    const [found, problem] = await outcome(json("GET", path));
    if (signal.aborted) return;
    const none = t(name === undefined ? "services.none" : "services.noInstances");
    fill(this.#blank, problem ? told(problem) : none).hidden = found?.items.length > 0;
    if (problem) return;
    if (name === undefined) this.#drawServices(found.items);
    else this.#drawInstances(found.items);
  }

  #drawServices(items) {
    const link = (name) => el("a", { href: hrefOf({ page: "services", options: { name } }) }, name);
    const passing = (item) => pill(`${item.passing} / ${item.instances}`, item.passing < item.instances);
    this.#services.show(items.map((item) => [link(item.service), item.instances, passing(item), item.tags.join(", ")]));
  }

  #drawInstances(items) {
    const key = (item) => el("a", { href: hrefOfName(ofText(`${PLACE}${item.service}/${item.instance}`)) }, item.instance);
    const state = ({ status }) => pill(t(`status.${status}`), status !== "passing");
    const address = (item) => el("code", {}, item.port === undefined ? item.address : `${item.address}:${item.port}`);
    this.#instances.show(items.map((item) => [key(item), address(item), state(item), item.tags.join(", "), item.weight, left(item.ttl) || t("services.stays")]));
  }
}

customElements.define("services-page", ServicesPage);
