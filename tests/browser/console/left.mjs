// Who leaves a dialog or the editor while something of it is under way is told by a notice how that ended, and stays where they went.

import { answer, api, assert, base, flow, hold, put, until, value } from "./frame.mjs";

const JSON_TYPE = { "Content-Type": "application/json" };
const keys = (path) => (url) => url.pathname === `/v1/keys${path}`;
const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
const notice = (page, text) => page.locator(".notice:not(.bad)").getByText(text).waitFor();
const complaint = (page, text) => page.locator(".notice.bad").getByText(text).waitFor();
const isGone = (page) => page.locator("dialog").waitFor({ state: "detached" });

// The ways out of a dialog.
const byEscape = (page) => page.keyboard.press("Escape");
const byCancel = (page) => answer(page, "Cancel");
const byClickBeside = (page) => page.mouse.click(4, 400);
const byNavigation = (page) => page.evaluate(() => history.back());

// Does what a dialog's button says, goes away before there is an answer, and lets it come, or lose itself.
async function leave(page, button, { request, method, by = byEscape, isLost }) {
  const held = await hold(page, request, method);
  await answer(page, button);
  await held.arrived;
  await by(page);
  await isGone(page);
  assert.equal(await page.locator(".notice").count(), 0);
  const place = page.url();
  await held.release({ isLost });
  await page.locator(".notice").waitFor();
  assert.equal(page.url(), place);
}

// A page of its own for each, so that no notice of an earlier one is there.
async function open(visit, path, shown) {
  const page = await visit("/console/keys/left/");
  await page.locator("directory-view").waitFor();
  await page.evaluate((href) => document.body.append(Object.assign(document.createElement("a"), { href, id: "way" })), `/console${path}`);
  await page.locator("#way").evaluate((link) => link.click());
  await page.locator("main").getByText(shown).first().waitFor();
  return page;
}

async function ofCreating(visit) {
  let page = await open(visit, "/keys/left/new/", "first");
  await press(page, "New key");
  await page.getByLabel("Name in /left/new/").fill("key");
  await leave(page, "Create", { request: keys("/left/new/key"), method: "PUT", by: byNavigation });
  await notice(page, "/left/new/key was created.");
  await page.getByRole("link", { name: "Open" }).click();
  await page.locator("key-view h1", { hasText: "key" }).waitFor();

  page = await open(visit, "/keys/left/new/", "first");
  await press(page, "New directory");
  await page.getByLabel("Name in /left/new/").fill("first");
  await leave(page, "Create", { request: keys("/left/new/first/"), method: "PUT" });
  await notice(page, "/left/new/first/ was created.");

  // What is refused is told, too, and what nobody knows.
  page = await open(visit, "/keys/left/new/", "first");
  await press(page, "New key");
  await page.getByLabel("Name in /left/new/").fill("key");
  await leave(page, "Create", { request: keys("/left/new/key"), method: "PUT", by: byClickBeside });
  await complaint(page, "New key: ");
  page = await open(visit, "/keys/left/new/", "first");
  await press(page, "Add in order");
  await leave(page, "Create", { request: keys("/left/new/"), method: "POST", by: byCancel, isLost: true });
  await complaint(page, "Add in order: The server cannot be reached. The change may or may not have been made");
}

async function ofRemoving(visit) {
  let page = await open(visit, "/keys/left/old/key", "to go");
  await press(page, "Delete…");
  await leave(page, "Delete…", { request: keys("/left/old/key"), method: "DELETE" });
  await notice(page, "1 key deleted.");

  await put("/left/old/key", "to go");
  page = await open(visit, "/keys/left/old/key", "to go");
  await press(page, "Delete…");
  await page.locator("dialog").waitFor();
  await put("/left/old/key", "to stay");
  await leave(page, "Delete…", { request: keys("/left/old/key"), method: "DELETE", by: byNavigation });
  await complaint(page, "Delete the key /left/old/key: The key has changed since it was shown.");
  assert.equal(await value("/left/old/key"), "to stay");

  page = await open(visit, "/keys/left/old/", "key");
  await press(page, "Delete…");
  await page.locator("dialog").getByText("1 key will be deleted:").waitFor();
  await leave(page, "Delete all", { request: keys("/left/old/"), method: "DELETE" });
  await notice(page, "1 key deleted.");
}

async function ofRollback(visit) {
  const { modRevision } = await api("GET", "/v1/keys/left/back");
  await put("/left/back", "second");
  const page = await open(visit, "/keys/left/back?view=history", "Restore…");
  await page.getByRole("button", { name: `Restore… revision ${modRevision}` }).click();
  await page.locator("dialog").getByText("1 restored, 0 deleted:").waitFor();
  await leave(page, "Roll back", { request: (url) => url.pathname.endsWith(":rollback"), method: "POST" });
  await notice(page, /Rolled back as revision \d+: 1 restored, 0 deleted\./);
  assert.equal(await value("/left/back"), "first");
}

async function ofLeases(visit) {
  let page = await open(visit, "/keys/left/leased", "for a while");
  await press(page, "Time to live…");
  await page.locator("dialog input").fill("10m");
  await leave(page, "Set", { request: keys("/left/leased"), method: "PUT" });
  await notice(page, "Time to live /left/leased: done.");
  assert((await api("GET", "/v1/keys/left/leased")).ttl > 500);

  for (const isLost of [false, true]) {
    const { id } = await api("POST", "/v1/leases", '{"ttl":"1h"}', JSON_TYPE);
    await put(`/left/with?lease=${id}`, "x");
    page = await open(visit, "/leases", id);
    await page.locator(".table-row", { hasText: id }).click();
    await leave(page, "End it", { request: (url) => url.pathname === `/v1/leases/${id}`, method: "DELETE", isLost });
    if (isLost) await complaint(page, `Lease ${id}: The server cannot be reached.`);
    else await notice(page, "1 key deleted.");
  }
}

