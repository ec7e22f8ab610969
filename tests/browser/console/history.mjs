// The versions of a key, what differs between any two of them, and the way back for a key and for a directory.

import { answer, api, assert, base, flow, put, until, value } from "./frame.mjs";

await flow(async ({ visit }) => {
  const config = (port) => `server:\n  port: ${port}\n${Array.from({ length: 30 }, (_, at) => `  line${at}: same\n`).join("")}  end: ${port}\n`;
  for (const port of [1, 2, 3]) await put("/h/config", config(port));
  await api("DELETE", "/v1/keys/h/config");
  await put("/h/config", config(4));
  await put("/h/other", "1");
  const page = await visit("/console/keys/h/config");
  await page.getByRole("link", { name: "History" }).click();
  await until("all versions are there", async () => (await page.locator(".versions li").count()) === 5);
  assert.deepEqual(await page.locator(".versions .operation").allTextContents(), ["written", "deleted", "written", "written", "written"]);

  // Any two, by the address too.
  const revisions = (await page.locator(".versions .number").allTextContents()).map(Number);
  const [first, third] = [revisions.at(-1), revisions.at(-3)];
  await page.getByLabel(`Compare from revision ${first}`).check();
  await page.getByLabel(`Compare to revision ${third}`).check();
  assert.match(page.url(), new RegExp(`a=${first}&b=${third}`));
  const sides = (word) => page.locator(`.diff .${word} code`).allTextContents();
  await until("the difference is shown", async () => (await sides("new")).join() === "+   port: 3,+   end: 3");
  assert.deepEqual(await sides("gone"), ["−   port: 1", "−   end: 1"]);
  await page.getByRole("button", { name: "equal lines" }).first().click();
  await until("what is folded opens", async () => (await page.locator(".diff-row").count()) > 30);
  await page.reload();
  await until("the place says it", async () => (await sides("new")).join() === "+   port: 3,+   end: 3");

  // A deletion, and the key made anew right after it, are each a version, and nothing is on the side where the key was not there.
  const [made, gone] = revisions;
  assert.equal(made, gone + 1);
  const compare = async (a, b) => {
    await page.getByLabel(`Compare from revision ${a}`).check();
    await page.getByLabel(`Compare to revision ${b}`).check();
  };
  await compare(gone, made);
  await until("it is all new", async () => (await sides("new")).length > 30 && (await sides("gone")).join("").replace("−", "").trim() === "");
  await compare(revisions[2], gone);
  await until("it is all gone", async () => (await sides("gone")).length > 30 && (await sides("new")).join("").replace("+", "").trim() === "");
  await page.getByLabel(`Compare from revision ${gone}`).focus();
  await page.keyboard.press("Space");
  await until("the keyboard stays", () => page.evaluate((label) => document.activeElement.ariaLabel === label, `Compare from revision ${gone}`));

  // Back to one, after a look.
  await page.getByRole("button", { name: `Restore… revision ${first}` }).click();
  await page.locator("dialog").getByText("1 restored, 0 deleted:").waitFor();
  assert.equal(await value("/h/config"), config(4));
  await answer(page, "Roll back");
  await until("it is back", async () => (await value("/h/config")) === config(1));
  await until("that is a version too", async () => (await page.locator(".versions .operation").first().textContent()) === "rolled back");

  // A directory, all at one revision.
  const { revision } = await api("GET", "/v1/keys/h/");
  await put("/h/new", "x");
  await put("/h/config", "changed");
  await page.goto(`${base}/console/keys/h/`);
  await page.getByRole("button", { name: "Roll back…" }).click();
  await page.locator("dialog input").fill(String(revision));
  await page.locator("dialog input").blur();
  await page.locator("dialog").getByText("1 restored, 1 deleted:").waitFor();
  assert.deepEqual((await page.locator("dialog .names li").allTextContents()).toSorted(), ["↺ /h/config will be restored", "− /h/new will be deleted"].toSorted());
  await answer(page, "Roll back");
  await until("all of it is back", async () => (await value("/h/config")) === config(1));
  assert.deepEqual((await api("GET", "/v1/keys/h/")).items.map((item) => item.key), ["/h/config", "/h/other"]);
});
