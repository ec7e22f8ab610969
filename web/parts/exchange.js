// What exports and imports say alike: why it cannot be, and what was left out.

import { DocumentError } from "../core/document.js";
import { el } from "../core/dom.js";
import { JsonError } from "../core/json.js";
import { show } from "../core/name.js";
import { t, told } from "../core/text.js";
import { DONE, firstLines, nameList, openDialog } from "./dialog.js";

const NAMED = 300;

// A problem that a dialog can tell, of whatever went wrong with a document.
export function problemOf(error) {
  const tell = (detail) => Object.assign(new Error(), { code: "document", detail });
  if (error instanceof TypeError) return tell(t("form.bad.json"));
  if (error instanceof JsonError) return tell(told(error));
  return error instanceof DocumentError ? tell(t(`document.${error.message}`)) : error;
}

// The list of what was left out, each key or file with why: `[name, why]`.
export const leftOut = (left) => [
  el("p", { class: "problem" }, t("left.count", { count: left.length })),
  nameList(t("left.title"), firstLines(left, NAMED, ([name, why]) => el("li", {}, `${show(name)}: ${t(`left.${why}`)}`))),
];

// Shows it, if there is anything.
export function tellLeftOut(left) {
  if (left.length === 0) return undefined;
  return openDialog({ title: t("left.title"), content: leftOut(left), actions: [DONE] });
}