// The editor, left while it saves.
async function ofSaving(visit) {
  const edit = async (text) => {
    const page = await open(visit, "/keys/left/saved", "value");
    await press(page, "Edit");
    await page.locator("value-editor textarea").fill(text);
    const held = await hold(page, keys("/left/saved"), "PUT");
    await page.getByRole("button", { name: "Save" }).click();
    await held.arrived;
    await byNavigation(page);
    await answer(page, "Leave");
    await page.locator("directory-view").waitFor();
    return { page, held };
  };
  const one = await edit("value 2");
  await one.held.release();
  await notice(one.page, /^\/left\/saved is saved as revision \d+\.$/);
  assert.equal(await value("/left/saved"), "value 2");

  const lost = await edit("value 3");
  await lost.held.release({ isLost: true });
  await complaint(lost.page, "Save /left/saved: The server cannot be reached.");

  // Where somebody else was first, nothing is asked of who has gone.
  const page = await open(visit, "/keys/left/saved", "value");
  await press(page, "Edit");
  await page.locator("value-editor textarea").fill("value 4");
  await put("/left/saved", "value of theirs");
  const held = await hold(page, keys("/left/saved"), "PUT");
  await page.getByRole("button", { name: "Save" }).click();
  await held.arrived;
  await byNavigation(page);
  await answer(page, "Leave");
  await isGone(page);
  await held.release();
  await complaint(page, "Save /left/saved: ");
  assert.equal(await page.locator("dialog").count(), 0);
  assert.equal(await value("/left/saved"), "value of theirs");
}

// The editor, left while it does anything else than write: nothing is promised, and nothing done or told later.
async function ofAsking(visit) {
  const edit = async (path, text) => {
    const page = await open(visit, `/keys${path}`, "value");
    await press(page, "Edit");
    await page.locator("value-editor textarea").fill(text);
    return page;
  };
  const discard = async (page) => {
    await byNavigation(page);
    await page.locator("dialog", { hasText: "Leave without saving?" }).waitFor();
    await answer(page, "Discard");
    await page.locator("directory-view").waitFor();
  };
  const isStill = async (page) => assert.deepEqual([await page.locator("dialog").count(), await page.locator(".notice").count()], [0, 0]);

  // A person is to choose.
  const one = await edit("/left/saved", "mine");
  await put("/left/saved", "value of others");
  await one.getByText("Somebody else has written").waitFor();
  await press(one, "Save");
  await one.locator("dialog .three").waitFor();
  await discard(one);
  await isStill(one);

  // What others wrote is read.
  const two = await edit("/left/saved", "mine");
  await put("/left/saved", "value of yet others");
  await two.getByText("Somebody else has written").waitFor();
  let held = await hold(two, keys("/left/saved"));
  await press(two, "Save");
  await held.arrived;
  await discard(two);
  await held.release();
  await isStill(two);
  assert.equal(await value("/left/saved"), "value of yet others");

  // YAML is read, before it is saved.
  await api("PUT", "/v1/keys/left/yaml", "value: 1\n", { "Content-Type": "application/yaml" });
  const conversions = (url) => url.pathname === "/v1/convert";
  const three = await open(visit, "/keys/left/yaml", "value: 1");
  await press(three, "Edit");
  const checked = three.waitForResponse((response) => conversions(new URL(response.url())));
  await three.locator("value-editor textarea").fill("value: 2\n");
  await checked;
  held = await hold(three, conversions, "POST");
  await press(three, "Save");
  await held.arrived;
  await discard(three);
  await held.release();
  await isStill(three);
  assert.equal((await api("GET", "/v1/keys/left/yaml")).version, 1);

  // Where the write has ended meanwhile, it is another question.
  const four = await edit("/left/saved", "mine");
  held = await hold(four, keys("/left/saved"), "PUT");
  await press(four, "Save");
  await held.arrived;
  await byNavigation(four);
  await four.locator("dialog", { hasText: "Leave while it is saved?" }).waitFor();
  await held.release({ isLost: true });
  await until("it is not saved", async () => (await four.locator("value-editor .problem").textContent()).includes("cannot be reached"));
  await press(four, "Leave");
  await four.locator("dialog", { hasText: "Leave without saving?" }).waitFor();
  await byEscape(four);
  assert.equal(await four.locator("value-editor textarea").inputValue(), "mine");
}

// A dialog that nothing is under way in goes without a word when one goes elsewhere.
async function ofNothing(visit) {
  const page = await open(visit, "/keys/left/saved", "value");
  await press(page, "Delete…");
  await page.locator("dialog").waitFor();
  await byNavigation(page);
  await isGone(page);
  await page.locator("directory-view").waitFor();
  assert.equal(await page.locator(".notice").count(), 0);
}

await flow(async ({ visit, expect }) => {
  // A condition that does not hold, a key that has gone, and an answer that is lost.
  expect("412");
  expect("404");
  expect("ERR_FAILED");
  for (const [path, text] of [["new/first-of-all", "x"], ["old/key", "to go"], ["back", "first"], ["leased", "for a while"], ["saved", "value"]]) await put(`/left/${path}`, text);
  await ofCreating(visit);
  await ofRemoving(visit);
  await ofRollback(visit);
  await ofLeases(visit);
  await ofSaving(visit);
  await ofAsking(visit);
  await ofNothing(visit);
});
