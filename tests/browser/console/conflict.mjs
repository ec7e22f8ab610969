// Two people edit one key: the second sees both values and chooses, and nothing is overwritten unseen.

import { answer, api, assert, flow, hold, put, until, value } from "./frame.mjs";

const edit = async (page, text) => {
  await page.getByRole("button", { name: "Edit" }).click();
  await page.locator("value-editor textarea").fill(text);
};
const save = (page) => page.getByRole("button", { name: "Save" }).click();
const columns = (page) => page.locator("dialog .three pre").allTextContents();

await flow(async ({ visit, expect }) => {
  expect("412");
  await put("/app/shared", "one\ntwo\nthree\n");
  const [first, second] = [await visit("/console/keys/app/shared"), await visit("/console/keys/app/shared")];
  await edit(first, "ONE\ntwo\nthree\n");
  await edit(second, "one\ntwo\nTHREE\n");
  await save(first);
  await until("the first is saved", async () => (await value("/app/shared")) === "ONE\ntwo\nthree\n");

  // It is told while it edits, and again when it saves.
  await second.getByText("Somebody else has written revision").waitFor();
  await save(second);
  await second.locator("dialog .three").waitFor();
  assert.deepEqual(await columns(second), ["one\ntwo\nthree\n\n", "ONE\ntwo\nthree\n\n", "one\ntwo\nTHREE\n\n"]);
  assert.equal(await value("/app/shared"), "ONE\ntwo\nthree\n");

  // What does not meet is merged, and saved on top of the other's revision.
  await answer(second, "Merge and go on editing");
  await until("it is merged", async () => (await second.locator("value-editor textarea").inputValue()) === "ONE\ntwo\nTHREE\n");
  await save(second);
  await until("the merged value is saved", async () => (await value("/app/shared")) === "ONE\ntwo\nTHREE\n");

  // What does meet is marked; a choice to replace is of the revision that was shown.
  await edit(second, "mine\n");
  await put("/app/shared", "theirs\n");
  await save(second);
  await second.locator("dialog").getByText("1 conflict marked").waitFor();
  await put("/app/shared", "later\n");
  await answer(second, "Replace revision");
  await second.locator("dialog .problem").waitFor();
  assert.equal(await value("/app/shared"), "later\n");
  await second.keyboard.press("Escape");
  await save(second);
  await second.locator("dialog .three").waitFor();
  await answer(second, "Replace revision");
  await until("mine is saved", async () => (await value("/app/shared")) === "mine\n");

  // One that was deleted meanwhile comes back only when it is meant to.
  await edit(second, "again\n");
  await fetch(new URL("/v1/keys/app/shared", second.url()), { method: "DELETE" });
  expect("404");
  await save(second);
  await second.locator("dialog", { hasText: "The key was deleted" }).waitFor();
  await answer(second, "Leave it deleted");
  await second.getByText("There is no such key.").waitFor();

  // A type that nobody typed here stays that of the others, also where a conflict was left; one that was typed stays.
  const theirs = (text, type) => api("PUT", "/v1/keys/app/typed", text, { "Content-Type": type });
  const types = () => second.locator("dialog .three .type").allTextContents();
  await theirs("one", "text/plain");
  await second.goto(new URL("/console/keys/app/typed", second.url()).href);
  await second.locator("value-view pre", { hasText: "one" }).waitFor();
  await edit(second, "mine");
  await theirs("two", "text/html");
  await save(second);
  await second.locator("dialog .three").waitFor();
  assert.deepEqual(await types(), ["text/plain", "text/html", "text/html"]);
  await second.keyboard.press("Escape");
  await theirs("three", "text/csv");
  await save(second);
  await second.locator("dialog .three").waitFor();
  assert.deepEqual(await types(), ["text/plain", "text/csv", "text/csv"]);
  await second.keyboard.press("Escape");
  await second.getByLabel("Media type").fill("text/html");
  await theirs("four", "text/markdown");
  await save(second);
  await second.locator("dialog .three").waitFor();
  assert.deepEqual(await types(), ["text/plain", "text/markdown", "text/html"]);
  await answer(second, "Replace revision");
  await until("mine is saved", async () => (await value("/app/typed")) === "mine");
  assert.equal((await api("GET", "/v1/keys/app/typed")).contentType, "text/html");

  // Whoever goes away from the choice while it is written can type again once that has ended, and loses nothing.
  await put("/app/slow", "one");
  await second.goto(new URL("/console/keys/app/slow", second.url()).href);
  await second.locator("value-view pre", { hasText: "one" }).waitFor();
  await edit(second, "mine");
  const area = second.locator("value-editor textarea");
  const replaceSlowly = async () => {
    await save(second);
    await second.locator("dialog .three").waitFor();
    return hold(second, (url) => url.pathname === "/v1/keys/app/slow", "PUT");
  };
  const goAway = async (held) => {
    await answer(second, "Replace revision");
    await held.arrived;
    await second.keyboard.press("Escape");
    await second.locator("dialog").waitFor({ state: "detached" });
    assert(!(await area.isEditable()));
    await held.release();
  };
  await put("/app/slow", "two");
  await second.getByText("Somebody else has written").waitFor();
  let held = await replaceSlowly();
  await put("/app/slow", "three");
  await goAway(held);
  await second.locator(".notice.bad").getByText("The key has changed /app/slow").waitFor();
  await until("one goes on", () => area.isEditable());
  await area.fill("mine, too");
  held = await replaceSlowly();
  await goAway(held);
  await second.locator("value-editor").waitFor({ state: "detached" });
  assert.equal(await value("/app/slow"), "mine, too");

  // Of a long text the beginning is shown, with no character cut in two; what is merged and saved is all of it.
  const long = (...lines) => lines.concat(Array.from({ length: 3000 }, (_, at) => `第${at}行：配置服务将此键的值保存为文本，直到有人更改它𠮷𠮷`)).join("\n");
  await put("/app/long", `x${long("一", "二", "三")}`);
  const page = await visit("/console/keys/app/long");
  await page.getByRole("button", { name: "Edit" }).click();
  await page.locator("value-editor textarea").focus();
  for (const key of ["Control+Home", "ArrowRight", "Delete"]) await page.keyboard.press(key);
  await page.keyboard.insertText("壹");
  await put("/app/long", `x${long("一", "二", "叁")}`);
  await save(page);
  await page.locator("dialog .three").waitFor();
  const shown = await columns(page);
  assert.deepEqual(shown.map((text) => text.slice(0, 6)), ["x一\n二\n三", "x一\n二\n叁", "x壹\n二\n三"]);
  for (const text of shown) assert(text.length > 60_000 && text.length < 70_000 && !text.includes("\ufffd"), `${text.length}`);
  assert.equal(await page.locator("dialog .three").getByText("Only the beginning is shown.").count(), 3);
  await answer(page, "Merge and go on editing");
  const merged = `x${long("壹", "二", "叁")}`;
  await until("it is merged", async () => (await page.locator("value-editor textarea").inputValue()) === merged);
  await save(page);
  await until("all of it is saved", async () => (await value("/app/long")) === merged);
});
