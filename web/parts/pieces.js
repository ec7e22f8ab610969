// Draws a long list piece by piece: the next one when it is asked for.

import { button } from "../core/dom.js";
import { t } from "../core/text.js";

// Appends what `draw` makes of so many items, and a button for those that follow.
export function appendPieces(element, items, size, draw) {
  element.append(...items.slice(0, size).map(draw));
  const rest = items.slice(size);
  if (rest.length === 0) return;
  const more = button(t("json.more", { count: rest.length }), () => {
    more.remove();
    appendPieces(element, rest, size, draw);
  });
  element.append(more);
}
