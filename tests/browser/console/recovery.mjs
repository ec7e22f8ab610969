// The server dies with SIGKILL and comes back while pages are open: they say so, recover by themselves, and have missed
// nothing and seen nothing twice. Where history is gone meanwhile, they read everything anew and say that.

import { api, assert, base, connection, flow, inTree, isLive, names, please, put, until } from "./frame.mjs";

const many = async (from, to) => {
  for (let at = from; at < to; at += 1) await put(`/many/${String(at).padStart(3, "0")}`, `${at}`);
};
const range = (from, to) => Array.from({ length: to - from }, (_, at) => String(from + at).padStart(3, "0"));

await flow(async ({ visit, expect }) => {
  expect("ERR_CONNECTION");
  expect("ERR_INCOMPLETE");
  expect("ERR_EMPTY_RESPONSE");
  expect("ERR_FAILED");
  await many(0, 3);
  const [table, feed] = [await visit("/console/keys/many/"), await visit("/console/changes")];
  for (const page of [table, feed]) await isLive(page);
  await many(3, 10);
  await until("they are listed", async () => (await names(table)).length === 10);

  for (const round of [1, 2]) {
    await please("kill");
    for (const page of [table, feed]) await until("it sees that", async () => (await connection(page)) === "lost");
    await table.getByRole("status", { name: /Disconnected/ }).or(table.locator(".status", { hasText: "Disconnected" })).first().waitFor();
    await please("restart");
    await many(10 * round, 10 * round + 10);
    for (const page of [table, feed]) await isLive(page);
  }
  await until("all are listed", async () => (await names(table)).length === 30);
  assert.deepEqual(await names(table), range(0, 30));
  await until("all are in the feed", async () => (await names(feed)).length >= 27);
  assert.deepEqual((await names(feed)).toReversed(), range(3, 30).map((name) => `/many/${name}`));

  // A page that finds no server recovers as well.
  const early = await visit("about:blank");
  await early.route("**/v1/**", (route) => route.abort());
  await early.goto(`${base}/console/keys/many/`);
  await early.getByText("The server cannot be reached.").first().waitFor();
  await early.unroute("**/v1/**");
  await until("it is listed", async () => (await names(early)).length === 30);

  // Now it may not come back before history is gone, and a directory with it.
  await put("/gone/deep/key", "x");
  const gone = await visit("/console/keys/gone/deep/");
  await isLive(gone);
  await until("it is there", async () => (await names(gone)).join() === "key" && (await inTree(gone)).includes("gone/"));
  expect("404");
  const probe = "**/v1/keys?limit=1&keysOnly=true";
  for (const page of [table, feed, gone]) await page.route(probe, (route) => route.abort());
  await please("kill");
  for (const page of [table, feed, gone]) await until("it sees that", async () => (await connection(page)) === "lost");
  await please("restart");
  await many(30, 35);
  await api("DELETE", "/v1/keys/many/000");
  await api("DELETE", "/v1/keys/gone/?recursive=true");
  const { modRevision } = await api("PUT", "/v1/keys/many/last", "x");
  await api("POST", "/v1/maintenance:compact", JSON.stringify({ revision: modRevision }), { "Content-Type": "application/json" });
  for (const page of [table, feed, gone]) await page.unroute(probe);
  for (const page of [table, feed, gone]) await isLive(page);
  await until("it is as it is", async () => JSON.stringify(await names(table)) === JSON.stringify([...range(1, 35), "last"]));
  await feed.getByText("history was compacted").waitFor();
  await gone.getByText("There is no such directory.").waitFor();
  await until("the tree is as it is", async () => !(await inTree(gone)).includes("gone/"));
  await put("/gone/deep/again", "x");
  await until("it is there again", async () => (await names(gone)).join() === "again" && (await inTree(gone)).includes("gone/"));
  await put("/many/after", "x");
  await until("and goes on", async () => (await names(table)).includes("after") && (await names(feed))[0] === "/many/after");
});
