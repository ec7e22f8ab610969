// Dialogs: a form in a <dialog>, whose end is a promise. Escape, a click beside it and going elsewhere end it with nothing done, unless that is
// under way: then a notice tells how it ends. And what stands in them: fields, lists of keys.

import { button, el, fill, freshId } from "../core/dom.js";
import { show } from "../core/name.js";
import { route } from "../core/route.js";
import { t, told } from "../core/text.js";
import { notifyEnd } from "./notice.js";

// Opens a dialog. `subject` is what it is about, as a person reads it, and `content` its nodes; `actions` are `{ label, run, kind }`: `run` may
// throw a problem, which is shown and leaves the dialog open; what it gives ends the dialog. The promise is of that, or undefined. `run` is given
// a signal that tells when the dialog was left meanwhile. What it gives is told by `tell`, also then, with whether it was left; where there
// is no `tell`, only then.
export function openDialog({ title, subject, content, actions, wide = false, onOpen, tell }) {
  return new Promise((resolve) => {
    let result;
    const left = new AbortController();
    const what = subject === undefined ? title : `${title} ${subject}`;
    const heading = freshId("title");
    const problem = el("p", { class: "problem", role: "alert", hidden: true });
    const buttons = actions.map(({ label, kind = "", run }, index) =>
      el("button", { type: index === 0 ? "submit" : "button", class: kind, on: index === 0 ? {} : { click: () => finish(run) } }, label),
    );
    const form = el(
      "form",
      { method: "dialog", novalidate: true, on: { submit: (event) => { event.preventDefault(); finish(actions[0].run); } } },
      el("h2", { id: heading }, title),
      el("div", { class: "dialog-body" }, subject !== undefined && el("p", {}, el("code", {}, subject)), content),
      problem,
      el("footer", {}, button(t("dialog.cancel"), () => dialog.close(), { class: "plain" }), buttons.toReversed()),
    );
    const dialog = el("dialog", { class: wide ? "wide" : "", "aria-labelledby": heading }, form);
    async function finish(run) {
      if (!form.reportValidity()) return;
      buttons.forEach((other) => (other.disabled = true));
      problem.hidden = true;
      try {
        result = await run(left.signal);
        if (result === undefined) return;
        if (tell) tell(result, left.signal.aborted);
        else if (left.signal.aborted) notifyEnd(what);
        dialog.close();
      } catch (error) {
        if (error.code === undefined) throw error;
        if (left.signal.aborted) notifyEnd(what, error);
        else fill(problem, told(error)).hidden = false;
      } finally {
        buttons.forEach((other) => (other.disabled = false));
      }
    }
    dialog.addEventListener("close", () => {
      left.abort();
      dialog.remove();
      resolve(result);
    });
    route.addEventListener("place", () => dialog.close(), { signal: left.signal });
    dialog.addEventListener("pointerdown", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
    onOpen?.(dialog);
  });
}

// What closes a dialog that only shows something.
export const DONE = { label: t("dialog.done"), kind: "primary", run: () => true };

// A list of keys or files that scrolls by itself.
export const nameList = (label, ...lines) => el("ul", { class: "names", tabindex: 0, "aria-label": label }, lines);

// A field with its label, and what it is for below it.
export function field(label, input, hint) {
  const id = freshId("field");
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  return el("div", { class: "field" }, el("label", { for: id }, label), input, hint && el("small", { id: `${id}-hint` }, hint));
}

// The lines of a list: the first `most` of its items, and how many more there are of `total`.
export const firstLines = (items, most, line, total = items.length) => [
  items.slice(0, most).map(line),
  total > most && el("li", { class: "muted" }, t("remove.more", { count: total - most })),
];

// The line of a key that would change: a sign that says how, and a word that says it to those who do not see.
export function changeLine(key, { sign, word, kind }) {
  return el("li", { class: kind }, el("span", { "aria-hidden": "true" }, `${sign} `), show(key), el("span", { class: "unseen" }, ` ${word}`));
}

// A span of time, as the server reads it.
const SPAN = "\\s*[0-9.]+(?:(?:ms|[smhd])[0-9.]+)*(?:ms|[smhd])?\\s*";
// An input for a time to live.
export const ttlInput = (attributes) => el("input", { pattern: SPAN, ...attributes });
