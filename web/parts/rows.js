// A list of any length of which only the rows in view are in the page.
//
// Whoever has the rows sets `items`, `draw`, a function from an item and its index to an element, and `nameOf`, which tells items
// apart, and calls `refresh`. A row is known by its name: where items come and go before it, it stays the current one, and where it
// is seen. The list has the focus; the row that is current has it in the eyes of a screen reader (`aria-activedescendant`).

import { el, freshId, pressOn } from "../core/dom.js";

// Rows drawn beyond the view on either side, so that scrolling does not show gaps.
const MARGIN = 12;
// Browsers have a bound on how tall an element may be.
const TALLEST_PX = 16_000_000;

// No row: the index and the name of none.
const NONE = { index: -1, name: undefined };

class Rows extends HTMLElement {
  items = [];
  draw = () => el("div");
  nameOf = (item) => item;
  // A row of headings that stays in view, if there is one.
  head = null;
  // Where the keyboard is, and the row that stays where it is seen.
  #current = NONE;
  #anchor = NONE;
  // The items of the rows that are drawn, by their elements.
  #drawn = new Map();
  #prefix = freshId("row");
  #sizer = el("div", { class: "sizer", role: "presentation" });
  #layer = el("div", { class: "layer", role: "presentation" });
  #observer = new ResizeObserver(() => this.refresh());
  #frame;
  #height = 28;
  #isPressed = pressOn(this.#layer, () => this.refresh());

  connectedCallback() {
    this.tabIndex = 0;
    this.#sizer.append(this.#layer);
    if (this.head) this.append(this.head);
    this.append(this.#sizer);
    this.addEventListener("scroll", () => this.#later(), { passive: true });
    this.addEventListener("keydown", (event) => this.#key(event));
    this.#layer.addEventListener("click", (event) => {
      const item = this.itemOf(event);
      if (item !== undefined) this.#current = { index: -1, name: this.nameOf(item) };
    });
    this.#observer.observe(this);
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  // The item of the row that the keyboard is at, if there is one.
  get current() {
    return this.items[this.#placeOf(this.#current)];
  }

  // The item whose row an event is of, as it was drawn.
  itemOf(event) {
    return this.#drawn.get(event.target.closest(".layer > *"));
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
  get #visible() {
    return Math.max(1, Math.floor(this.#view / this.#height));
  }

  #at(index) {
    return index >= 0 && index < this.items.length ? { index, name: this.nameOf(this.items[index]) } : NONE;
  }

  // Where a row is now; -1 when it is not there any more.
  #placeOf({ index, name }) {
    if (name === undefined) return -1;
    if (this.#at(index).name === name) return index;
    return this.items.findIndex((item) => this.nameOf(item) === name);
  }

  // What has come and gone: the current row is the same one, or what stands in its place; and the view stays where it was. At the top it
  // shows what comes there, unless somebody is at a row.
  #follow() {
    const current = this.#placeOf(this.#current);
    this.#current = this.#at(current < 0 ? Math.min(this.#current.index, this.items.length - 1) : current);
    this.#sizer.style.height = `${Math.min(this.items.length * this.#height, TALLEST_PX)}px`;
    const anchor = this.#placeOf(this.#anchor);
    const isHeld = this.scrollTop > 0 || document.activeElement === this;
    if (anchor >= 0 && isHeld) this.scrollTop += (anchor - this.#anchor.index) * this.#height;
    this.#drop();
  }

  // Chooses the row that stays where it is seen: the current one of a list that has the focus, or the first in view.
  #drop() {
    const [top, bottom] = [this.#current.index * this.#height, (this.#current.index + 1) * this.#height];
    const isSeen = bottom > this.scrollTop && top < this.scrollTop + this.#view;
    const isAtRow = document.activeElement === this && isSeen && this.#current !== NONE;
    this.#anchor = isAtRow ? this.#current : this.scrollTop > 0 ? this.#at(Math.floor(this.scrollTop / this.#height)) : NONE;
  }

  // Draws what is in view.
  refresh() {
    if (this.#isPressed()) return;
    this.#height = parseFloat(getComputedStyle(this).getPropertyValue("--row")) || 28;
    this.#follow();
    const first = Math.max(0, Math.floor(this.scrollTop / this.#height) - MARGIN);
    const end = Math.min(this.items.length, first + this.#visible + 2 * MARGIN);
    this.#drawn.clear();
    for (let index = first; index < end; index += 1) {
      const row = this.draw(this.items[index], index);
      row.id = `${this.#prefix}-${index}`;
      row.classList.toggle("current", index === this.#current.index);
      this.#drawn.set(row, this.items[index]);
    }
    this.#layer.style.transform = `translateY(${first * this.#height}px)`;
    this.#layer.replaceChildren(...this.#drawn.keys());
    const isDrawn = this.#current.index >= first && this.#current.index < end;
    if (isDrawn) this.setAttribute("aria-activedescendant", `${this.#prefix}-${this.#current.index}`);
    else this.removeAttribute("aria-activedescendant");
    this.dispatchEvent(new CustomEvent("drawn", { detail: { first, end } }));
  }

  // Makes a row the current one and brings it into view.
  moveTo(index) {
    if (this.items.length === 0) return;
    this.#follow();
    this.#current = this.#at(Math.max(0, Math.min(this.items.length - 1, index)));
    const [top, bottom] = [this.#current.index * this.#height, (this.#current.index + 1) * this.#height];
    if (top < this.scrollTop) this.scrollTop = top;
    else if (bottom > this.scrollTop + this.#view) this.scrollTop = bottom - this.#view;
    this.#drop();
    this.refresh();
  }

  // Moves so many rows on from the current one; without one, to the first.
  move(steps) {
    this.moveTo(this.#placeOf(this.#current) + steps);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: this.#visible, PageUp: -this.#visible, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.move(steps[event.key]);
    else if (event.key === "Enter" && this.current !== undefined) this.dispatchEvent(new CustomEvent("choose", { detail: this.current }));
    else return;
    event.preventDefault();
  }
}

customElements.define("vardr-rows", Rows);
