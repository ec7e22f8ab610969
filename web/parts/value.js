// A value to look at: as text, as JSON that folds, as YAML, in hexadecimal, in base64.

import { FORMS, formOf, hexDump, isJson, isText, textOfBytes, toBase64 } from "../core/codec.js";
import { convert } from "../core/api.js";
import { button, el, fill } from "../core/dom.js";
import { parseJson } from "../core/json.js";
import { size, t, told } from "../core/text.js";
import "./jsonview.js";

// More than this is drawn only when it is asked for, in bytes.
const AT_ONCE = 128 * 1024;

class ValueView extends HTMLElement {
  #item;
  #form;
  // Whether a person chose the form: then it stays where it fits.
  #isChosen = false;
  #forms = el("div", { class: "switch", role: "group", "aria-label": t("value.form") });
  #body = el("div", { class: "value", tabindex: 0, role: "region", "aria-label": t("key.value") });

  connectedCallback() {
    this.append(this.#forms, this.#body);
  }

  // The form that a person chose, if one did.
  get chosen() {
    return this.#isChosen ? this.#form : undefined;
  }

  show(item) {
    const isSame = this.#item?.modRevision === item.modRevision;
    this.#item = item;
    if (isSame) return;
    if (!this.#isChosen || !this.#fits(this.#form)) this.#form = formOf(item.bytes, item.contentType);
    this.#draw();
  }

  #fits(form) {
    const { bytes } = this.#item;
    return form === "text" ? textOfBytes(bytes) !== null : !isText(form) || isJson(bytes);
  }

  #draw(whole = false) {
    const choose = (form) => {
      this.#form = form;
      this.#isChosen = true;
      this.#draw();
    };
    const way = (form) =>
      button(t(`form.${form}`), () => choose(form), { "aria-pressed": String(form === this.#form), disabled: !this.#fits(form) });
    fill(this.#forms, FORMS.map(way));
    const { bytes } = this.#item;
    if (bytes.length === 0) return fill(this.#body, el("p", { class: "muted" }, t("value.empty")));
    if (this.#form === "json") {
      const view = el("json-view");
      view.node = parseJson(textOfBytes(bytes));
      return fill(this.#body, view);
    }
    if (this.#form === "yaml") return this.#drawYaml(bytes);
    const isCut = !whole && bytes.length > AT_ONCE;
    const most = isCut ? AT_ONCE : bytes.length;
    const write = {
      text: () => new TextDecoder().decode(bytes.subarray(0, most)),
      hex: () => hexDump(bytes, most),
      base64: () => toBase64(bytes.subarray(0, most - (isCut ? most % 57 : 0))),
    };
    const rest = isCut && button(t("value.whole", { size: size(bytes.length) }), () => this.#draw(true));
    return fill(this.#body, el("pre", {}, write[this.#form]()), rest);
  }

  async #drawYaml(bytes) {
    fill(this.#body, el("p", { class: "muted" }, t("list.loading")));
    const shown = await convert(bytes, "json", "yaml").then(
      (text) => el("pre", {}, text),
      (problem) => el("p", { class: "problem" }, told(problem)),
    );
    if (this.#form === "yaml" && this.#item.bytes === bytes) fill(this.#body, shown);
  }
}

customElements.define("value-view", ValueView);
