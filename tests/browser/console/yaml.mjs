// JSON is edited as YAML and stays JSON, with all its digits; a value that is YAML stays what was typed, and is checked before it is saved.

import { answer, api, assert, base, flow, hold, put, until, value } from "./frame.mjs";

const raw = async (path) => (await fetch(`${base}/v1/keys${path}?raw=true`)).text();
const store = (path, text, type) => api("PUT", `/v1/keys${path}`, text, { "Content-Type": type });
const area = (page) => page.locator("value-editor textarea");
const shows = (page, text) => until(`the editor shows ${text}`, async () => (await area(page).inputValue()) === text);
const form = (page, name) => page.locator("value-editor .switch").getByRole("button", { name, exact: true });
const save = (page) => page.getByRole("button", { name: "Save" }).click();
const isSaved = (page) => page.locator("value-editor").waitFor({ state: "detached" });
const problem = (page, text) => page.locator("value-editor .problem", { hasText: text }).waitFor();
const isWell = (page) => page.locator("value-editor .problem").waitFor({ state: "hidden" });
const revision = async (path) => (await api("GET", `/v1/keys${path}`)).modRevision;

async function edit(page, path, shown) {
  await page.goto(`${base}/console/keys${path}`);
  await page.locator("value-view").getByText(shown).first().waitFor();
  await page.getByRole("button", { name: "Edit" }).click();
}

// Opens a value as YAML, which it is shown as so.
async function editAsYaml(page, path, json, yaml) {
  await store(path, json, "application/json");
  await edit(page, path, /[{[] \d+ items? [}\]]/);
  await form(page, "YAML").click();
  await shows(page, yaml);
}

async function ofJson(page) {
  await store("/y/json", '{"n":12345678901234567890.10,"no":"no"}', "application/json");
  await page.goto(`${base}/console/keys/y/json`);
  // Who looks at it as YAML edits it so.
  await page.locator("value-view").getByRole("button", { name: "YAML" }).click();
  await page.locator("value-view pre", { hasText: "12345678901234567890.10" }).waitFor();
  await page.getByRole("button", { name: "Edit" }).click();
  await shows(page, '"n": 12345678901234567890.10\n"no": "no"\n');
  await page.getByText("Saved as JSON.").waitFor();
  const before = await revision("/y/json");

  // What is none is said to be while one types, with its place, and is not saved.
  await area(page).fill("n: 1\nlist: [1,\n");
  await problem(page, "line 2, column 7");
  await save(page);
  await problem(page, "line 2, column 7");
  await form(page, "JSON").click();
  await problem(page, "line 2, column 7");
  assert.equal(await revision("/y/json"), before);
  const mended = "# mended\nn: 98765432109876543210\nlist: [1, 2.50]\n";
  await area(page).fill(mended);
  await isWell(page);
  await save(page);
  await isSaved(page);
  assert.equal(await raw("/y/json"), '{"n":98765432109876543210,"list":[1,2.50]}');
  assert.equal((await api("GET", "/v1/keys/y/json")).contentType, "application/json");
}

// What nobody changed is what it was, however it was looked at; what is changed stays in lines where it was.
async function ofLayout(page) {
  const text = '{ "b": 1,\n      "a": [1, 2] }';
  await editAsYaml(page, "/y/lines", text, "b: 1\na:\n- 1\n- 2\n");
  await form(page, "JSON").click();
  await shows(page, text);
  await form(page, "YAML").click();
  await shows(page, "b: 1\na:\n- 1\n- 2\n");
  await page.getByRole("button", { name: "Cancel" }).click();
  await isSaved(page);
  await page.getByRole("button", { name: "Edit" }).click();
  await form(page, "YAML").click();
  await area(page).fill("b: 2\na: [1]\n");
  await form(page, "JSON").click();
  await shows(page, '{\n  "b": 2,\n  "a": [\n    1\n  ]\n}');
  await save(page);
  await isSaved(page);
  assert.equal(await raw("/y/lines"), '{\n  "b": 2,\n  "a": [\n    1\n  ]\n}');

  // A line break at the end makes no lines of one, and stays.
  for (const [before, after] of [['{"a":1}\n', '{"a":2}\n'], ['{\n"a":1\n}\n', '{\n  "a": 2\n}\n']]) {
    await editAsYaml(page, "/y/end", before, "a: 1\n");
    await area(page).fill("a: 2\n");
    await save(page);
    await isSaved(page);
    assert.equal(await raw("/y/end"), after);
  }
}

// Somebody else was first: the three sides are JSON.
async function ofConflicts(page) {
  await editAsYaml(page, "/y/shared", '{"a":1}', "a: 1\n");
  await area(page).fill("a: 2\n");
  await store("/y/shared", '{"a":3}', "application/json");
  await save(page);
  await page.locator("dialog .three").waitFor();
  assert.deepEqual(await page.locator("dialog .three pre").allTextContents(), ['{"a":1}\n', '{"a":3}\n', '{"a":2}\n']);
  await answer(page, "Replace revision");
  await isSaved(page);
  assert.equal(await raw("/y/shared"), '{"a":2}');

  // Where they have made it YAML, what stands here is YAML, too.
  await editAsYaml(page, "/y/retyped", '{"a":1}', "a: 1\n");
  await area(page).fill("a: 2 # mine\n");
  await store("/y/retyped", "a: 3 # theirs\n", "application/yaml");
  await save(page);
  await page.locator("dialog .three").waitFor();
  assert.deepEqual(await page.locator("dialog .three .yours pre").allTextContents(), ["a: 2 # mine\n\n"]);
  assert(await page.getByText("Saved as JSON.").isHidden());
  await answer(page, "Replace revision");
  await isSaved(page);
  assert.equal(await raw("/y/retyped"), "a: 2 # mine\n");
}

