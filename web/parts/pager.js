// Turns the pages of a list that is asked for again and again: where one is, and the way back and on.

import { button, el } from "../core/dom.js";
import { t } from "../core/text.js";

// `bar` has the buttons, `cursor` says what page to ask for, `show` takes the cursor of the one behind it, and `reset` goes to the first. Who
// turns is shown it by `look`.
export function pager(look) {
  // The cursors of the pages up to the present one; the first has none.
  const way = [undefined];
  let next;
  const turn = (step) => () => {
    step();
    look();
  };
  const back = button(t("pages.back"), turn(() => way.pop()));
  const on = button(t("pages.on"), turn(() => way.push(next)));
  const bar = el("div", { class: "toolbar thin", hidden: true }, back, on);
  const show = (cursor) => {
    next = cursor;
    back.disabled = way.length === 1;
    on.disabled = next === undefined;
    bar.hidden = back.disabled && on.disabled;
  };
  return { bar, show, cursor: () => way.at(-1), reset: () => way.splice(1) };
}
