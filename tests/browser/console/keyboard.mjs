// By keyboard alone: find a key, open it, edit it, save it; move in the tree; read what the keys are for.

import { api, assert, flow, names, put, until, value } from "./frame.mjs";

const focused = (page) => page.evaluate(() => document.activeElement?.textContent ?? "");

await flow(async ({ visit }) => {
  for (const name of ["alpha", "beta", "deep/inner/key"]) await put(`/kb/${name}`, name);
  const page = await visit("/console/");
  await page.locator(".tree-row", { hasText: "kb/" }).waitFor();
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };

  await press("/");
  await page.keyboard.type("/kb/be");
  await page.locator("vardr-search li", { hasText: "beta" }).waitFor();
  await press("ArrowDown", "Enter");
  await page.locator("key-view h1", { hasText: "beta" }).waitFor();
  // Past the bar and the tree to what can be done with the key.
  for (let step = 0; step < 40 && !(await focused(page)).startsWith("Edit"); step += 1) await press("Tab");
  await press("Enter");
  await page.locator("value-editor textarea").waitFor();
  await press("Control+a");
  await page.keyboard.type("by hand");
  await press("Control+s");
  await until("it is saved", async () => (await value("/kb/beta")) === "by hand");
  await page.locator("value-view pre", { hasText: "by hand" }).waitFor();

  // In the tree: the row that is current is the one that a screen reader is told of.
  await page.locator("vardr-tree vardr-rows").focus();
  const current = () =>
    page.evaluate(() => {
      const row = document.getElementById(document.activeElement.getAttribute("aria-activedescendant"));
      return row ? [row.getAttribute("role"), row.textContent, row.getAttribute("aria-level"), row.getAttribute("aria-expanded")] : [];
    });
  assert.deepEqual(await current(), ["treeitem", "beta", "3", null]);
  await press("ArrowDown");
  assert.deepEqual(await current(), ["treeitem", "deep/", "3", "false"]);
  await press("ArrowRight");
  await until("it opens", async () => (await current())[3] === "true");
  await until("inner/ is there", async () => (await page.locator(".tree-row", { hasText: "inner/" }).count()) === 1);
  await press("ArrowRight", "ArrowRight");
  await until("inner/ opens", async () => (await page.locator(".tree-row", { hasText: /^key$/ }).count()) === 1);
  await press("ArrowDown", "Enter");
  await page.locator("key-view h1", { hasText: "key" }).waitFor();
  assert.equal(new URL(page.url()).pathname, "/console/keys/kb/deep/inner/key");
  await page.goBack();
  await page.locator("key-view h1", { hasText: "beta" }).waitFor();

  // Going back loses no edit unasked.
  await page.locator("value-view pre", { hasText: "by hand" }).waitFor();
  await press("e");
  await page.locator("value-editor textarea").fill("not saved");
  await page.evaluate(() => history.back());
  await page.locator("dialog", { hasText: "Leave without saving?" }).waitFor();
  await press("Escape");
  assert.equal(await page.locator("value-editor textarea").inputValue(), "not saved");
  assert.equal(new URL(page.url()).pathname, "/console/keys/kb/beta");
  await page.evaluate(() => history.back());
  await page.locator("dialog button", { hasText: "Discard" }).click();
  await page.locator("value-editor").waitFor({ state: "detached" });
  assert.equal(await value("/kb/beta"), "by hand");

  // The row one is at stays the same key when others come before it, and where it is seen.
  const rows = page.locator("directory-view vardr-rows");
  await page.goto(new URL("/console/keys/kb/", page.url()).href);
  await until("they are listed", async () => (await names(page)).length === 3);
  await rows.focus();
  await press("ArrowDown", "ArrowDown");
  const at = () => rows.evaluate((list) => document.getElementById(list.getAttribute("aria-activedescendant"))?.querySelector(".name").textContent);
  assert.equal(await at(), "beta");
  const height = () => rows.evaluate((list) => list.querySelector(".current").getBoundingClientRect().top);
  for (let count = 0; count < 60; count += 1) await put(`/kb/aa${count}`, "x");
  await until("it is still beta", async () => (await rows.evaluate((list) => list.items.length)) === 63 && (await at()) === "beta");
  const seen = await height();
  await put("/kb/a", "x");
  await until("one more", async () => (await rows.evaluate((list) => list.items.length)) === 64);
  assert.deepEqual([await at(), await height()], ["beta", seen]);
  await press("ArrowDown");
  assert.equal(await at(), "deep/");
  await api("DELETE", "/v1/keys/kb/deep/?recursive=true");
  await until("it went", async () => (await at()) === "beta");

  await press("?");
  await page.locator("dialog", { hasText: "Keyboard" }).waitFor();
  await press("Escape");
  await until("it closes", async () => (await page.locator("dialog").count()) === 0);
});
