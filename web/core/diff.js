// What differs between two texts, line by line (Myers, "An O(ND) Difference Algorithm and Its Variations", 1986), and the
// merging of two changes of one text.

import { isSame } from "./codec.js";

// With more differences than this, what lies between the equal ends counts as replaced whole.
const MOST_DIFFERENCES = 1500;

// The equal stretches of two lists of lines, in order: `[a, b, length]` each. The last has length 0 and stands at the ends.
export function matching(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  const middle = shortest(a.slice(start, a.length - end), b.slice(start, b.length - end));
  const stretches = [[0, 0, start], ...middle.map(([x, y, length]) => [x + start, y + start, length])];
  stretches.push([a.length - end, b.length - end, end]);
  return [...stretches.filter(([, , length]) => length > 0), [a.length, b.length, 0]];
}

function shortest(a, b) {
  if (a.length === 0 || b.length === 0) return [];
  const most = Math.min(MOST_DIFFERENCES, a.length + b.length);
  const reach = new Int32Array(2 * most + 3);
  const trail = [];
  for (let edits = 0; edits <= most; edits += 1) {
    trail.push(reach.slice(most - edits + 1, most + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      const down = k === -edits || (k !== edits && reach[most + k] < reach[most + k + 2]);
      let x = down ? reach[most + k + 2] : reach[most + k] + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      reach[most + k + 1] = x;
      if (x >= a.length && x - k >= b.length) return walkBack(trail, a.length, b.length);
    }
  }
  return [];
}

// From the end to the beginning along what each number of edits had reached.
function walkBack(trail, x, y) {
  const stretches = [];
  for (let edits = trail.length - 1; edits >= 0; edits -= 1) {
    const at = (k) => trail[edits][k + edits];
    const k = x - y;
    const down = k === -edits || (k !== edits && at(k - 1) < at(k + 1));
    const before = edits === 0 ? [0, 0] : down ? [at(k + 1), at(k + 1) - k - 1] : [at(k - 1), at(k - 1) - k + 1];
    const from = down ? before[0] : before[0] + 1;
    if (x > from) stretches.unshift([from, from - k, x - from]);
    [x, y] = before;
  }
  return stretches;
}

const lines = (text) => text.split("\n");

// Two texts side by side: rows of `{ left, right, kind }`, each side `{ number, text }` or null; `same` or `changed`.
export function sideBySide(before, after) {
  const [a, b] = [lines(before), lines(after)];
  const rows = [];
  const side = (list, at) => ({ number: at + 1, text: list[at] });
  let [x, y] = [0, 0];
  for (const [nextX, nextY, length] of matching(a, b)) {
    for (; x < nextX || y < nextY; ) {
      const left = x < nextX ? side(a, x++) : null;
      const right = y < nextY ? side(b, y++) : null;
      rows.push({ left, right, kind: "changed" });
    }
    for (let step = 0; step < length; step += 1) rows.push({ left: side(a, x++), right: side(b, y++), kind: "same" });
  }
  return rows;
}

// Both changes of a text in one, `{ text, conflicts }`; where they meet, both stand between marks.
export function merge(base, mine, theirs) {
  const [o, a, b] = [lines(base), lines(mine), lines(theirs)];
  const [inMine, inTheirs] = [places(o, a), places(o, b)];
  const merged = [];
  const add = (...pieces) => pieces.forEach((piece) => piece.forEach((line) => merged.push(line)));
  let [x, y, at, conflicts] = [0, 0, 0, 0];
  const settle = (endO, endX, endY) => {
    const [was, ours, other] = [o.slice(at, endO), a.slice(x, endX), b.slice(y, endY)];
    if (isSame(ours, other) || isSame(other, was)) add(ours);
    else if (isSame(ours, was)) add(other);
    else {
      conflicts += 1;
      add(["<<<<<<< mine"], ours, ["||||||| before"], was, ["======="], other, [">>>>>>> theirs"]);
    }
  };
  for (let line = 0; line < o.length; line += 1) {
    if (inMine[line] === undefined || inTheirs[line] === undefined) continue;
    settle(line, inMine[line], inTheirs[line]);
    merged.push(o[line]);
    [at, x, y] = [line + 1, inMine[line] + 1, inTheirs[line] + 1];
  }
  settle(o.length, a.length, b.length);
  return { text: merged.join("\n"), conflicts };
}

// Where each line of the first is in the second, if it is there still.
function places(from, to) {
  const found = [];
  for (const [x, y, length] of matching(from, to)) for (let step = 0; step < length; step += 1) found[x + step] = y + step;
  return found;
}
