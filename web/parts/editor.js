// Changes a value. What is saved replaces the revision that the change began from and no other: when somebody else was
// first, a person chooses.

import { FORMS, bytesIn, bytesOfText, formOf, isJson, isSame, isText, textIn, textOfBytes } from "../core/codec.js";
import { Question, absent, convert, put, read } from "../core/api.js";
import { button, debounce, el, fill } from "../core/dom.js";
import { parseJson, prettyJson } from "../core/json.js";
import { show } from "../core/name.js";
import { route } from "../core/route.js";
import { t, told } from "../core/text.js";
import { openConflict } from "./conflict.js";
import { openDialog } from "./dialog.js";
import { notify, notifyEnd } from "./notice.js";

const NOTHING = new Uint8Array();
// How long one has to stop typing for YAML to be checked, in milliseconds.
const PAUSE_MS = 250;

// Whether an area for text keeps the bytes: it turns line breaks into `\n`.
const isTextual = (bytes) => textOfBytes(bytes)?.includes("\r") === false;

class ValueEditor extends HTMLElement {
  #form;
  // What was last written into the area, and the bytes that it stands for: unchanged, it means just these.
  #written = { text: "", bytes: NOTHING };
  // Whether what YAML was chosen for is JSON.
  #isOfJson = false;
  #checking = new Question();
  #checkSoon = debounce(PAUSE_MS, () => this.#bytes());
  #area = el("textarea", { "aria-label": t("key.value"), wrap: "off" });
  #forms = el("div", { class: "switch", role: "group", "aria-label": t("value.form") });
  #type = el("input", { list: "media-types", placeholder: t("editor.noType"), "aria-label": t("column.type"), size: 22 });
  #target = el("small", {}, t("editor.asJson"));
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #meanwhile = el("p", { class: "hint", role: "status", hidden: true });
  #save = button([t("editor.save"), el("kbd", { "aria-hidden": "true" }, "⌃S")], () => this.#store(), { class: "primary" });
  // What the change began from.
  #began = { bytes: NOTHING, contentType: "" };
  // The type that was last taken over from the key: another one in the field was typed here.
  #followed = "";
  // Whether a write is on its way.
  #isSaving = false;
  #guard = { isDirty: () => this.#isDirty(), mayLeave: () => this.#mayLeave() };

