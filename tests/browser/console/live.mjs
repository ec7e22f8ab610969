// What others do shows as they do it: in the tree, in tables, in the open key and in the feed, which can be narrowed and held.

import { api, assert, base, connection, flow, inTree, isLive, names, put, until } from "./frame.mjs";

await flow(async ({ visit, expect }) => {
  expect("404");
  await put("/live/a", "1");
  await put("/live/c/x", "1");
  const [table, key, feed] = [await visit("/console/keys/live/"), await visit("/console/keys/live/a"), await visit("/console/changes")];
  for (const page of [table, key, feed]) await isLive(page);
  const shows = (page, list, read) => until(`${list}`, async () => JSON.stringify(await read(page)) === JSON.stringify(list));
  await shows(table, ["a", "c/"], names);

  await put("/live/b", "1");
  await put("/live/d/y/z", "1");
  await shows(table, ["a", "b", "c/", "d/"], names);
  await until("the tree too", async () => (await inTree(key)).join().includes("a,b,c/,d/"));
  await api("DELETE", "/v1/keys/live/b");
  await api("DELETE", "/v1/keys/live/d/?recursive=true");
  await shows(table, ["a", "c/"], names);
  await api("DELETE", "/v1/keys/live/c/x");
  await shows(table, ["a"], names);

  // A row that is pressed is the one that is meant, whatever comes before it meanwhile.
  await put("/live/z/key", "1");
  const toggle = key.locator(".tree-row", { hasText: "z/" }).locator(".toggle");
  await toggle.hover();
  await key.mouse.down();
  await put("/live/m/other", "1");
  await until("it has come", () => key.evaluate(() => document.querySelector("vardr-tree vardr-rows").items.some(({ entry }) => entry?.name === "/live/m/")));
  await key.mouse.up();
  await until("it is the one that opens", async () => (await inTree(key)).slice(-4).join() === "a,m/,z/,key");
  for (const name of ["m", "z"]) await api("DELETE", `/v1/keys/live/${name}/?recursive=true`);
  await shows(table, ["a"], names);

  await put("/live/a", "two");
  await key.locator("value-view pre", { hasText: "two" }).waitFor();
  assert.equal(await key.locator(".facts dd").nth(2).textContent(), "2");
  await api("DELETE", "/v1/keys/live/a");
  await key.getByText("There is no such key.").waitFor();
  await put("/live/a", "back");
  await key.locator("value-view pre", { hasText: "back" }).waitFor();

  // The feed has every change once, the newest first.
  await until("all of them are in the feed", async () => (await feed.locator(".table-row").count()) === 12);
  const words = await feed.locator(".table-row .operation").allTextContents();
  assert.deepEqual(words, ["created", "deleted", "written", "deleted", "deleted", "created", "created", "deleted", "deleted", "deleted", "created", "created"]);
  const revisions = (await feed.locator(".table-row .revision").allTextContents()).map(Number);
  assert.deepEqual(revisions, revisions.toSorted((a, b) => b - a));

  await feed.getByRole("checkbox", { name: "deleted" }).uncheck();
  await until("deletions are left out", async () => !(await feed.locator(".operation").allTextContents()).includes("deleted"));
  await feed.getByPlaceholder("Keys that begin with").fill("/live/a");
  await until("others are left out", async () => (await names(feed)).every((name) => name === "/live/a"));
  await feed.getByRole("button", { name: "Pause" }).click();
  const count = (await names(feed)).length;
  await put("/live/a", "held");
  await feed.getByText("Paused, 1 waiting").waitFor();
  assert.equal((await names(feed)).length, count);
  await feed.getByRole("button", { name: "Resume" }).click();
  await until("it goes on", async () => (await names(feed)).length === count + 1);

  // A page that nobody sees lets its connection go, and has missed nothing when it is seen again.
  const unseen = await visit("about:blank");
  await unseen.clock.install();
  await unseen.goto(`${base}/console/changes`);
  await isLive(unseen);
  const see = (state) =>
    unseen.evaluate((word) => {
      Object.defineProperty(document, "visibilityState", { value: word, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, state);
  await see("hidden");
  await unseen.clock.fastForward(31_000);
  await until("it rests", async () => (await connection(unseen)) === "resting");
  await put("/live/unseen", "1");
  await put("/live/unseen", "2");
  await see("visible");
  await until("it goes on", async () => (await names(unseen)).join() === "/live/unseen,/live/unseen");
  await unseen.context().close();
  await api("DELETE", "/v1/keys/live/unseen");

  // A countdown counts, and what has expired is gone.
  await put("/live/short?ttl=3s", "soon gone");
  await until("it is there", async () => (await names(table)).includes("short"));
  const left = table.locator(".table-row", { hasText: "short" }).locator(".lease");
  const first = await left.textContent();
  await until("it counts", async () => (await left.textContent({ timeout: 500 }).catch(() => "")) !== first);
  await until("it is gone", async () => !(await names(table)).includes("short"));
});
