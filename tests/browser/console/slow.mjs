// Answers come late, in another order, cut off, or are refusals: nothing old is shown after something new, nothing typed is lost, and
// one can go on from there.

import { answer, api, assert, base, flow, hold, inTree, isLive, names, put, until, value } from "./frame.mjs";

const REFUSAL = { status: 503, contentType: "application/problem+json", body: JSON.stringify({ code: "no_leader", title: "No leader", detail: "there is no leader now" }) };
const of = (pathname, query = "") => (url) => url.pathname === pathname && url.search.includes(query);

// Refuses the next request that fits.
const refuse = (page, isWanted, refusal = REFUSAL) => page.route(isWanted, (route) => route.fulfill(refusal), { times: 1 });

// From a page that could not be loaded one gets back to the one before.
async function ofPages(visit) {
  const page = await visit("/console/cluster");
  await page.locator("cluster-page .facts dd").first().waitFor();
  await refuse(page, (url) => url.pathname.endsWith("/pages/leases.js"));
  await page.getByRole("link", { name: "Leases" }).click();
  await page.getByText("This page could not be loaded.").waitFor();
  await page.getByRole("link", { name: "Cluster" }).click();
  await page.locator("cluster-page .facts dd").first().waitFor();
}

async function ofReads(visit) {
  await put("/slow/key", "one");
  const page = await visit("/console/keys/slow/key");
  await isLive(page);
  const shown = (text) => page.locator("value-view pre", { hasText: text }).waitFor();
  await shown("one");
  let held = await hold(page, of("/v1/keys/slow/key"));
  await put("/slow/key", "two");
  await held.arrived;
  await put("/slow/key", "three");
  await shown("three");
  await held.release();
  assert.equal(await page.locator("value-view pre").textContent(), "three");

  // Of two comparisons the one that was asked for last.
  await page.getByRole("link", { name: "History" }).click();
  const sides = () => page.locator(".diff .side code").allTextContents();
  await until("the last two are compared", async () => (await sides()).join() === "− two,+ three");
  const [newest, , first] = (await page.locator(".versions .number").allTextContents()).map(Number);
  held = await hold(page, of("/v1/keys/slow/key", `revision=${first}`));
  await page.getByLabel(`Compare from revision ${first}`).check();
  await held.arrived;
  await page.getByLabel(`Compare from revision ${newest}`).check();
  await page.getByText("The two are equal.").waitFor();
  await held.release();
  assert.deepEqual(await sides(), ["  three", "  three"]);

  // Older versions are asked for once and shown once, and what no page has is compared all the same.
  await put("/slow/long", "0");
  for (let count = 1; count < 120; count += 1) await put("/slow/long", `${count}`);
  const { items } = await api("GET", "/v1/history/slow/long?limit=200");
  await page.goto(`${base}/console/keys/slow/long?view=history&b=${items[100].revision}`);
  await until("the version before it is found", async () => (await sides()).join() === "− 18,+ 19");
  await page.goto(`${base}/console/keys/slow/long?view=history&a=${items[119].revision}&b=${items[0].revision}`);
  await until("the ends are compared", async () => (await sides()).join() === "− 0,+ 119");
  held = await hold(page, of("/v1/history/slow/long", "before="));
  const more = page.getByRole("button", { name: "Older versions" });
  await more.click();
  await held.arrived;
  assert.equal(await more.count(), 0);
  await held.release();
  await until("two pages", async () => (await page.locator(".versions li").count()) === 100);
  await more.click();
  await until("all of them, once", async () => new Set(await page.locator(".versions .number").allTextContents()).size === 120);
  assert.equal(await page.locator(".versions li").count(), 120);
}

async function ofLocksAndSearches(visit) {
  const page = await visit("/console/leases");
  const follow = (address) => {
    const link = document.body.appendChild(Object.assign(document.createElement("a"), { href: address }));
    link.click();
    link.remove();
  };
  const look = (name) => page.evaluate(follow, `/console/leases?lock=${encodeURIComponent(name)}`);
  await api("POST", "/v1/locks/taken", '{"ttl":"10m"}', { "Content-Type": "application/json" });
  const lock = await hold(page, of("/v1/locks/taken"));
  await look("taken");
  await lock.arrived;
  await look("free");
  await page.getByText("Nobody holds this lock.").waitFor();
  await lock.release();
  await page.getByText("Nobody holds this lock.").waitFor();
  assert.equal(await page.getByRole("region", { name: "Holder and queue" }).count(), 0);
  await look("..");
  await page.getByText("No lock is called").waitFor();
  await look("a/../b");
  await page.getByText("segment").waitFor();
  await look("");
  await until("none is looked at", async () => !(await page.locator("leases-page p.hint").isVisible()));

  await page.goto(`${base}/console/search`);
  const search = async (text) => {
    await page.getByRole("searchbox", { name: "Text in name or value" }).fill(text);
    await page.getByRole("button", { name: "Search", exact: true }).click();
  };
  const found = await hold(page, of("/v1/keys", "contains=long"));
  await search("long");
  await found.arrived;
  await search("slow/key");
  await until("the later one is found", async () => (await names(page)).join() === "/slow/key");
  await found.release();
  assert.deepEqual(await names(page), ["/slow/key"]);

  // What the bar offers does not open again once it is closed.
  const offers = await hold(page, of("/v1/keys/slow/"));
  const field = page.locator("vardr-search input");
  await field.fill("/slow/");
  await offers.arrived;
  await field.press("Escape");
  await offers.release();
  assert.equal(await page.locator("vardr-search li").count(), 0);
}

