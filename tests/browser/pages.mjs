// Opens pages one after the other and waits until each has logged as many lines as it should.
//
// The pages are arguments, each a URL and a number of lines; what they logged and what went wrong is printed as one line of JSON
// for each.

import { withBrowser } from "./driver.mjs";

const pages = process.argv.slice(2);
await withBrowser(async (open) => {
  for (let at = 0; at < pages.length; at += 2) {
    const { lines, complaints, errors, logged, close } = await open(pages[at]);
    await logged(Number(pages[at + 1]));
    await close();
    console.log(JSON.stringify({ lines, complaints, errors }));
  }
});