// The answer about what stood there before is not shown for what stands there now.
async function ofLateAnswers(page) {
  await editAsYaml(page, "/y/late", '{"a":1}', "a: 1\n");
  const conversions = (url) => url.pathname === "/v1/convert";
  let held = await hold(page, conversions, "POST");
  await area(page).fill("a: [\n");
  await held.arrived;
  const checked = page.waitForResponse((response) => response.url().endsWith("/v1/convert") && response.ok());
  await area(page).fill("a: 2\n");
  await checked;
  await held.release();
  assert(await page.locator("value-editor .problem").isHidden());
  await save(page);
  await isSaved(page);
  assert.deepEqual(await value("/y/late"), { a: 2 });

  // Nor where it is a text now.
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Media type").fill("application/yaml");
  await form(page, "YAML").click();
  held = await hold(page, conversions, "POST");
  await area(page).fill("a: [\n");
  await held.arrived;
  await form(page, "Text").click();
  await until("it is a text", async () => (await form(page, "Text").getAttribute("aria-pressed")) === "true");
  await held.release();
  assert(await page.locator("value-editor .problem").isHidden());
  await save(page);
  await isSaved(page);
  assert.equal(await raw("/y/late"), "a: [\n");
}

// Whoever changes the form goes on in it by keyboard, at its beginning, as does who opens the editor.
async function ofKeyboard(page) {
  await editAsYaml(page, "/y/keys", '{"a":1}', "a: 1\n");
  const isAtStart = () => area(page).evaluate((shown) => document.activeElement === shown && shown.selectionStart === 0 && shown.selectionEnd === 0);
  assert(await isAtStart());
  await page.keyboard.press("Escape");
  await isSaved(page);
  await page.locator("value-view").getByRole("button", { name: "YAML" }).click();
  await page.getByRole("button", { name: "Edit" }).click();
  await shows(page, "a: 1\n");
  assert(await isAtStart());
  await page.keyboard.type("b: 2\n");
  await page.keyboard.press("Control+s");
  await isSaved(page);
  assert.equal(await raw("/y/keys"), '{"b":2,"a":1}');
}

async function ofYaml(page) {
  const text = "# ports\nport: 5432\nhosts: [a, b]\n";
  await store("/y/yaml", text, "application/yaml");
  await edit(page, "/y/yaml", "# ports");
  assert.equal(await form(page, "YAML").getAttribute("aria-pressed"), "true");
  await shows(page, text);
  assert(await page.getByText("Saved as JSON.").isHidden());
  await area(page).fill(`${text}port: 1\n`);
  await problem(page, "line 4, column 1");
  await save(page);
  await problem(page, "line 4, column 1");
  assert.equal(await raw("/y/yaml"), text);
  await area(page).fill(`${text}# the end\n`);
  await isWell(page);
  await save(page);
  await isSaved(page);
  assert.equal(await raw("/y/yaml"), `${text}# the end\n`);

  // As text it is whatever it is.
  await page.getByRole("button", { name: "Edit" }).click();
  await area(page).fill("port: [\n");
  await problem(page, "line 1, column 7");
  await form(page, "Text").click();
  await isWell(page);
  await save(page);
  await isSaved(page);
  assert.equal(await raw("/y/yaml"), "port: [\n");

  // The type says what the key is to hold.
  await page.getByRole("button", { name: "Edit" }).click();
  await area(page).fill("port: 1 # comment\n");
  await page.getByLabel("Media type").fill("application/json");
  await page.getByText("Saved as JSON.").waitFor();
  await save(page);
  await isSaved(page);
  assert.equal(await raw("/y/yaml"), '{"port":1}\n');

  await store("/y/typed", "a: 1\n", "application/yaml");
  await edit(page, "/y/typed", "a: 1");
  await shows(page, "a: 1\n");
  await page.getByLabel("Media type").fill("application/json");
  await save(page);
  await isSaved(page);
  assert.equal(await raw("/y/typed"), '{"a":1}\n');

  // So does what it was, where there is no type; and bytes are none of it.
  await put("/y/untyped", "a: &x 1\nb: *x\n");
  await edit(page, "/y/untyped", "a: &x 1");
  await form(page, "YAML").click();
  await area(page).fill("a: &x 2\nb: *x\n");
  await save(page);
  await isSaved(page);
  assert.equal(await raw("/y/untyped"), "a: &x 2\nb: *x\n");
  await page.getByRole("button", { name: "Edit" }).click();
  await form(page, "Hex").click();
  await area(page).fill("ff fe");
  await form(page, "YAML").click();
  await problem(page, "cannot be edited as text");
  assert.equal(await form(page, "Hex").getAttribute("aria-pressed"), "true");
}

await flow(async ({ visit, expect }) => {
  // What is no YAML, and a revision that was not the last.
  expect("400");
  expect("412");
  const page = await visit("/console/");
  await ofJson(page);
  await ofLayout(page);
  await ofConflicts(page);
  await ofLateAnswers(page);
  await ofKeyboard(page);
  await ofYaml(page);
});
