// What pages and larger parts of them have in common: an element that ends what it has begun once it is gone from the page.

export class View extends HTMLElement {
  #ends = [];

  // Runs `end` once the element is gone.
  atEnd(end) {
    this.#ends.push(end);
  }

  listen(target, type, listener) {
    target.addEventListener(type, listener);
    this.atEnd(() => target.removeEventListener(type, listener));
  }

  // Runs `tick` each second.
  eachSecond(tick) {
    const clock = setInterval(tick, 1000);
    this.atEnd(() => clearInterval(clock));
  }

  disconnectedCallback() {
    for (const end of this.#ends.splice(0)) end();
  }
}
