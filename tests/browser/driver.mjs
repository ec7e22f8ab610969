// Chromium, for tests: opens pages and tells what they log and what goes wrong on them.
//
// Knows nothing of what the pages are for. Chromium is Debian's; playwright-core, which drives it, is where scripts/tools puts it.

import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../../target/browser/", import.meta.url))("playwright-core");

// How long what is waited for on a page may take on a busy machine, in milliseconds.
export const LIMIT_MS = 30_000;

// Runs `use` with a function that opens a URL in a profile of its own, with playwright's options for one, and ends the browser
// whatever comes of it.
export async function withBrowser(use) {
  // It runs as whoever runs the tests, and its sandbox refuses root; it sees nothing but pages of these tests.
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    return await use((url, options) => open(browser, url, options));
  } finally {
    await browser.close();
  }
}

// A page: playwright's own in `page`, the lines that it has logged, what the browser or it complains of, and the errors that nobody caught.
async function open(browser, url, options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(LIMIT_MS);
  const page = await context.newPage();
  const [lines, complaints, errors] = [[], [], []];
  let [ended, wake] = [false, () => {}];
  page.on("console", (message) => {
    (message.type() === "error" ? complaints : lines).push(message.text());
    wake();
  });
  const fail = (error) => {
    errors.push(String(error));
    ended = true;
    wake();
  };
  page.on("pageerror", fail);
  // Waits until it has logged so many lines, or its script has failed.
  const logged = async (count) => {
    const late = () => fail(`it logged ${lines.length} lines of ${count} within ${LIMIT_MS} ms`);
    const deadline = setTimeout(late, LIMIT_MS);
    while (lines.length < count && !ended) {
      await new Promise((resolve) => (wake = resolve));
    }
    clearTimeout(deadline);
  };
  await page.goto(url);
  return { page, lines, complaints, errors, logged, close: () => context.close() };
}
