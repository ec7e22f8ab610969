// A text is found in names and in values, below a place too; the page says how far it has looked.

import { api, assert, flow, names, put, until } from "./frame.mjs";

await flow(async ({ visit }) => {
  await put("/s/needle-in-name", "x");
  await put("/s/value", "hay hay needle hay");
  await put("/s/deep/er/value", "needle");
  await put("/other/needle", "x");
  await put("/s/none", "hay");
  const page = await visit("/console/");
  await page.locator("vardr-search input").waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("needle");
  await page.keyboard.press("Enter");
  await page.getByText("4 found in 5 keys").waitFor();
  assert.deepEqual(await names(page), ["/other/needle", "/s/deep/er/value", "/s/needle-in-name", "/s/value"]);
  await page.getByRole("textbox", { name: "below" }).fill("/s/");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("3 found in 4 keys").waitFor();
  await page.getByRole("textbox", { name: "below" }).fill("/s/va");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("1 found in 1 key").waitFor();
  await page.locator(".table-row a").click();
  await page.locator("value-view pre", { hasText: "hay hay needle hay" }).waitFor();

  // More keys than one page of a search looks into.
  for (let from = 0; from < 10_500; from += 125) {
    const then = Array.from({ length: 125 }, (_, at) => ({ put: { key: `/t/${String(from + at).padStart(6, "0")}`, value: "hay" } }));
    await api("POST", "/v1/txn", JSON.stringify({ then }), { "Content-Type": "application/json" });
  }
  await put("/t/999999", "the needle");
  await page.goto(new URL("/console/search?text=needle&below=/t/", page.url()).href);
  await page.getByText("1 found in 10,501 keys").waitFor();
  await page.goto(new URL("/console/search?text=absent", page.url()).href);
  await page.getByText("No key holds this text").waitFor();
  await until("nothing is listed", async () => (await names(page)).length === 0);
});