  connectedCallback() {
    this.#begin();
    const bytes = this.initial ?? this.#began.bytes;
    this.#type.value = this.#began.contentType;
    this.append(
      el("div", { class: "toolbar thin" }, this.#forms, this.#target, button(t("editor.format"), () => this.#pretty(), { class: "plain format" }), this.#type),
      this.#meanwhile,
      this.#area,
      this.#problem,
      el("div", { class: "toolbar thin" }, this.#save, button(t("dialog.cancel"), () => this.#cancel())),
    );
    this.#written.bytes = bytes;
    const usual = this.#isYaml ? "yaml" : formOf(bytes, this.#began.contentType);
    this.#alone(() => this.#write(isTextual(bytes) ? (this.form ?? usual) : "hex", bytes));
    this.#area.addEventListener("input", () => this.#check());
    this.#type.addEventListener("input", () => this.#drawForms());
    this.addEventListener("keydown", (event) => this.#key(event));
    route.guards.add(this.#guard);
  }

  #begin() {
    this.#began = { bytes: this.base?.bytes ?? NOTHING, contentType: this.base?.contentType ?? "" };
    this.#followed = this.#began.contentType;
  }

  disconnectedCallback() {
    route.guards.delete(this.#guard);
    this.#checking.drop();
  }

  // Tells that the key is another one now, or gone.
  meanwhile(item) {
    if (item?.modRevision === this.base?.modRevision) return;
    const text = item === null ? t("editor.gone") : t("editor.changed", { revision: item.modRevision });
    fill(this.#meanwhile, text, " ", button(t("editor.compare"), () => this.#alone(() => this.#settle())));
    this.#meanwhile.hidden = false;
  }

  // Whether the key is to hold YAML, and whether it is to hold the JSON that is written as YAML here. The type decides; where it
  // says neither, what the value was.
  get #isYaml() {
    return /\byaml\b/.test(this.#type.value);
  }
  get #isForJson() {
    return this.#form === "yaml" && !this.#isYaml && (this.#isOfJson || /\bjson\b/.test(this.#type.value));
  }

  // Shows bytes in a form. JSON is changed as it was written; only reading it shows it laid out.
  async #write(form, bytes) {
    const before = this.#form;
    this.#form = form;
    this.#isOfJson = isJson(bytes);
    // What is asked about the text before is not told of this one.
    this.#checkSoon.cancel();
    this.#checking.drop();
    this.#area.focus();
    try {
      const text = this.#isForJson ? await convert(bytes, "json", "yaml") : textIn(form, bytes);
      this.#area.value = text;
      this.#area.setSelectionRange(0, 0);
      this.#written = { text, bytes };
    } catch (problem) {
      if (before === undefined) await this.#write("text", bytes);
      this.#form = before ?? "text";
      throw problem;
    }
    this.#drawForms();
    this.#check();
  }

  #drawForms() {
    const way = (form) => button(t(`form.${form}`), () => this.#choose(form), { "aria-pressed": String(form === this.#form) });
    fill(this.#forms, FORMS.map(way));
    this.querySelector(".format").hidden = this.#form !== "json";
    this.#target.hidden = !this.#isForJson;
  }

  // The bytes that the text means; undefined when it means none, which is said.
  async #bytes() {
    this.#checkSoon.cancel();
    const signal = this.#checking.anew();
    try {
      const bytes = await this.#read(this.#area.value, signal);
      if (signal.aborted) return undefined;
      this.#problem.hidden = true;
      return bytes;
    } catch (error) {
      if (signal.aborted) return undefined;
      fill(this.#problem, error instanceof SyntaxError ? t(`form.bad.${error.message}`) : told(error)).hidden = false;
      return undefined;
    }
  }

  async #read(text, signal) {
    if (this.#form !== "yaml") return bytesIn(this.#form, text);
    const { text: before, bytes } = this.#written;
    if (this.#isForJson && this.#isOfJson && text === before) return bytes;
    const json = await convert(text, "yaml", "json", signal);
    if (!this.#isForJson) return bytesOfText(text);
    // In lines where it was, with a line break at the end where there was one.
    const was = textOfBytes(bytes);
    const laidOut = was.trimEnd().includes("\n") ? prettyJson(parseJson(json)) : json;
    return bytesOfText(was.endsWith("\n") ? `${laidOut}\n` : laidOut);
  }

  #check() {
    if (this.#form === "yaml") this.#checkSoon();
    else if (this.#form === "json" || !this.#problem.hidden) this.#bytes();
  }

  #choose(form) {
    return this.#alone(async () => {
      // A text that is not well formed can be gone on with as one.
      const isKept = isText(this.#form) && !this.#isForJson;
      const bytes = isKept ? bytesOfText(this.#area.value) : await this.#bytes();
      if (bytes === undefined) return;
      this.#problem.hidden = true;
      if (isText(form) && !isTextual(bytes)) fill(this.#problem, t("form.bad.text")).hidden = false;
      else await this.#write(form, bytes);
    });
  }

  async #pretty() {
    if (!this.#area.readOnly && (await this.#bytes()) !== undefined) this.#area.value = prettyJson(parseJson(this.#area.value));
  }

  #isDirty() {
    const text = this.#area.value;
    try {
      const bytes = text === this.#written.text ? this.#written.bytes : bytesIn(this.#form, text);
      return !this.#isAs(this.#began, bytes);
    } catch {
      return true;
    }
  }

  // Whether the bytes, with the type that stands in its field, are what a key holds.
  #isAs({ bytes, contentType }, mine) {
    return isSame(bytes, mine) && (contentType ?? "") === this.#type.value.trim();
  }

  async #mayLeave() {
    if (!this.isConnected || !this.#isDirty()) return true;
    const isSaving = this.#isSaving;
    const [title, text, label] = isSaving ? ["editor.saving", "editor.told", "editor.away"] : ["editor.leave", "editor.unsaved", "editor.discard"];
    const actions = [{ label: t(label), kind: "bad", run: () => true }];
    if (!(await openDialog({ title: t(title), content: el("p", {}, t(text)), actions }))) return false;
    // It is another question once a write has begun or ended.
    return isSaving === this.#isSaving || this.#mayLeave();
  }

  async #cancel() {
    if (await this.#mayLeave()) this.#done();
  }

  #done() {
    this.dispatchEvent(new Event("done"));
  }

  // Nothing else is begun, and nothing typed that would be lost, until it is done.
  async #alone(run) {
    if (this.#area.readOnly) return;
    const hold = (isBusy) => (this.#area.readOnly = this.#type.readOnly = this.#save.disabled = isBusy);
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
      const bytes = await this.#bytes();
      if (bytes === undefined) return;
      try {
        await this.#put(bytes, this.base?.modRevision ?? null);
      } catch (problem) {
        if (this.isConnected && problem.code === "precondition_failed") return this.#settle();
        if (this.isConnected || problem.code === undefined) throw problem;
        // Whoever has left is told, and not asked.
        return notifyEnd(`${t("editor.save")} ${show(this.place.name)}`, problem);
      }
    });
  }

  async #put(bytes, match) {
    const { name, literal } = this.place;
    const contentType = this.#type.value.trim();
    this.#isSaving = true;
    try {
      // Also where there was no lease: somebody may have given it one since.
      const { modRevision } = await put(name, bytes, { contentType, match, keepLease: true, literal });
      notify(t("editor.saved", { name: show(name), revision: modRevision }));
    } finally {
      this.#isSaving = false;
    }
    this.#done();
  }

  // Somebody else was first: shows what was, what is and what was meant, until a person has chosen.
  async #settle() {
    const { name, literal } = this.place;
    const theirs = await read(name, { literal }).catch(absent);
    // A type that nobody changed here is the one that somebody gave it there.
    if (theirs !== null && this.#type.value.trim() === this.#followed) {
      this.#type.value = this.#followed = theirs.contentType ?? "";
      this.#drawForms();
    }
    const mine = await this.#bytes();
    if (mine === undefined || !this.isConnected) return;
    // An answer that was lost on its way, and what it told of is done.
    if (theirs !== null && this.#isAs(theirs, mine)) return this.#done();
    let writing;
    const overwrite = () => (writing = this.#put(mine, theirs?.modRevision ?? null)).then(() => "mine");
    const side = ({ bytes, contentType = "", modRevision }) => ({ bytes, contentType, modRevision });
    const sides = { before: this.#began, theirs: theirs && side(theirs), mine: { bytes: mine, contentType: this.#type.value.trim() } };
    const choice = await openConflict({ subject: show(name), ...sides, overwrite });
    // It may have been left before that had ended, which the dialog tells.
    await writing?.catch(() => {});
    if (choice === "theirs") this.#done();
    if (choice?.merged !== undefined) {
      this.base = theirs;
      this.#begin();
      this.#meanwhile.hidden = true;
      await this.#write("text", bytesOfText(choice.merged));
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
