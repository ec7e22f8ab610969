// Services with their instances, leases with what dies with them, locks with their queue, and the members of the cluster.

import { answer, api, assert, base, flow, put, until } from "./frame.mjs";

const JSON_TYPE = { "Content-Type": "application/json" };
const register = (instance, ttl) => api("PUT", `/v1/services/web/${instance}?ttl=${ttl}`, JSON.stringify({ address: "10.0.0.7", port: 8080, tags: ["v2"] }), JSON_TYPE);
const cells = (page) => page.locator("td").allTextContents();

await flow(async ({ visit }) => {
  await register("web-1", "10m");
  const page = await visit("/console/services");
  await page.getByRole("link", { name: "web", exact: true }).click();
  await until("the instance is there", async () => (await cells(page)).join().startsWith("web-1,10.0.0.7:8080,passing,v2,1,"));
  await register("web-2", "2s");
  await until("another one comes", async () => (await cells(page)).includes("web-2"));
  await api("PUT", "/v1/services/web/web-1:status", '{"status":"draining"}', JSON_TYPE);
  await until("one changes", async () => (await cells(page)).includes("draining"));
  await until("one that does not beat goes", async () => !(await cells(page)).includes("web-2"));
  // A link that is pressed stays until it is let go, whatever comes meanwhile.
  await page.getByRole("link", { name: "web-1" }).hover();
  await page.mouse.down();
  const told = page.waitForResponse(async (response) => response.url().includes("/v1/services/web") && (await response.text()).includes("web-0"));
  await register("web-0", "10m");
  await told;
  await page.evaluate(() => new Promise(requestAnimationFrame));
  assert(!(await cells(page)).includes("web-0"));
  await page.mouse.up();
  await page.locator("key-view", { hasText: "10.0.0.7" }).waitFor();

  // A lease is ended after a look at what goes with it.
  const { id } = await api("POST", "/v1/leases", '{"ttl":"1h"}', JSON_TYPE);
  await put(`/leased/a?lease=${id}`, "x");
  await put(`/leased/b?lease=${id}`, "x");
  await page.goto(`${base}/console/leases`);
  await page.locator(".table-row", { hasText: id }).click();
  await page.getByText("2 keys die with it.").waitFor();
  assert.deepEqual(await page.locator("dialog li").allTextContents(), ["/leased/a", "/leased/b"]);
  await answer(page, "End it");
  await until("it is gone", async () => (await page.locator(".table-row", { hasText: id }).count()) === 0);
  assert.equal((await fetch(`${base}/v1/keys/leased/a`)).status, 404);

  // A lock that is held, and somebody who waits for it.
  await api("POST", "/v1/locks/jobs", '{"ttl":"10m","owner":"first"}', JSON_TYPE);
  const waiting = fetch(`${base}/v1/locks/jobs?timeout=60s`, { method: "POST", body: '{"ttl":"10m","owner":"second","wait":"60s"}', headers: JSON_TYPE });
  await api("POST", "/v1/locks/other", '{"ttl":"10m"}', JSON_TYPE);
  const listed = (word) => page.getByRole("region", { name: "Locks" }).locator(`.${word}`).allTextContents();
  await until("the locks are listed", async () => (await listed("lock")).join() === "Lock,jobs,other");
  await until("one waits", async () => (await listed("waiting")).join() === "Waiting,1,0");
  assert.deepEqual(await listed("owner"), ["Owner", "first", ""]);
  await page.getByPlaceholder("Locks that begin with…").fill("jo");
  await until("those that begin so", async () => (await listed("lock")).join() === "Lock,jobs");
  await page.getByRole("link", { name: "jobs", exact: true }).click();
  await page.getByText("The lock is held; 1 waiting.").waitFor();
  const places = () => page.getByRole("region", { name: "Holder and queue" }).locator("td").allTextContents();
  await until("who holds it and who waits", async () => (await places()).length === 10);
  const shown = await places();
  assert.deepEqual([shown[0], shown[1], shown[5], shown[6]], ["holds", "first", "waits", "second"]);
  const { holder } = (await api("GET", "/v1/locks/jobs")).holder;
  await api("DELETE", `/v1/locks/jobs/${holder}`);
  assert.equal((await waiting).status, 200);
  await until("the next one holds it", async () => (await places())[1] === "second");

  // More locks than stand on a page.
  for (let at = 100; at < 160; at += 1) await api("POST", `/v1/locks/many-${at}`, '{"ttl":"10m"}', JSON_TYPE);
  await page.goto(`${base}/console/leases?prefix=many`);
  const firstOf = (name) => until(`the page of ${name}`, async () => (await listed("lock"))[1] === name);
  await firstOf("many-100");
  assert.equal((await listed("lock")).length, 51);
  await page.getByRole("button", { name: "Next" }).click();
  await firstOf("many-150");
  assert.equal((await listed("lock")).length, 11);
  assert(await page.getByRole("button", { name: "Next" }).isDisabled());
  await page.getByRole("button", { name: "Previous" }).click();
  await firstOf("many-100");

  await page.goto(`${base}/console/cluster`);
  await until("the member is there", async () => (await cells(page)).includes("leader"));
  const { clusterId } = await api("GET", "/v1/cluster");
  await page.getByText(clusterId).waitFor();
  await until("the charts have a line", async () => (await page.locator("polyline").first().getAttribute("points"))?.includes(" "));
  assert.match(await page.locator("line-chart strong").first().textContent(), /\/ s$/);
});
