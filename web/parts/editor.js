// Changes a value. What is saved replaces the revision that the change began from and no other: when somebody else was
// first, a person chooses.

import { FORMS, formOf, isSame, textOfBytes } from "../core/codec.js";
import { absent, put, read } from "../core/api.js";
import { button, el, fill } from "../core/dom.js";
import { parseJson, prettyJson } from "../core/json.js";
import { route } from "../core/route.js";
import { t, told } from "../core/text.js";
import { openConflict } from "./conflict.js";
import { openDialog } from "./dialog.js";
import { notify } from "./notice.js";

const TYPES = ["application/json", "text/plain", "application/yaml", "application/octet-stream"];
const NOTHING = new Uint8Array();

class ValueEditor extends HTMLElement {
  #form;
  #area = el("textarea", { "aria-label": t("key.value"), wrap: "off" });
  #forms = el("div", { class: "switch", role: "group", "aria-label": t("value.form") });
  #type = el("input", { list: "media-types", placeholder: t("editor.noType"), "aria-label": t("column.type"), size: 22 });
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #meanwhile = el("p", { class: "hint", role: "status", hidden: true });
  #save = button([t("editor.save"), el("kbd", { "aria-hidden": "true" }, "⌃S")], () => this.#store(), { class: "primary" });
  // What the change began from.
  #began = { bytes: NOTHING, contentType: "" };
  // The type that was last taken over from the key: another one in the field was typed here.
  #followed = "";
  #isBusy = false;
  #guard = { isDirty: () => this.#isDirty(), mayLeave: () => this.#mayLeave() };

