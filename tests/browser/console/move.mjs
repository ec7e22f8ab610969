// A key and a directory get another name, or a second one, after a look at what that writes; nothing is overwritten unasked, and nothing
// unseen.

import { answer, api, assert, base, flow, hold, inTree, isLive, names, put, until, value } from "./frame.mjs";

const base64url = (bytes) => Buffer.from(bytes).toString("base64url");
const of = (pathname) => (url) => url.pathname === pathname;
const field = (page) => page.locator("dialog").getByLabel("New name");
const lines = (page) => page.locator("dialog .names li").allTextContents();
const isGone = (page) => page.locator("dialog").waitFor({ state: "detached" });
const shows = (page, list) => until(`${list}`, async () => JSON.stringify(await names(page)) === JSON.stringify(list));

// Opens the dialog, and types a name once it says that what stands there is the present one.
async function rename(page, to) {
  await page.getByRole("button", { name: "Move or copy…" }).click();
  await page.locator("dialog").getByText("This is the name that it has.").waitFor();
  if (to !== undefined) await field(page).fill(to);
}

async function ofAKey(page) {
  await put("/mv/app/db?ttl=1h", "postgres");
  await page.goto(`${base}/console/keys/mv/app/db`);
  await rename(page);
  assert.equal(await field(page).inputValue(), "/mv/app/db");
  // The last part is selected.
  await page.keyboard.type("database");
  assert.equal(await field(page).inputValue(), "/mv/app/database");
  await page.locator("dialog").getByText("1 key will be written:").waitFor();
  assert.deepEqual(await lines(page), ["+ /mv/app/database will be created"]);
  assert.equal(await value("/mv/app/db"), "postgres");
  await page.keyboard.press("Enter");
  await isGone(page);
  await page.locator("key-view h1", { hasText: "database" }).waitFor();
  const moved = await api("GET", "/v1/keys/mv/app/database");
  assert.deepEqual([moved.value, moved.ttl > 3500], ["postgres", true]);
  await page.getByText(`1 key moved as revision ${moved.modRevision}, 0 overwritten.`).waitFor();
  await page.getByRole("link", { name: "History" }).click();
  await page.locator(".versions .operation", { hasText: "moved" }).waitFor();

  // A copy has no lease, and stays where it is; who is quick does not wait for the preview.
  await rename(page, "/mv/copy");
  await answer(page, "Copy");
  await isGone(page);
  await page.getByText(/^1 key copied as revision/).waitFor();
  assert.deepEqual([(await api("GET", "/v1/keys/mv/copy")).lease, await value("/mv/app/database")], [undefined, "postgres"]);
  await page.getByRole("link", { name: "Open" }).click();
  await page.locator("key-view h1", { hasText: "copy" }).waitFor();
  await page.locator("value-view pre", { hasText: "postgres" }).waitFor();
}

