// Makes elements. Text becomes text nodes and nothing else: no value of the store is ever markup.

// An element: attributes by name, `on` with listeners, `class` as a string; children are nodes, texts, numbers, or nothing.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...given(children));
  return element;
}

const given = (children) => children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false);

// Gives an element other children.
export function fill(element, ...children) {
  element.replaceChildren(...given(children));
  return element;
}

// A button that says what it does.
export function button(label, listener, attributes = {}) {
  return el("button", { type: "button", ...attributes, on: { click: listener } }, label);
}

const DRAWINGS = {
  chevron: "M6 4l4 4-4 4",
  folder: "M1.5 4.5v8h13v-7h-7l-1.5-2h-4.5z",
  key: "M4 2.5h5.5l2.5 2.5v8.5h-8zM9.5 2.5v3h2.5",
  brand: "M2.5 4l5.5 8L13.5 4",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9M10.3 10.3l3.2 3.2",
  plus: "M8 3v10M3 8h10",
  theme: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  clock: "M8 2.5a5.5 5.5 0 1 0 .01 0M8 5v3.2l2 1.3",
};

// An element of a drawing.
export function drawing(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A small drawing beside a text that says the same, so that it is hidden from readers.
export const icon = (name) => drawing("svg", { viewBox: "0 0 16 16", class: `icon ${name}`, "aria-hidden": "true" }, drawing("path", { d: DRAWINGS[name] }));

// Gives a function that tells whether a pointer is pressed on an element: what is drawn anew in between is not clicked. Once it is let go,
// `draw` is run.
export function pressOn(element, draw) {
  let isPressed = false;
  const release = () =>
    setTimeout(() => {
      isPressed = false;
      draw();
    });
  element.addEventListener("pointerdown", () => {
    isPressed = true;
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, release, { once: true });
  });
  return () => isPressed;
}

let lastId = 0;
// An id that no other element has.
export const freshId = (word) => `${word}-${++lastId}`;

// Runs a function once things are quiet, at most every `ms`; the latest call counts.
export function debounce(ms, run) {
  let timer;
  const later = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), ms);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}
