// Goes back: gives a key, or everything in a directory, the state of an earlier revision, once it has shown what that changes.

import { rollback } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { isDirectory, namesOf, show } from "../core/name.js";
import { t, told } from "../core/text.js";
import { changeLine, field, firstLines, nameList, openDialog } from "./dialog.js";
import { notify } from "./notice.js";

const NAMED = 500;

export function openRollback(name, { to, literal } = {}) {
  const revision = el("input", { type: "number", min: 1, step: 1, required: true, value: to ?? "", autofocus: true });
  const counts = el("p", { role: "status" });
  const names = nameList(t("rollback.preview"));
  // The revision that the preview is of: only that is gone back to.
  let previewed;
  const preview = async () => {
    const wanted = revision.valueAsNumber;
    if (!Number.isSafeInteger(wanted) || wanted < 1) return;
    previewed = undefined;
    fill(names);
    try {
      const plan = await rollback(name, wanted, { dryRun: true, literal });
      if (revision.valueAsNumber !== wanted) return;
      previewed = wanted;
      const all = (list, kind) => namesOf(plan, list).map((key) => ({ key, kind }));
      const changes = [...all("restoredKeys", "new"), ...all("deletedKeys", "gone")];
      const line = ({ key, kind }) => changeLine(key, { sign: kind === "new" ? "↺" : "−", word: t(`rollback.${kind}`), kind });
      fill(names, firstLines(changes, NAMED, line));
      fill(counts, changes.length === 0 ? t("rollback.nothing") : t("rollback.counts", { restored: plan.restored, deleted: plan.deleted }));
    } catch (problem) {
      if (revision.valueAsNumber !== wanted) return;
      fill(counts, told(problem));
    }
  };
  revision.addEventListener("change", preview);
  const run = async () => {
    const wanted = revision.valueAsNumber;
    if (previewed !== wanted) {
      await preview();
      return undefined;
    }
    return rollback(name, wanted, { literal });
  };
  const content = [
    field(t("rollback.to"), revision, t(isDirectory(name) && !literal ? "rollback.hintDirectory" : "rollback.hint")),
    counts,
    names,
  ];
  const actions = [{ label: t("rollback.title"), kind: "primary", run }];
  const tell = (done) => notify(t("rollback.done", done));
  return openDialog({ title: t("rollback.title"), subject: show(name), content, actions, onOpen: preview, tell });
}
