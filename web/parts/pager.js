// A table of a list that is asked for again and again, page by page, with the way back and on.

import { Question, outcome } from "../core/api.js";
import { button, el, fill } from "../core/dom.js";
import { t, told } from "../core/text.js";
import { plainTable } from "./table.js";

// So many items stand on a page.
const LIMIT = 50;

// `ask` asks for a page, given its parameters, `cells` makes those of an item of an answer, and `none` is said where there is no item. Gives the
// nodes, `look`, which asks anew for the page where one is, and `reset`, which goes to the first.
export function pagedTable(title, columns, { ask, cells, none }) {
  const { table, show } = plainTable(title, columns);
  const blank = el("p", { class: "muted", role: "status", hidden: true });
  // The cursors of the pages up to the present one; the first has none.
  const way = [undefined];
  let next;
  const looking = new Question();
  const look = async () => {
    const signal = looking.anew();
    const [found, problem] = await outcome(ask({ limit: LIMIT, cursor: way.at(-1) }));
    if (signal.aborted) return undefined;
    // The list has become shorter than the way.
    if (found?.items.length === 0 && way.length > 1) return goBack();
    fill(blank, problem ? told(problem) : none).hidden = found?.items.length > 0;
    if (problem) return undefined;
    next = found.cursor;
    back.disabled = way.length === 1;
    on.disabled = next === undefined;
    bar.hidden = back.disabled && on.disabled;
    return show(found.items.map((item) => cells(item, found)));
  };
  const goBack = () => {
    if (way.length > 1) way.pop();
    return look();
  };
  const goOn = () => {
    if (next !== undefined) way.push(next);
    // Nobody knows what follows a page that is not there yet.
    next = undefined;
    look();
  };
  const reset = () => {
    way.splice(1);
    next = undefined;
  };
  const [back, on] = [button(t("pages.back"), goBack), button(t("pages.on"), goOn)];
  const bar = el("div", { class: "toolbar thin", hidden: true }, back, on);
  return { nodes: [blank, table, bar], look, reset };
}
