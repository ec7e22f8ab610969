// Gives another name to what is at a key, or to everything in a directory: moves it or copies it, once it has shown what that writes.

import { Question, copy, freshAttempt } from "../core/api.js";
import { debounce, el, fill } from "../core/dom.js";
import { isDirectory, namesOf, ofSpelling, ofText, parent, show, spell, textOf } from "../core/name.js";
import { hrefOfName, route } from "../core/route.js";
import { t, told } from "../core/text.js";
import { changeLine, field, firstLines, nameList, openDialog } from "./dialog.js";
import { notify } from "./notice.js";

// How many of the keys that are written are named, and how long one has to stop typing for a preview, in milliseconds.
const NAMED = 500;
const PAUSE_MS = 150;

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export async function openMove(name, { literal } = {}) {
  const ofDirectory = isDirectory(name) && !literal;
  // A name that an input would not keep is spelled out.
  const isSpelled = show(name) !== textOf(name);
  const typed = isSpelled ? spell : textOf;
  const input = el("input", { required: true, autofocus: true, value: typed(name), autocomplete: "off" });
  const counts = el("p", { role: "status" });
  const names = nameList(t("rollback.preview"));
  // Where to agree to what is overwritten.
  const consent = el("p");
  // The name that is meant; null when it is badly spelled.
  const wanted = () => {
    const to = isSpelled ? ofSpelling(input.value) : ofText(input.value);
    return ofDirectory && to ? to.replace(/\/*$/, "/") : to;
  };
  // What the name that stands there would write, its keys that are there already as `there`: only that is done.
  let plan;
  const asking = new Question();

  const preview = async () => {
    later.cancel();
    const signal = asking.anew();
    const before = plan;
    plan = undefined;
    check();
    if (!input.validity.valid) return tell(input.value === "" ? "" : input.validationMessage);
    try {
      const found = await copy(name, wanted(), { verb: "copy", dryRun: true, literal, signal });
      if (signal.aborted) return undefined;
      plan = { ...found, there: namesOf(found, "overwrittenKeys") };
      return draw(before);
    } catch (problem) {
      if (signal.aborted) return undefined;
      if (problem.code === undefined) throw problem;
      return tell(told(problem));
    }
  };
  const check = () => {
    const to = wanted();
    const why = to === null ? t("move.misspelled") : to === name ? t("move.same") : "";
    input.setCustomValidity(why);
  };
  // What there is instead of a preview.
  const tell = (text) => {
    fill(counts, text);
    fill(names);
    fill(consent);
  };
  const draw = (before) => {
    const { keys: count, there } = plan;
    fill(counts, there.length === 0 ? t("move.counts", { count }) : t("move.countsThere", { count, there: there.length }));
    const isThere = new Set(there);
    const all = [...there, ...namesOf(plan, "writtenKeys").filter((key) => !isThere.has(key))];
    const how = (key) => (isThere.has(key) ? { sign: "~", word: t("move.there"), kind: "gone" } : { sign: "+", word: t("import.new"), kind: "new" });
    fill(names, firstLines(all, NAMED, (key) => changeLine(key, how(key))));
    if (isSame(before?.there, there)) return;
    fill(consent, there.length > 0 && el("label", { class: "tick" }, el("input", { type: "checkbox", required: true }), t("move.overwrite")));
  };
  const later = debounce(PAUSE_MS, preview);
  input.addEventListener("input", () => {
    asking.drop();
    plan = undefined;
    fill(consent);
    check();
    later();
  });

  // What was asked for without an answer, and its idempotency key: the same is asked for again, and not done twice.
  let attempt;
  const act = (verb) => async (left) => {
    const to = wanted();
    const overwrite = consent.firstChild !== null;
    const asked = { verb, to, overwrite };
    if (!isSame(attempt?.asked, asked)) {
      const shown = plan;
      if (shown === undefined || overwrite) await preview();
      const isNews = shown === undefined ? ofDirectory || plan?.there.length > 0 : !isSame(shown.there, plan?.there);
      if (plan === undefined || isNews || left.aborted) return undefined;
      attempt = { asked, key: freshAttempt() };
    }
    try {
      return { ...(await copy(name, to, { verb, overwrite, literal, attempt: attempt.key })), verb, to };
    } catch (problem) {
      if (problem.status >= 400 && problem.status < 500) attempt = undefined;
      // Nobody asks again once the dialog was left.
      throw Object.assign(problem, { isUnsure: problem.isUnsure && left.aborted });
    }
  };
  const tellDone = (done, isLeft) => {
    const facts = { count: done.keys, overwritten: done.overwritten, revision: done.revision };
    const href = hrefOfName(done.to, {}, literal && done.to.endsWith("/"));
    if (done.verb === "copy") return notify(t("move.copied", facts), { link: { href, text: t("create.open") } });
    notify(t("move.moved", facts));
    return isLeft || route.go(href);
  };
  const content = [
    field(t("move.to"), input, t(isSpelled ? "move.spelling" : ofDirectory ? "move.hintDirectory" : "create.nameHint")),
    counts,
    names,
    consent,
    el("p", { class: "hint" }, t("move.leases")),
  ];
  const actions = [{ label: t("move.do"), kind: "primary", run: act("move") }, { label: t("move.copy"), run: act("copy") }];
  // What is most often another one is the last part.
  const onOpen = () => {
    input.setSelectionRange(typed(parent(name)).length, input.value.length - (ofDirectory ? 1 : 0));
    preview();
  };
  await openDialog({ title: t("move.title"), subject: show(name), content, actions, onOpen, tell: tellDone });
  later.cancel();
  asking.drop();
}
