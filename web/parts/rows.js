// A list of any length of which only the rows in view are in the page.
//
// Whoever has the rows sets `count` and `draw`, a function from an index to an element, and calls `refresh`. The list has the
// focus; the row that is current has it in the eyes of a screen reader (`aria-activedescendant`).

import { el, freshId } from "../core/dom.js";

// Rows drawn beyond the view on either side, so that scrolling does not show gaps.
const MARGIN = 12;
// Browsers have a bound on how tall an element may be.
const TALLEST_PX = 16_000_000;

export class Rows extends HTMLElement {
  count = 0;
  draw = () => el("div");
  // A row of headings that stays in view, if there is one.
  head = null;
  // Which row the keyboard is at; -1 for none.
  current = -1;
  #prefix = freshId("row");
  #sizer = el("div", { class: "sizer", role: "presentation" });
  #layer = el("div", { class: "layer", role: "presentation" });
  #observer = new ResizeObserver(() => this.refresh());
  #frame;
  #height = 28;
  // A row that is pressed stays until it is let go: drawn anew in between, it would not be clicked.
  #isPressed = false;
  #onRelease = () => setTimeout(() => this.#release());

  connectedCallback() {
    this.tabIndex = 0;
    this.#sizer.append(this.#layer);
    if (this.head) this.append(this.head);
    this.append(this.#sizer);
    this.addEventListener("scroll", () => this.#later(), { passive: true });
    this.addEventListener("keydown", (event) => this.#key(event));
    this.#layer.addEventListener("pointerdown", () => {
      this.#isPressed = true;
      addEventListener("pointerup", this.#onRelease, { once: true });
      addEventListener("pointercancel", this.#onRelease, { once: true });
    });
    this.#observer.observe(this);
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  #release() {
    this.#isPressed = false;
    this.refresh();
  }

  #later() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.refresh());
  }

  // How tall the view of the rows is, the headings not counted.
  get #view() {
    return this.clientHeight - (this.head?.offsetHeight ?? 0);
  }

  // How many rows fit the view.
  get visible() {
    return Math.max(1, Math.floor(this.#view / this.#height));
  }

  // Draws what is in view.
  refresh() {
    if (this.#isPressed) return;
    this.#height = parseFloat(getComputedStyle(this).getPropertyValue("--row")) || 28;
    this.current = Math.min(this.current, this.count - 1);
    this.#sizer.style.height = `${Math.min(this.count * this.#height, TALLEST_PX)}px`;
    const first = Math.max(0, Math.floor(this.scrollTop / this.#height) - MARGIN);
    const end = Math.min(this.count, first + this.visible + 2 * MARGIN);
    const rows = [];
    for (let index = first; index < end; index += 1) {
      const row = this.draw(index);
      row.id = `${this.#prefix}-${index}`;
      row.dataset.index = index;
      row.classList.toggle("current", index === this.current);
      rows.push(row);
    }
    this.#layer.style.transform = `translateY(${first * this.#height}px)`;
    this.#layer.replaceChildren(...rows);
    const isDrawn = this.current >= first && this.current < end;
    if (isDrawn) this.setAttribute("aria-activedescendant", `${this.#prefix}-${this.current}`);
    else this.removeAttribute("aria-activedescendant");
    this.dispatchEvent(new CustomEvent("drawn", { detail: { first, end } }));
  }

  // Makes a row the current one and brings it into view.
  moveTo(index) {
    if (this.count === 0) return;
    this.current = Math.max(0, Math.min(this.count - 1, index));
    const [top, bottom] = [this.current * this.#height, (this.current + 1) * this.#height];
    if (top < this.scrollTop) this.scrollTop = top;
    else if (bottom > this.scrollTop + this.#view) this.scrollTop = bottom - this.#view;
    this.refresh();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this) return;
    const steps = {
      ArrowDown: this.current + 1,
      ArrowUp: this.current - 1,
      PageDown: this.current + this.visible,
      PageUp: this.current - this.visible,
      Home: 0,
      End: this.count - 1,
    };
    if (event.key in steps) this.moveTo(steps[event.key]);
    else if (event.key === "Enter" && this.current >= 0) this.#say("choose");
    else return;
    event.preventDefault();
  }

  #say(type) {
    this.dispatchEvent(new CustomEvent(type, { detail: this.current }));
  }
}

customElements.define("vardr-rows", Rows);
