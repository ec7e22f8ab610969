// Keys of any bytes are listed, opened by links and by addresses, and changed; values are text, whatever stands in them.

import { api, assert, base, flow, inTree, names, put, until, value } from "./frame.mjs";

const base64url = (bytes) => Buffer.from(bytes).toString("base64url");
const HTML = '<img src=x onerror="document.title=1"><script>document.title=2</script>';

// What the key is as bytes, and how its row reads.
const ODD = [
  ["/odd/a b  c", "a b  c"],
  ["/odd/%2F", "%2F"],
  ["/odd/🎉", "🎉"],
  ["/odd/ü:increment", "ü:increment"],
  ["/odd/?x=1&y#z", "?x=1&y#z"],
  ["/odd/..hidden", "..hidden"],
  ["/odd/.", "."],
  ["/odd/<b>bold", "<b>bold"],
  ["/odd/line\nbreak", "line\\x0abreak"],
  [Buffer.from([...Buffer.from("/odd/"), 0xff, 0x41]), "\\xffA"],
];

await flow(async ({ visit }) => {
  for (const [key] of ODD) await api("PUT", `/v1/keys?key64=${base64url(key)}`, HTML);
  await api("PUT", `/v1/keys?key64=${base64url("/odd/slash/")}`, "of the marker");
  await api("PUT", `/v1/keys?key64=${base64url("/odd//double")}`, "behind two slashes");
  await api("PUT", `/v1/keys?key64=${base64url("no-slash")}`, "without a slash");

  const page = await visit("/console/keys/odd/");
  await until("all of them are listed", async () => (await names(page)).length === ODD.length + 2);
  assert.deepEqual((await names(page)).toSorted(), [...ODD.map(([, shown]) => shown), "/", "slash/"].toSorted());
  assert((await inTree(page)).includes("no-slash"));

  for (const [key, shown] of ODD) {
    await page.goto(`${base}/console/keys/odd/`);
    await page.locator(".table-row .name a").getByText(shown, { exact: true }).click();
    await page.locator("key-view h1", { hasText: shown }).waitFor();
    // The address by itself leads there too.
    await page.reload();
    await page.locator("value-view pre", { hasText: "<script>" }).waitFor();
    assert.equal(await page.locator("value-view pre").textContent(), HTML);
    assert.equal(await page.locator("value-view img, value-view script").count(), 0);
    await page.keyboard.press("e");
    await page.locator("value-editor textarea").fill(`changed ${shown}`);
    await page.keyboard.press("Control+s");
    const key64 = base64url(key);
    await until(`${shown} is changed`, async () => (await api("GET", `/v1/keys?key64=${key64}`)).value === `changed ${shown}`);
  }
  assert(!["1", "2"].includes(await page.title()));

  // A directory's own value, and what is behind an empty segment.
  await page.goto(`${base}/console/keys/odd/slash/`);
  await page.getByText("Open it as a key").click();
  await page.locator("value-view pre", { hasText: "of the marker" }).waitFor();
  await page.goto(`${base}/console/keys/odd/`);
  await page.locator(".table-row .name a").filter({ hasText: /^\/$/ }).click();
  await page.locator(".table-row .name a", { hasText: "double" }).click();
  await page.locator("value-view pre", { hasText: "behind two slashes" }).waitFor();
  await page.locator(".tree-row a", { hasText: "no-slash" }).click();
  await page.locator("value-view pre", { hasText: "without a slash" }).waitFor();

  // JSON is shown as it is, numbers of any length and names that come twice included.
  await api("PUT", "/v1/keys/odd/json", '{"n":12345678901234567890.10,"n":"<i>",\n"list":[]}', { "Content-Type": "application/json" });
  await page.goto(`${base}/console/keys/odd/json`);
  await page.getByText("12345678901234567890.10").waitFor();
  assert.equal(await page.locator(".json-name", { hasText: '"n"' }).count(), 2);
  await put("/odd/plain", "x");
  assert.equal(await value("/odd/plain"), "x");
});