  connectedCallback() {
    this.#begin();
    const bytes = this.initial ?? this.#began.bytes;
    this.#type.value = this.#began.contentType;
    const first = formOf(bytes, this.base?.contentType);
    this.#form = FORMS[first].isEditable(bytes) && FORMS.text.isEditable(bytes) ? first : "hex";
    this.#area.value = this.#written(bytes);
    this.append(
      el("div", { class: "toolbar thin" }, this.#forms, button(t("editor.format"), () => this.#pretty(), { class: "plain format" }), this.#type),
      el("datalist", { id: "media-types" }, TYPES.map((value) => el("option", { value }))),
      this.#meanwhile,
      this.#area,
      this.#problem,
      el("div", { class: "toolbar thin" }, this.#save, button(t("dialog.cancel"), () => this.#cancel())),
    );
    this.#area.addEventListener("input", () => this.#check());
    this.addEventListener("keydown", (event) => this.#key(event));
    this.#drawForms();
    this.#area.focus();
    this.#area.setSelectionRange(0, 0);
    route.guards.add(this.#guard);
  }

  #begin() {
    this.#began = { bytes: this.base?.bytes ?? NOTHING, contentType: this.base?.contentType ?? "" };
    this.#followed = this.#began.contentType;
  }

  disconnectedCallback() {
    route.guards.delete(this.#guard);
  }

  // Tells that the key is another one now, or gone.
  meanwhile(item) {
    if (item?.modRevision === this.base?.modRevision) return;
    const text = item === null ? t("editor.gone") : t("editor.changed", { revision: item.modRevision });
    fill(this.#meanwhile, text, " ", button(t("editor.compare"), () => this.#alone(() => this.#settle())));
    this.#meanwhile.hidden = false;
  }

  // JSON is changed as it was written; only reading it shows it laid out.
  #written(bytes) {
    return this.#form === "json" ? textOfBytes(bytes) : FORMS[this.#form].write(bytes);
  }

  #drawForms() {
    const way = (form) => button(t(`form.${form}`), () => this.#choose(form), { "aria-pressed": String(form === this.#form) });
    fill(this.#forms, Object.keys(FORMS).map(way));
    this.querySelector(".format").hidden = this.#form !== "json";
  }

  // The bytes that the text means; undefined when it means none, which is said.
  #bytes() {
    try {
      const bytes = FORMS[this.#form].read(this.#area.value);
      this.#problem.hidden = true;
      return bytes;
    } catch (error) {
      const where = { line: error.line, column: error.column };
      fill(this.#problem, error.reason ? t("json.error", { ...where, reason: t(`json.${error.reason}`) }) : t(`form.bad.${error.message}`));
      this.#problem.hidden = false;
      return undefined;
    }
  }

  #check() {
    if (this.#form === "json" || !this.#problem.hidden) this.#bytes();
  }

  #choose(form) {
    if (this.#isBusy) return;
    const bytes = this.#bytes();
    if (bytes === undefined) return;
    const text = textOfBytes(bytes);
    if ((form === "text" || form === "json") && (text === null || text.includes("\r"))) {
      fill(this.#problem, t("form.bad.text")).hidden = false;
      return;
    }
    this.#form = form;
    this.#area.value = this.#written(bytes);
    this.#drawForms();
    this.#check();
  }

  #pretty() {
    if (!this.#isBusy && this.#bytes() !== undefined) this.#area.value = prettyJson(parseJson(this.#area.value));
  }

  #isDirty() {
    try {
      return !this.#isAs(this.#began, FORMS[this.#form].read(this.#area.value));
    } catch {
      return true;
    }
  }

  // Whether the bytes, with the type that stands in its field, are what a key holds.
  #isAs({ bytes, contentType }, mine) {
    return isSame(bytes, mine) && (contentType ?? "") === this.#type.value.trim();
  }

  async #mayLeave() {
    if (!this.#isDirty()) return true;
    const leave = { label: t("editor.discard"), kind: "bad", run: () => true };
    const content = [el("p", {}, t("editor.unsaved"))];
    return (await openDialog({ title: t("editor.leave"), content, actions: [leave] })) === true;
  }

  async #cancel() {
    if (await this.#mayLeave()) this.#done();
  }

  #done() {
    this.dispatchEvent(new Event("done"));
  }

  // Nothing else is begun, and nothing typed that would be lost, until it is done.
  async #alone(run) {
    if (this.#isBusy) return;
    const hold = (isBusy) => (this.#isBusy = this.#area.readOnly = this.#type.readOnly = this.#save.disabled = isBusy);
    hold(true);
    try {
      await run();
    } catch (problem) {
      if (problem.code === undefined) throw problem;
      fill(this.#problem, told(problem)).hidden = false;
    } finally {
      hold(false);
    }
  }

  #store() {
    return this.#alone(async () => {
      const bytes = this.#bytes();
      if (bytes === undefined) return;
      try {
        await this.#put(bytes, this.base?.modRevision ?? null);
      } catch (problem) {
        if (problem.code !== "precondition_failed") throw problem;
        await this.#settle();
      }
    });
  }

  async #put(bytes, match) {
    const { name, literal } = this.place;
    const contentType = this.#type.value.trim();
    // Also where there was no lease: somebody may have given it one since.
    const { modRevision } = await put(name, bytes, { contentType, match, keepLease: true, literal });
    notify(t("editor.saved", { revision: modRevision }));
    this.#done();
  }

  // Somebody else was first: shows what was, what is and what was meant, until a person has chosen.
  async #settle() {
    const { name, literal } = this.place;
    const mine = this.#bytes();
    if (mine === undefined) return;
    const theirs = await read(name, { literal }).catch(absent);
    // A type that nobody changed here is the one that somebody gave it there.
    if (theirs !== null && this.#type.value.trim() === this.#followed) this.#type.value = this.#followed = theirs.contentType ?? "";
    // An answer that was lost on its way, and what it told of is done.
    if (theirs !== null && this.#isAs(theirs, mine)) return this.#done();
    const overwrite = () => this.#put(mine, theirs?.modRevision ?? null).then(() => "mine");
    const side = ({ bytes, contentType = "", modRevision }) => ({ bytes, contentType, modRevision });
    const sides = { before: this.#began, theirs: theirs && side(theirs), mine: { bytes: mine, contentType: this.#type.value.trim() } };
    const choice = await openConflict({ ...sides, overwrite });
    if (choice === "theirs") this.#done();
    if (choice?.merged !== undefined) {
      [this.base, this.#form] = [theirs, "text"];
      this.#begin();
      this.#area.value = choice.merged;
      this.#meanwhile.hidden = true;
      this.#drawForms();
      this.#area.focus();
    }
  }

  #key(event) {
    const isCommand = event.ctrlKey || event.metaKey;
    if (isCommand && (event.key === "s" || event.key === "Enter")) this.#store();
    else if (event.key === "Escape") this.#cancel();
    else return;
    event.preventDefault();
  }
}

customElements.define("value-editor", ValueEditor);
