// Deletes, after it has shown what will go: a key as it is shown, or a directory with everything below it.

import { list, remove } from "../core/api.js";
import { el, fill } from "../core/dom.js";
import { ofItem, parent, show } from "../core/name.js";
import { hrefOfName, route } from "../core/route.js";
import { size, t, told } from "../core/text.js";
import { firstLines, nameList, openDialog } from "./dialog.js";
import { notify } from "./notice.js";

// How many of the keys that will go are named.
const NAMED = 200;

const tellDone = (count) => notify(t("remove.done", { count }));

export function removeKey(name, item, { literal }) {
  const run = async () => {
    try {
      await remove(name, { match: item.modRevision, literal });
    } catch (problem) {
      if (problem.code === "precondition_failed") throw Object.assign(problem, { detail: t("remove.changed") });
      throw problem;
    }
    return 1;
  };
  const facts = t("remove.facts", { revision: item.modRevision, size: size(item.bytes.length) });
  const content = [el("p", { class: "muted" }, facts), el("p", {}, t("remove.kept"))];
  return openDialog({ title: t("remove.key"), subject: show(name), content, actions: [{ label: t("remove.action"), kind: "bad", run }], tell: tellDone });
}

export function removeDirectory(name) {
  const count = el("p", { role: "status" }, t("list.loading"));
  const names = nameList(t("remove.preview"));
  const preview = async () => {
    try {
      const page = await list(name, { recursive: true, keysOnly: true, limit: NAMED });
      const total = page.count ?? (await list(name, { recursive: true, countOnly: true })).count;
      fill(count, total === 0 ? t("remove.empty") : t("remove.below", { count: total }));
      fill(names, firstLines(page.items, NAMED, (item) => el("li", {}, show(ofItem(item))), total));
    } catch (problem) {
      fill(count, told(problem));
    }
  };
  const content = [count, names, el("p", {}, t("remove.kept"))];
  const run = async () => (await remove(name)).deleted;
  const tell = (count, isLeft) => {
    tellDone(count);
    if (!isLeft) route.go(hrefOfName(parent(name)));
  };
  return openDialog({
    title: t("remove.directory"),
    subject: show(name),
    content,
    actions: [{ label: t("remove.all"), kind: "bad", run }],
    onOpen: preview,
    tell,
  });
}
