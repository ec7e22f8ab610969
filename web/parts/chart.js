// A small chart of the last values of one thing: a line, the newest value in words, and the largest for scale.

import { drawing, el, fill } from "../core/dom.js";
import { t } from "../core/text.js";

const KEPT = 90;
// Fewer values are drawn as if they were the last ones of so many.
const FEWEST = 20;
const [WIDTH, HEIGHT] = [240, 44];

class LineChart extends HTMLElement {
  #values = [];
  #line = drawing("polyline", {});
  #now = el("strong");
  #most = el("small");

  connectedCallback() {
    const box = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.#line);
    this.append(el("span", { class: "muted" }, this.getAttribute("label")), this.#now, box, this.#most);
  }

  // Takes the next value; `write` makes words of one.
  add(value, write) {
    this.#values.push(value);
    this.#values.splice(0, this.#values.length - KEPT);
    const most = Math.max(...this.#values, Number.MIN_VALUE);
    const step = WIDTH / (Math.max(this.#values.length, FEWEST) - 1);
    const x = (at) => WIDTH - (this.#values.length - 1 - at) * step;
    const y = (one) => HEIGHT - 2 - (one / most) * (HEIGHT - 4);
    this.#line.setAttribute("points", this.#values.map((one, at) => `${x(at).toFixed(1)},${y(one).toFixed(1)}`).join(" "));
    fill(this.#now, write(value));
    fill(this.#most, t("chart.most", { value: write(Math.max(...this.#values)) }));
  }
}

customElements.define("line-chart", LineChart);
