// The time to live of a key: gives it one, or takes it away. The value stays what it is, of the revision that is shown.

import { put } from "../core/api.js";
import { el } from "../core/dom.js";
import { show } from "../core/name.js";
import { countdown, t } from "../core/text.js";
import { field, openDialog, ttlInput } from "./dialog.js";

export function changeLease(name, item, { literal }) {
  const ttl = ttlInput({ autofocus: true, required: item.lease === undefined, placeholder: "10m" });
  const now = item.lease === undefined ? t("lease.none") : t("lease.now", { lease: item.lease, left: item.ttl === undefined ? "?" : countdown(item.ttl) });
  const write = (given) => () => put(name, item.bytes, { contentType: item.contentType, match: item.modRevision, ttl: given(), literal });
  const actions = [{ label: t("lease.set"), kind: "primary", run: write(() => ttl.value.trim() || undefined) }];
  if (item.lease !== undefined) actions.push({ label: t("lease.remove"), run: write(() => undefined) });
  const content = [el("p", {}, now), field(t("create.ttl"), ttl, t("lease.hint"))];
  return openDialog({ title: t("create.ttl"), subject: show(name), content, actions });
}
