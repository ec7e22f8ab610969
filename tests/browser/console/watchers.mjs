// Who watches what stands on the page of the cluster: a key, a directory or other names, how, from where and since when. Who has gone is not
// there any more.

import net from "node:net";

import { api, assert, base, flow, follow, put, until } from "./frame.mjs";

const LARGE = 512 * 1024;

// Follows the keys from one to another, or one alone, by etcd's v3 API, which alone can say these.
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const range = (program, key, end) => follow("/v3/watch", program, JSON.stringify({ create_request: { key: base64(key), range_end: end && base64(end) } }));

await flow(async ({ visit }) => {
  await put("/w/app/db", "x");
  const stops = [await follow("/v1/watch/w/app/db", "one/1.0"), await follow("/v1/watch/w/app/", "two/2.0")];
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

  // So it is by keyboard, however long that takes: the table is drawn anew meanwhile.
  const link = row("two/2.0").getByRole("link");
  await link.focus();
  for (let count = 0; count < 2; count += 1) {
    await page.evaluate(() => (document.activeElement.dataset.before = ""));
    await until("the link has the focus when it is drawn anew", () => page.evaluate(() => document.activeElement.matches("td a:not([data-before])")));
  }
  await page.keyboard.press("Enter");
  await page.locator("directory-view h1", { hasText: "app/" }).waitFor();
  await page.goBack();

  // One level; names that begin alike, and that stand between two, which are at no place; and one that is no text.
  await api("PUT", "/v1/keys?key64=__4", "x");
  const others = [await follow("/v1/watch/w/app/?children=true", "level/1.0"), await range("alike/1.0", "/w/ap", "/w/aq")];
  others.push(await range("between/1.0", "/w/a", "/w/c"), await range("bytes/1.0", [0xff, 0xfe]));
  const watched = { level: "/w/app/ This level", alike: "/w/ap…", between: "/w/a … /w/c", bytes: "\\xff\\xfe" };
  for (const [program, text] of Object.entries(watched)) {
    await row(program).waitFor();
    assert.equal(await cell(program, "watched"), text);
    assert.equal(await row(program).getByRole("link").count(), program === "level" || program === "bytes" ? 1 : 0, program);
  }
  await row("bytes").getByRole("link").click();
  await page.locator("key-view h1", { hasText: "\\xff\\xfe" }).waitFor();
  await page.goBack();
  for (const stop of others) stop();

  // Whoever does not read is behind, once no more fits what is between.
  const { hostname, port } = new URL(base);
  const idle = net.connect(port, hostname);
  idle.write(`GET /v1/watch/w/large HTTP/1.1\r\nHost: ${hostname}\r\nUser-Agent: idle/1.0\r\n\r\n`);
  await row("idle").waitFor();
  // More than is only on its way.
  const waits = async () => (await api("GET", "/v1/watchers?prefix=/w/large")).items[0].backlogBytes > 3 * LARGE;
  for (let count = 0; count < 100 && !(await waits()); count += 1) await put("/w/large", "v".repeat(LARGE));
  await until("it is behind", async () => (await cell("idle", "behind")) !== "0");
  idle.destroy();
  await row("idle").waitFor({ state: "detached" });

  // Whoever goes is gone from the list.
  await row("one/1.0").waitFor();
  stops.shift()();
  await row("one/1.0").waitFor({ state: "detached" });
  await row("two/2.0").waitFor();

  // More than stand on a page. Who presses twice goes no further than there are pages.
  for (let at = 100; at < 160; at += 1) stops.push(await follow(`/v1/watch/w/many/${at}`, "many"));
  const rows = table.locator("tbody tr");
  const [back, on] = ["Previous", "Next"].map((name) => page.getByRole("button", { name }));
  const twice = (button) => button.evaluate((pressed) => [pressed.click(), pressed.click()]);
  const isFirst = () => until("the first page is full", async () => (await rows.count()) === 50 && (await back.isDisabled()));
  const isLast = () => until("the last one is on the second", async () => (await table.locator(".watched").allTextContents()).includes("/w/many/159"));
  await isFirst();
  await twice(on);
  await isLast();
  assert(await on.isDisabled());
  await back.click();
  await isFirst();
  await on.click();
  await isLast();
  await twice(back);
  await isFirst();
  await on.click();
  await isLast();

  // Where there is no such page any more, the one before it is shown.
  for (const stop of stops) stop();
  await until("the console alone is left", async () => {
    const agents = await table.locator("td.agent").allTextContents();
    return agents.length > 0 && agents.every((text) => text.includes("Mozilla"));
  });
  assert(await page.getByText("Nobody watches anything here.").isHidden());
  assert(await back.isHidden());
});
