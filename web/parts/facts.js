// What is told of one thing, as a list of descriptions by column. What is not there is not told.

import { given } from "../core/api.js";
import { el } from "../core/dom.js";
import { t } from "../core/text.js";

export const facts = (values) => given(values).map(([column, value]) => el("div", {}, el("dt", {}, t(`column.${column}`)), el("dd", {}, value)));
