// Who watches what stands on the page of the cluster: a key, a directory or other names, how, from where and since when. Who has gone is not
// there any more.

import { api, assert, base, flow, put, until } from "./frame.mjs";

// Follows, until it is told to stop.
async function watch(path, agent) {
  const stop = new AbortController();
  const response = await fetch(base + path, { headers: { Accept: "text/event-stream", "User-Agent": agent }, signal: stop.signal });
  assert.equal(response.status, 200);
  response.text().catch(() => {});
  return () => stop.abort();
}

await flow(async ({ visit }) => {
  await put("/w/app/db", "x");
  const stops = [await watch("/v1/watch/w/app/db", "one/1.0"), await watch("/v1/watch/w/app/", "two/2.0")];
  const page = await visit("/console/cluster");
  const table = page.getByRole("region", { name: "Watches on this member" });
  const row = (agent) => table.locator("tr", { hasText: agent });
  const cell = (agent, column) => row(agent).locator(`.${column}`).textContent();
  await row("one/1.0").waitFor();
  await row("two/2.0").waitFor();
  assert.deepEqual([await cell("one/1.0", "watched"), await cell("two/2.0", "watched")], ["/w/app/db", "/w/app/"]);
  assert.equal(await cell("one/1.0", "carrier"), "sse");
  assert.match(await cell("one/1.0", "address"), /^127\.0\.0\.1:\d+$/);
  assert.notEqual(await cell("one/1.0", "address"), await cell("two/2.0", "address"));
  // The console follows everything itself.
  await until("the page is there, too", async () => (await row("Mozilla").locator(".watched").first().textContent()) === "All keys");
  // Whoever reads is told everything.
  for (let at = 0; at < 20; at += 1) await put("/w/app/db", `${at}`);
  await until("nobody is behind", async () => (await cell("one/1.0", "behind")) === "0");

  // Each is a link to what is watched.
  await row("two/2.0").getByRole("link").click();
  await page.locator("directory-view h1", { hasText: "app/" }).waitFor();
  await page.goBack();
  await row("one/1.0").getByRole("link").click();
  await page.locator("key-view h1", { hasText: "db" }).waitFor();
  await page.goBack();

  // Whoever goes is gone from the list.
  await row("one/1.0").waitFor();
  stops.shift()();
  await row("one/1.0").waitFor({ state: "detached" });
  await row("two/2.0").waitFor();

  // More than stand on a page.
  for (let at = 100; at < 160; at += 1) stops.push(await watch(`/v1/watch/w/many/${at}`, "many"));
  await until("the first page is full", async () => (await table.locator("tbody tr").count()) === 50);
  await page.getByRole("button", { name: "Next" }).click();
  await until("the last one is on the second", async () => (await table.locator(".watched").allTextContents()).includes("/w/many/159"));
  assert(await page.getByRole("button", { name: "Next" }).isDisabled());
  for (const stop of stops) stop();
  await page.getByText("Nobody watches anything here.").waitFor();
  await page.getByRole("button", { name: "Previous" }).click();
  await until("the console alone is left", async () => (await table.locator(".agent").allTextContents()).every((text) => text === "User agent" || text.includes("Mozilla")));
  const { items } = await api("GET", "/v1/watchers");
  assert(items.length > 0);
});
