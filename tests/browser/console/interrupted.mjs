// The server dies with SIGKILL amid the transactions of an import, before it has heard of one, while it writes one, and before it has
// answered: the import goes on from there, nothing is lost and nothing is done twice.

import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { answer, api, assert, base, connection, flow, please, put, until } from "./frame.mjs";

const PER_TXN = 128;
const TRANSACTIONS = 8;

await flow(async ({ visit, expect }) => {
  for (const word of ["ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY_RESPONSE", "ERR_FAILED", "404", "503"]) expect(word);
  const key = (at) => `k${String(at).padStart(5, "0")}`;
  const document = Object.fromEntries(Array.from({ length: PER_TXN * TRANSACTIONS }, (_, at) => [key(at), at]));
  const file = join(tmpdir(), `console-${process.pid}.json`);
  await writeFile(file, JSON.stringify(document));
  await put("/i/before", "x");
  const page = await visit("/console/keys/i/");
  const chosen = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Import…" }).click();
  await answer(page, "Document…");
  await (await chosen).setFiles(file);
  await page.getByText(`In ${TRANSACTIONS} transactions.`).waitFor();

  // How the server dies at the transaction of that number.
  const deaths = {
    2: async (route) => {
      await please("kill");
      await route.continue();
    },
    4: (route) => Promise.all([route.continue(), please("kill")]),
    6: async (route) => {
      const response = await route.fetch();
      assert.equal((await response.json()).succeeded, true);
      await please("kill");
      await route.abort();
    },
  };
  let [asked, died] = [0, 0];
  await page.route("**/v1/txn", async (route) => {
    const death = deaths[asked];
    delete deaths[asked];
    if (death === undefined) {
      asked += 1;
      return route.continue();
    }
    await death(route);
    died += 1;
    return undefined;
  });
  for (const round of [1, 2, 3]) {
    await answer(page, "Import");
    await until("the server has died", () => died === round);
    await page.locator("dialog .problem", { hasText: "The server cannot be reached." }).waitFor();
    await until("the page sees it", async () => (await connection(page)) !== "live");
    await please("restart");
    const { count } = await api("GET", "/v1/keys/i/?countOnly=true");
    assert.equal((count - 1) % PER_TXN, 0, "a transaction is whole");
  }
  await answer(page, "Import");
  await page.getByText(`${(PER_TXN * TRANSACTIONS).toLocaleString("en-GB")} keys imported.`).waitFor();

  const items = [];
  for (let cursor; ; ) {
    const found = await api("GET", `/v1/keys/i/?limit=1000${cursor ? `&cursor=${cursor}` : ""}`);
    items.push(...found.items);
    cursor = found.cursor;
    if (cursor === undefined) break;
  }
  const imported = items.filter((item) => item.key !== "/i/before");
  assert.deepEqual(Object.fromEntries(imported.map((item) => [item.key.slice("/i/".length), item.value])), document);
  assert(imported.every((item) => item.version === 1), "each is written once");
  assert.equal(new Set(imported.map((item) => item.modRevision)).size, TRANSACTIONS);
  await until("they are listed", async () => (await page.locator("directory-view vardr-rows").evaluate((rows) => rows.items.length)) >= 500);
});