async function ofSaves(visit) {
  await put("/slow/edited", "before");
  const page = await visit("/console/keys/slow/edited");
  await page.getByRole("button", { name: "Edit" }).click();
  const area = page.locator("value-editor textarea");
  await area.fill("mine");
  const held = await hold(page, of("/v1/keys/slow/edited"), "PUT");
  await area.press("Control+s");
  await held.arrived;
  // Nothing is taken that would not be saved, and it is saved once.
  await area.press("Control+s");
  await page.keyboard.type(" and more");
  assert.equal(await area.inputValue(), "mine");
  await held.release();
  await page.locator("value-view pre", { hasText: "mine" }).waitFor();
  assert.equal((await api("GET", "/v1/keys/slow/edited")).version, 2);

  // A refusal leaves everything as it was typed, and one goes on; so does one whose answer is cut off.
  await page.getByRole("button", { name: "Edit" }).click();
  await area.fill("mine again");
  for (const [refusal, told] of [[REFUSAL, "there is no leader now"], [{ status: 200, contentType: "application/json", body: '{"modRev' }, "may or may not have been made"]]) {
    await refuse(page, of("/v1/keys/slow/edited", "keepLease"), refusal);
    await area.press("Control+s");
    await page.locator("value-editor .problem", { hasText: told }).waitFor();
    await area.press("End");
    await page.keyboard.type("!");
  }
  await area.press("Control+s");
  await until("it is saved", async () => (await value("/slow/edited")) === "mine again!!");

  // Another type alone is an edit, that is not left unasked, and that others are told of.
  await page.locator("value-view").waitFor();
  // Whoever held the first answer gave the value a type.
  await put("/slow/edited", "mine again!!");
  await until("it has none", async () => !(await page.locator(".facts").textContent()).includes("octet-stream"));
  await page.getByRole("button", { name: "Edit" }).click();
  const type = page.getByLabel("Media type");
  await type.fill("text/csv");
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.locator("dialog", { hasText: "Leave without saving?" }).waitFor();
  await page.keyboard.press("Escape");
  await api("PUT", "/v1/keys/slow/edited", "mine again!!", { "Content-Type": "text/html" });
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("dialog .three").waitFor();
  assert.deepEqual(await page.locator("dialog .three .type").allTextContents(), ["no media type", "text/html", "text/csv"]);
  await answer(page, "Replace revision");
  await until("the type is mine", async () => (await api("GET", "/v1/keys/slow/edited")).contentType === "text/csv");
}

async function ofLists(visit) {
  for (let from = 0; from < 640; from += 128) {
    const then = Array.from({ length: 128 }, (_, at) => ({ put: { key: `/many/${String(from + at).padStart(4, "0")}`, value: "" } }));
    await api("POST", "/v1/txn", JSON.stringify({ then }), { "Content-Type": "application/json" });
  }
  const page = await visit("about:blank");
  const second = of("/v1/keys/many/", "cursor=");
  await refuse(page, second);
  await page.goto(`${base}/console/keys/many/`);
  const rows = page.locator("directory-view vardr-rows");
  await until("the first page is there", async () => (await names(page)).length > 0);
  await rows.evaluate((list) => list.moveTo(list.items.length - 1));
  const failed = page.getByRole("alert").filter({ hasText: "there is no leader now" });
  await failed.waitFor();
  assert.equal(await rows.evaluate((list) => list.items.length), 500);
  await put("/many/0000a", "meanwhile");
  await until("what comes is shown", async () => (await rows.evaluate((list) => list.items.length)) === 501);
  await failed.getByRole("button", { name: "Try again" }).click();
  await page.getByText("641 in all").waitFor();
  assert.equal(await failed.count(), 0);

  // The first of those that would be deleted are named, the others counted.
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.locator("dialog").getByText("641 keys will be deleted:").waitFor();
  assert.deepEqual((await page.locator("dialog .names li").allTextContents()).slice(199), ["/many/0198", "and 441 more"]);
  await page.keyboard.press("Escape");

  // A list that is cut off.
  await refuse(page, of("/v1/keys/many/"), { status: 200, contentType: "application/json", body: '{"items":[{"key":"/many' });
  await page.reload();
  await page.getByText("641 in all").or(page.getByText("500 of 641")).first().waitFor();

  // With the directory above goes all that is below it; with the last key the directory.
  await put("/gone/deep/er/key", "x");
  await put("/gone/deep/er/other", "x");
  await page.goto(`${base}/console/keys/gone/deep/er/`);
  await isLive(page);
  await until("it is there", async () => (await names(page)).length === 2 && (await inTree(page)).includes("er/"));
  await api("DELETE", "/v1/keys/gone/?recursive=true");
  await page.getByText("There is no such directory.").waitFor();
  await until("it has gone from the tree", async () => !(await inTree(page)).includes("gone/"));
  await api("PUT", "/v1/keys/gone/deep/er/");
  await page.getByText("Nothing is in here.").waitFor();
  await put("/gone/deep/er/key", "x");
  await until("it is back", async () => (await names(page)).join() === "key");
  await api("DELETE", "/v1/keys/gone/deep/er/key");
  await page.getByText("Nothing is in here.").waitFor();
  await api("DELETE", "/v1/keys/gone/deep/er/");
  await page.getByText("There is no such directory.").waitFor();
}

await flow(async ({ visit, expect }) => {
  for (const status of ["404", "412", "400", "503"]) expect(status);
  await ofPages(visit);
  await ofReads(visit);
  await ofLocksAndSearches(visit);
  await ofSaves(visit);
  await ofLists(visit);
});
