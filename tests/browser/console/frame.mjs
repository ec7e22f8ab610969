// What the flows through the console share: pages of it, the server's API beside them, waiting, and talking to the test.
//
// A flow is a script that is given the server's URL. It ends with status 0 when all of it is so, and tells what is not.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";

import { LIMIT_MS, withBrowser } from "../driver.mjs";

export { assert, LIMIT_MS };
export const base = process.argv[2];

// Runs a flow with a function that opens a place of the console. At the end no page may have complained of anything but the
// statuses that the flow says are part of it.
export async function flow(run) {
  await withBrowser(async (open) => {
    const pages = [];
    const visit = async (path, options = {}) => {
      const opened = await open(new URL(path, base).href, { locale: "en-GB", viewport: { width: 1280, height: 800 }, ...options });
      pages.push(opened);
      return opened.page;
    };
    const expected = [];
    await run({ visit, expect: (status) => expected.push(status) });
    for (const { complaints, errors } of pages) {
      const isExpected = (text) => expected.some((status) => text.includes(status));
      assert.deepEqual(complaints.filter((text) => !isExpected(text)), []);
      assert.deepEqual(errors, []);
    }
  });
  // A test that is still listened to would keep the script from its end.
  process.stdin.destroy();
}

// Asks the server beside the console.
export async function api(method, path, body, headers) {
  const response = await fetch(base + path, { method, body, headers });
  const text = await response.text();
  assert(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return text === "" ? {} : JSON.parse(text);
}

export const put = (path, value) => api("PUT", `/v1/keys${path}`, value, { "Content-Type": "application/x-www-form-urlencoded" });
export const value = async (path) => (await api("GET", `/v1/keys${path}`)).value;

// Follows what changes, as a program of that name, until what it gives is called: what a path says, or a body that is sent to it.
export async function follow(path, program, body) {
  const stop = new AbortController();
  const headers = { Accept: "text/event-stream", "User-Agent": program };
  const response = await fetch(base + path, { method: body === undefined ? "GET" : "POST", body, headers, signal: stop.signal });
  assert.equal(response.status, 200);
  response.text().catch(() => {});
  return () => stop.abort();
}

// Looks until something is so.
export async function until(what, isSo) {
  const deadline = Date.now() + LIMIT_MS;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    assert(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

let input;

// Asks the test to do something, and waits until it is done; gives what it says.
export async function please(what) {
  input ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  console.log(what);
  const { value: line, done } = await input.next();
  assert(!done, "the test has gone");
  return line;
}

// Keeps the answer to the next request that fits: gives a promise of that it is here, and a function that lets it go, or loses it, and
// comes back once the page has heard it.
export async function hold(page, isWanted, method = "GET") {
  let [arrive, letGo, finish] = [];
  const arrived = new Promise((resolve, reject) => {
    const deadline = setTimeout(() => reject(new Error(`nobody asks for ${isWanted}`)), LIMIT_MS);
    arrive = () => resolve(clearTimeout(deadline));
  });
  const gate = new Promise((resolve) => (letGo = resolve));
  const finished = new Promise((resolve) => (finish = resolve));
  let isHeld = false;
  await page.route(isWanted, async (route) => {
    if (isHeld || route.request().method() !== method) return route.fallback();
    isHeld = true;
    const response = await route.fetch();
    arrive();
    const isLost = await gate;
    // Who does not ask any more hears nothing.
    await (isLost ? route.abort() : route.fulfill({ response })).catch(() => {});
    return finish();
  });
  const release = async ({ isLost = false } = {}) => {
    letGo(isLost);
    await finished;
    // What is asked for later is answered later.
    await page.evaluate(() => fetch("/v1/status").then((response) => response.text()));
  };
  return { arrived, release };
}

// Where one can see what the console thinks of its connection.
export const connection = (page) => page.locator(".status").getAttribute("data-state");
export const isLive = (page) => until("it is not live", async () => (await connection(page)) === "live");
// The names in a table, in order, as they are drawn.
export const names = (page) => page.locator(".table-row .name").allTextContents();
export const inTree = (page) => page.locator(".tree-row a").allTextContents();
// A dialog's button, by the beginning of what it says.
export const answer = (page, text) => page.locator("dialog button", { hasText: text }).click();
