// A directory goes out as a document that the command line understands, and comes in after a look at what that changes.

import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { answer, api, assert, base, flow, hold, put, until, value } from "./frame.mjs";

const JSON_TYPE = { "Content-Type": "application/json" };

await flow(async ({ visit, expect }) => {
  // Not there yet: where it is imported to. Lost: an answer.
  expect("404");
  expect("ERR_FAILED");
  await put("/x/text", "plain");
  await api("PUT", "/v1/keys/x/deep/json", '{"n":12345678901234567890.10,"list":[1,{}]}', JSON_TYPE);
  await api("PUT", "/v1/keys/x/bytes", new Uint8Array([255, 0]), { "Content-Type": "application/octet-stream" });
  await api("PUT", "/v1/keys/x/empty/");
  await put("/x/deep", "beside a directory");
  const page = await visit("/console/keys/x/", { acceptDownloads: true });
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export…" }).click();
  await answer(page, "JSON");
  const download = await saved;
  assert.equal(download.suggestedFilename(), "x.json");
  const text = await readFile(await download.path(), "utf8");
  assert.deepEqual(JSON.parse(text), {
    bytes: { $base64: "/wA=" },
    deep: { "": "beside a directory", json: { n: 12345678901234567000, list: [1, {}] } },
    empty: {},
    text: "plain",
  });
  assert(text.includes("12345678901234567890.10"));

  const file = join(tmpdir(), `console-${process.pid}.json`);
  const choose = async (content) => {
    await writeFile(file, content);
    const chosen = page.waitForEvent("filechooser");
    await page.getByRole("button", { name: "Import…" }).click();
    await answer(page, "Document…");
    await (await chosen).setFiles(file);
  };
  const count = async () => (await (await fetch(`${base}/v1/keys/y/?recursive=true&countOnly=true`)).json()).count;
  const listed = () => page.locator("dialog .names li").allTextContents();

  // In another place: everything is new, and in one transaction.
  await page.goto(`${base}/console/keys/y/`);
  await choose(text);
  await page.getByText("6 new, 0 changed, 0 as they are already:").waitFor();
  assert.equal((await listed())[0], "+ /y/bytes will be created");
  await page.getByText("In one transaction").waitFor();
  await answer(page, "Import");
  await until("it is there", async () => (await count()) === 6);
  const raw = await fetch(`${base}/v1/keys/y/deep/json/n?raw=true`);
  assert.deepEqual([await raw.text(), raw.headers.get("content-type")], ["12345678901234567890.10", "application/json"]);
  assert.deepEqual((await api("GET", "/v1/keys/y/empty/")).count, 0);

  // Again: nothing would change. Then one value does, and one that somebody changes meanwhile stops it.
  await choose(text);
  await page.getByText("0 new, 0 changed, 6 as they are already:").waitFor();
  await page.keyboard.press("Escape");
  await choose('{"text":"other","added":[true]}');
  await page.getByText("1 new, 1 changed, 0 as they are already:").waitFor();
  assert.deepEqual(await listed(), ["~ /y/text will change", "+ /y/added will be created"]);
  await put("/y/text", "meanwhile");
  await answer(page, "Import");
  await page.locator("dialog .problem", { hasText: "Somebody else has changed" }).waitFor();
  assert.equal(await value("/y/text"), "meanwhile");
  await page.keyboard.press("Escape");

  // Empty texts, empty bytes, and empty directories are each what they are; a document may say the key that is called like its directory,
  // and be that of an empty one that is there.
  await api("PUT", "/v1/keys/e/");
  await page.goto(`${base}/console/keys/e/`);
  await choose('{"":"itself","text":"","bytes":{"$base64":""},"directory":{}}');
  await page.getByText("4 new, 0 changed, 0 as they are already:").waitFor();
  await answer(page, "Import");
  await page.getByText("4 keys imported.").waitFor();
  const made = (await api("GET", "/v1/keys/e/?recursive=true")).items.map(({ key, value: is, encoding }) => [key, is, encoding]);
  assert.deepEqual(made, [["/e/bytes", "", "utf8"], ["/e/directory/", "", "utf8"], ["/e/text", "", "json"]]);
  assert.equal(await value("/e"), "itself");
  await choose('{"":"itself","text":"","bytes":{"$base64":""},"directory":{}}');
  await page.getByText("0 new, 0 changed, 4 as they are already:").waitFor();
  await page.keyboard.press("Escape");
  await page.goto(`${base}/console/keys/e/directory/`);
  await choose("{}");
  await page.getByText("0 new, 0 changed, 1 as they are already:").waitFor();
  await page.keyboard.press("Escape");
  await page.goto(`${base}/console/keys/y/`);

  // A marker's value is nothing that a document says.
  await api("PUT", `/v1/keys?key64=${Buffer.from("/e/marked/").toString("base64url")}`, "value");
  const other = await visit("/console/keys/e/", { acceptDownloads: true });
  const taken = other.waitForEvent("download");
  await other.getByRole("button", { name: "Export…" }).click();
  await answer(other, "JSON");
  assert.deepEqual(JSON.parse(await readFile(await (await taken).path(), "utf8")), { bytes: "", directory: {}, text: "" });
  await other.locator("dialog li", { hasText: "marked/: no document can say this name" }).waitFor();

  // More than one transaction takes, and documents that are none.
  await choose(JSON.stringify({ many: Object.fromEntries(Array.from({ length: 301 }, (_, at) => [`k${at}`, at])) }));
  await page.getByText("In 3 transactions.").waitFor();
  assert.deepEqual((await listed()).slice(299), ["+ /y/many/k299 will be created", "and 1 more"]);
  await answer(page, "Import");
  await until("all are there", async () => (await count()) === 307);
  // One that is left stops behind the transaction that is under way; where the answer to that is lost, it may have been done.
  const leave = async (directory, options) => {
    await choose(JSON.stringify({ [directory]: Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`k${at}`, at])) }));
    const held = await hold(page, (url) => url.pathname === "/v1/txn", "POST");
    await answer(page, "Import");
    await held.arrived;
    await answer(page, "Cancel");
    await held.release(options);
  };
  await leave("left");
  await page.getByText("The import was left. 128 keys are written.").waitFor();
  assert.equal(await count(), 435);
  await leave("lost", { isLost: true });
  await page.locator(".notice.bad", { hasText: "may or may not have been made" }).waitFor();
  assert.equal(await count(), 563);
  for (const [content, told] of [["[]", "not an object"], ['{"a":', "No valid JSON"], ['{"a":1,"a":2}', "names a key twice"]]) {
    await choose(content);
    await page.locator("dialog .problem", { hasText: told }).waitFor();
    await page.keyboard.press("Escape");
  }
});