async function ofADirectory(page, other) {
  for (const name of ["old/a", "old/b/c", "new/a"]) await put(`/mv/${name}`, name);
  await page.goto(`${base}/console/keys/mv/old/`);
  await other.goto(`${base}/console/keys/mv/new/`);
  for (const one of [page, other]) await isLive(one);
  await shows(page, ["a", "b/"]);
  await rename(page, "/mv/new");
  await page.locator("dialog").getByText("2 keys will be written, 1 there already:").waitFor();
  assert.deepEqual(await lines(page), ["~ /mv/new/a is there already, and will be overwritten", "+ /mv/new/b/c will be created"]);

  // It is asked for; and so is what has come meanwhile.
  const agree = page.getByLabel("Overwrite what is there already");
  await answer(page, "Move");
  assert.equal(await agree.evaluate((box) => box.matches(":invalid") && box === document.activeElement), true);
  await agree.check();
  await put("/mv/new/b/c", "meanwhile");
  await answer(page, "Move");
  await page.locator("dialog").getByText("2 keys will be written, 2 there already:").waitFor();
  assert.equal(await agree.isChecked(), false);
  assert.deepEqual([await value("/mv/new/a"), await value("/mv/new/b/c")], ["new/a", "meanwhile"]);
  await agree.check();
  await answer(page, "Move");
  await isGone(page);
  await page.locator("directory-view h1", { hasText: "new/" }).waitFor();
  await page.getByText(/2 keys moved as revision \d+, 2 overwritten\./).waitFor();
  for (const one of [page, other]) await shows(one, ["a", "b/"]);
  await until("the tree too", async () => (await inTree(page)).join().includes("new/") && !(await inTree(page)).join().includes("old/"));
  assert.deepEqual([await value("/mv/new/a"), await value("/mv/new/b/c")], ["old/a", "old/b/c"]);

  // Who looks at what moves sees it go, and come.
  await other.goto(`${base}/console/keys/mv/new/a`);
  await other.locator("value-view pre", { hasText: "old/a" }).waitFor();
  await isLive(other);
  await rename(page, "/mv/newer/");
  await page.locator("dialog").getByText("2 keys will be written:").waitFor();
  await answer(page, "Move");
  await isGone(page);
  await other.getByText("There is no such key.").waitFor();
  await until("the other tree shows both", async () => /newer\//.test(await inTree(other)) && !(await inTree(other)).includes("new/"));
  await rename(page, "/mv/new/");
  await answer(page, "Copy");
  // What was not seen is looked at first, however quick one is.
  await page.locator("dialog").getByText("2 keys will be written:").waitFor();
  await answer(page, "Copy");
  await isGone(page);
  await other.locator("value-view pre", { hasText: "old/a" }).waitFor();
  await shows(page, ["a", "b/"]);
  assert.deepEqual((await api("GET", "/v1/keys/mv/?recursive=true&keysOnly=true")).items.map((item) => item.key).filter((key) => key.includes("new")), ["/mv/new/a", "/mv/new/b/c", "/mv/newer/a", "/mv/newer/b/c"]);

  // Within itself it cannot be.
  await rename(page, "/mv/newer/within/");
  await page.locator("dialog").getByText("lies within it").waitFor();
  await answer(page, "Move");
  await page.locator("dialog").getByText("lies within it").waitFor();
  await page.keyboard.press("Escape");
  await isGone(page);
}

// An answer to what stood there before is never shown for what stands there now, nor acted on.
async function ofLateAnswers(page) {
  await put("/mv/late/key", "1");
  await put("/mv/late/there", "2");
  await page.goto(`${base}/console/keys/mv/late/key`);
  await page.locator("value-view pre").waitFor();
  await rename(page);
  const held = await hold(page, of("/v1/keys/mv/late/key:copy"), "POST");
  await field(page).fill("/mv/late/there");
  await held.arrived;
  await field(page).fill("/mv/late/free");
  await page.locator("dialog").getByText("1 key will be written:").waitFor();
  await held.release();
  assert.deepEqual(await lines(page), ["+ /mv/late/free will be created"]);
  assert.equal(await page.getByLabel("Overwrite what is there already").count(), 0);

  // Where the answer to the act is lost, it is asked for again, and has been done once.
  await page.route(of("/v1/keys/mv/late/key:move"), async (route) => {
    await route.fetch();
    await route.abort();
  }, { times: 1 });
  await answer(page, "Move");
  await page.locator("dialog .problem", { hasText: "cannot be reached" }).waitFor();
  assert.equal(await value("/mv/late/free"), "1");
  const { revision } = await api("GET", "/v1/keys/mv/late/");
  await answer(page, "Move");
  await isGone(page);
  await page.locator("key-view h1", { hasText: "free" }).waitFor();
  assert.equal((await api("GET", "/v1/keys/mv/late/")).revision, revision);
}

// Who leaves while it is under way is told what has become of it, and stays where they are.
async function ofThoseWhoLeave(page) {
  await put("/mv/left/key", "1");
  await page.goto(`${base}/console/keys/mv/left/key`);
  const leave = async (button, to, options) => {
    await page.locator("value-view pre", { hasText: "1" }).waitFor();
    await rename(page, to);
    await page.locator("dialog").getByText("1 key will be written:").waitFor();
    const held = await hold(page, of(`/v1/keys/mv/left/key:${button.toLowerCase()}`), "POST");
    await answer(page, button);
    await held.arrived;
    await page.keyboard.press("Escape");
    await isGone(page);
    assert.equal(await page.locator(".notice").count(), 0);
    await held.release(options);
  };
  await leave("Copy", "/mv/left/copy");
  const copied = await api("GET", "/v1/keys/mv/left/copy");
  await page.getByText(`1 key copied as revision ${copied.modRevision}, 0 overwritten.`).waitFor();
  await page.reload();
  await leave("Move", "/mv/left/moved");
  const moved = await api("GET", "/v1/keys/mv/left/moved");
  await page.getByText(`1 key moved as revision ${moved.modRevision}, 0 overwritten.`).waitFor();
  await page.getByText("There is no such key.").waitFor();
  await page.locator("key-view h1", { hasText: "key" }).waitFor();

  // Where the answer is lost as well, nobody asks again, and it may have been done.
  await put("/mv/left/key", "1");
  await page.reload();
  await leave("Move", "/mv/left/unsure", { isLost: true });
  await page.locator(".notice.bad", { hasText: "may or may not have been made" }).waitFor();
  assert.equal(await value("/mv/left/unsure"), "1");
}

async function ofOddNames(page) {
  const binary = Buffer.from([...Buffer.from("/mv/odd/\\"), 0xff, 0x41]);
  for (const key of ["/mv/odd/%2F", binary]) await api("PUT", `/v1/keys?key64=${base64url(key)}`, "odd");
  const open = async (name) => {
    await page.goto(`${base}/console/keys/mv/odd/`);
    await page.locator(".table-row .name a").getByText(name, { exact: true }).click();
    await page.locator("value-view pre", { hasText: "odd" }).waitFor();
  };
  await open("%2F");
  await rename(page, "/mv/odd/100%/ü:move");
  await answer(page, "Move");
  await page.locator("key-view h1", { hasText: "ü:move" }).waitFor();
  assert.equal((await api("GET", `/v1/keys?key64=${base64url("/mv/odd/100%/ü:move")}`)).value, "odd");

  // What is not text is typed byte by byte.
  await open("\\\\xffA");
  await rename(page);
  assert.equal(await field(page).inputValue(), "/mv/odd/\\\\\\xffA");
  await field(page).fill("/mv/odd/\\xfg");
  await page.locator("dialog").getByText("Here \\ begins").waitFor();
  await field(page).fill("/mv/odd/\\xfe\\\\");
  await page.locator("dialog").getByText("1 key will be written:").waitFor();
  await answer(page, "Move");
  await isGone(page);
  await page.locator("key-view h1", { hasText: "\\xfe\\" }).waitFor();
  await page.locator("value-view pre", { hasText: "odd" }).waitFor();
  const now = Buffer.from([...Buffer.from("/mv/odd/"), 0xfe, 0x5c]);
  const { items } = await api("GET", "/v1/keys/mv/odd/");
  assert.deepEqual(items.map((item) => item.key64), [base64url(now)]);
}

await flow(async ({ visit, expect }) => {
  // Refused: a name within itself. Not there: what has moved away. Lost: an answer.
  expect("400");
  expect("404");
  expect("ERR_FAILED");
  const [page, other] = [await visit("/console/"), await visit("/console/")];
  await ofAKey(page);
  await ofADirectory(page, other);
  await ofLateAnswers(page);
  await ofThoseWhoLeave(page);
  await ofOddNames(page);
});
