// No page and no dialog has what keeps people out who use a keyboard, a screen reader or strong contrast, as far as axe-core
// can see: in light and dark, wide and narrow.

import { readFile } from "node:fs/promises";

import { api, assert, flow, put, until } from "./frame.mjs";

const axe = await readFile(new URL("../../../target/browser/node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

async function look(page, where) {
  // What fades in is looked at once it is there.
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {}))));
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = grave.map(({ id, help, nodes }) => `${where}: ${id}, ${help}: ${nodes.map(({ html, any }) => `${html} ${any.map(({ message }) => message).join()}`).join("\n")}`);
  assert.deepEqual(told, []);
}

await flow(async ({ visit, expect }) => {
  // What is no YAML, and a revision that was not the last.
  expect("400");
  expect("412");
  await put("/axe/deep/key", "a\nb\n");
  await put("/axe/text", "one\ntwo\n");
  await put("/axe/text", "one\n2\n");
  await put("/axe/leased?ttl=10m", "x");
  await api("PUT", "/v1/keys/axe/json", '{"a":[1,"b",null,{"c":true}]}', { "Content-Type": "application/json" });
  await api("PUT", "/v1/services/web/web-1?ttl=10m", '{"address":"10.0.0.1"}', { "Content-Type": "application/json" });
  await api("POST", "/v1/locks/jobs", '{"ttl":"10m","owner":"me"}', { "Content-Type": "application/json" });
  const looks = [
    { colorScheme: "light", viewport: { width: 1440, height: 900 } },
    { colorScheme: "dark", viewport: { width: 390, height: 844 } },
  ];
  for (const options of looks) {
    const page = await visit("/console/", options);
    const go = async (path, there) => {
      await page.goto(new URL(path, page.url()).href);
      await page.locator(there).first().waitFor();
      await look(page, `${path}, ${options.colorScheme}`);
    };
    await go("/console/keys/axe/", ".table-row");
    await go("/console/keys/axe/?all=", ".table-row");
    await go("/console/keys/axe/text?view=history", ".diff-row");
    await go("/console/search?text=o", ".table-row");
    await go("/console/keys/axe/leased", "value-view pre");
    await go("/console/keys/axe/json", "json-view details");
    await page.getByRole("button", { name: "Edit" }).click();
    await page.locator("value-editor textarea").fill('{"mine":1}');
    await look(page, "editor");
    await page.getByRole("button", { name: "YAML" }).click();
    await page.getByText("Saved as JSON.").waitFor();
    await page.locator("value-editor textarea").fill("mine: [");
    await page.locator("value-editor .problem").waitFor();
    await look(page, "editor of YAML");
    await page.locator("value-editor textarea").fill("mine: 1");
    await api("PUT", "/v1/keys/axe/json", '{"theirs":1}', { "Content-Type": "application/json" });
    await page.keyboard.press("Control+s");
    await page.locator("dialog .three").waitFor();
    await look(page, "conflict");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.locator("dialog button", { hasText: "Discard" }).click();
    await go("/console/changes", "changes-page");
    await put("/axe/text", `${Math.random()}`);
    await page.locator(".table-row").first().waitFor();
    await look(page, "changes");
    await go("/console/services", "td");
    await go("/console/services?name=web", "td");
    await go("/console/leases?lock=jobs", ".table-row");
    await go("/console/cluster", ".watched a");
    await page.goto(new URL("/console/keys/axe/", page.url()).href);
    for (const name of ["New key", "Delete…", "Move or copy…", "Roll back…", "?"]) {
      await page.getByRole("button", { name, exact: true }).or(page.getByRole("button", { name: "Keyboard" }).filter({ hasText: name })).first().click();
      await page.locator("dialog").waitFor();
      await look(page, name);
      await page.keyboard.press("Escape");
      await until("it closes", async () => (await page.locator("dialog").count()) === 0);
    }
  }
});
