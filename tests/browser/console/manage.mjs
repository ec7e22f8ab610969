// Keys are made, given a time to live, replaced from a file, taken out as a file, and deleted after a look at what goes.

import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { answer, api, assert, base, flow, names, put, until, value } from "./frame.mjs";

await flow(async ({ visit, expect }) => {
  await put("/m/first", "1");
  const page = await visit("/console/keys/m/", { acceptDownloads: true });
  await until("it is there", async () => (await names(page)).length === 1);

  // A key, of a type and with a time to live; one that is there is never written over.
  await page.getByRole("button", { name: "New key" }).click();
  await page.getByLabel("Name in /m/").fill("deep/er");
  await page.locator("dialog textarea").fill('{"a": 1}');
  await page.locator("dialog").getByLabel("Media type").fill("application/json");
  await page.locator("dialog").getByLabel("Time to live").fill("1h");
  await answer(page, "Create");
  await page.locator("key-view h1", { hasText: "er" }).waitFor();
  const made = await api("GET", "/v1/keys/m/deep/er");
  assert.deepEqual([made.value, made.contentType, made.ttl > 3500], [{ a: 1 }, "application/json", true]);
  await page.locator(".left").waitFor();
  expect("412");
  expect("404");
  await page.goto(`${base}/console/keys/m/`);
  await page.getByRole("button", { name: "New key" }).click();
  await page.getByLabel("Name in /m/").fill("first");
  await answer(page, "Create");
  await page.locator("dialog .problem", { hasText: "condition" }).waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await value("/m/first"), "1");

  // A directory, and keys in order in it.
  await page.getByRole("button", { name: "New directory" }).click();
  await page.getByLabel("Name in /m/").fill("queue");
  await answer(page, "Create");
  await page.locator("directory-view h1", { hasText: "queue/" }).waitFor();
  for (const job of ["one", "two"]) {
    await page.getByRole("button", { name: "Add in order" }).click();
    await page.locator("dialog textarea").fill(job);
    await answer(page, "Create");
    await page.locator("dialog").waitFor({ state: "detached" });
  }
  await until("both are in it", async () => (await names(page)).length === 2);
  const queue = await api("GET", "/v1/keys/m/queue/");
  assert.deepEqual(queue.items.map((item) => item.value), ["one", "two"]);

  // Time to live: given, and taken away, with the value as it was.
  await page.goto(`${base}/console/keys/m/first`);
  await page.getByRole("button", { name: "Time to live…" }).click();
  await page.locator("dialog input").fill("10m");
  await answer(page, "Set");
  await until("it is leased", async () => (await api("GET", "/v1/keys/m/first")).ttl > 500);
  await page.locator(".left").waitFor();
  await page.getByRole("button", { name: "Edit" }).click();
  await page.locator("value-editor textarea").fill("2");
  await page.keyboard.press("Control+s");
  await until("an edit keeps the lease", async () => (await api("GET", "/v1/keys/m/first")).value === "2");
  assert((await api("GET", "/v1/keys/m/first")).lease);
  await page.getByRole("button", { name: "Time to live…" }).click();
  await answer(page, "Let it stay");
  await until("it is not leased", async () => (await api("GET", "/v1/keys/m/first")).lease === undefined);
  assert.equal(await value("/m/first"), "2");

  // Bytes: in by a file, changed in hexadecimal, out as a file.
  const file = join(tmpdir(), `console-${process.pid}.bin`);
  await writeFile(file, Buffer.from([0, 255, 13, 10, 1]));
  const chosen = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Upload…" }).click();
  await (await chosen).setFiles(file);
  const area = page.locator("value-editor textarea");
  assert.equal(await area.inputValue(), "00 ff 0d 0a 01");
  await area.fill("00 ff 0d 0a zz");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("value-editor .problem", { hasText: "two digits for each byte" }).waitFor();
  await area.fill("00 ff 0d 0a 02");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("value-view pre", { hasText: "00 ff 0d 0a 02" }).waitFor();
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download" }).click();
  const download = await saved;
  assert.equal(download.suggestedFilename(), "first");
  assert.deepEqual([...(await readFile(await download.path()))], [0, 255, 13, 10, 2]);

  // JSON that is none is said to be, with the place, and is not stored.
  await put("/m/json", "{}");
  await page.goto(`${base}/console/keys/m/json`);
  await page.getByRole("button", { name: "Edit" }).click();
  await area.fill('{\n  "a": ]');
  await page.locator("value-editor .problem", { hasText: "line 2, column 8" }).waitFor();
  await area.fill('{"a":[1,2]}');
  await page.getByRole("button", { name: "Lay out" }).click();
  assert.equal(await area.inputValue(), '{\n  "a": [\n    1,\n    2\n  ]\n}');
  await page.getByRole("button", { name: "Cancel" }).click();
  await answer(page, "Discard");
  assert.equal(await value("/m/json"), "{}");

  // curl, as it is pasted.
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy as curl" }).click();
  const copied = `curl '${base}/v1/keys/m/json?raw=true'`;
  await until("it is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === copied);

  // JSON is shown as YAML, too, with all digits of its numbers and nothing that would be read as something else.
  await api("PUT", "/v1/keys/m/json", '{"on":"no","n":12345678901234567890,"list":[1]}', { "Content-Type": "application/json" });
  await page.getByRole("button", { name: "YAML" }).click();
  const yaml = '"on": "no"\n"n": 12345678901234567890\nlist:\n- 1\n';
  await until("it is shown as YAML", async () => (await page.locator("value-view pre").textContent({ timeout: 1000 }).catch(() => "")) === yaml);
  // What follows it on the page is shown so as well, and what is no JSON as what it is.
  await api("PUT", "/v1/keys/m/json", "[true]", { "Content-Type": "application/json" });
  await until("what is new, too", async () => (await page.locator("value-view pre").textContent({ timeout: 1000 }).catch(() => "")) === "- true\n");
  await api("PUT", "/v1/keys/m/json", "no json");
  await until("a text is a text", async () => (await page.locator("value-view pre").textContent({ timeout: 1000 }).catch(() => "")) === "no json");
  assert(await page.getByRole("button", { name: "YAML" }).isDisabled());

  // Deleting shows what will go.
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.locator("dialog code", { hasText: "/m/json" }).waitFor();
  await answer(page, "Delete…");
  await page.getByText("There is no such key.").waitFor();
  await page.goto(`${base}/console/keys/m/`);
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.locator("dialog").getByText("5 keys will be deleted:").waitFor();
  assert.equal(await page.locator("dialog .names li").count(), 5);
  await answer(page, "Delete all of it");
  await page.locator("directory-view h1", { hasText: "/" }).waitFor();
  await until("all of it is gone", async () => (await api("GET", "/v1/keys/?recursive=true&countOnly=true")).count === 0);
});
