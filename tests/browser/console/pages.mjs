// Every page, in light and dark, in both languages, wide and narrow: nothing breaks the policy, nothing is logged as an error,
// nothing is cut off at the side; the first page is small.

import { api, assert, flow, isLive, put } from "./frame.mjs";

// What the first page may weigh on the wire, with all that it loads, in bytes.
const FIRST_PAGE = 60_000;
const PLACES = [
  "/console",
  "/console/",
  "/console/keys/",
  "/console/keys/page/",
  "/console/keys/page/?all=",
  "/console/keys/page/json",
  "/console/keys/page/json?view=history",
  "/console/keys?key64=bm8tc2xhc2g",
  "/console/keys",
  "/console/changes",
  "/console/services",
  "/console/services?name=web",
  "/console/leases?lock=jobs",
  "/console/cluster",
  "/console/search?text=a",
  "/console/search",
  "/console/nothing/of/the/kind",
];

await flow(async ({ visit }) => {
  await put("/page/text", "a\nb\n");
  await put("/page/text", "a\nc\n");
  await put("/page/leased?ttl=10m", "for a while");
  await api("PUT", "/v1/services/web/web-1?ttl=10m", '{"address":"10.0.0.1","port":80}', { "Content-Type": "application/json" });
  await api("PUT", "/v1/keys?key=no-slash", "x");
  await api("PUT", "/v1/keys/page/json", '{"a":[1,2,{"b":null}],"long":"' + "x".repeat(500) + '"}', { "Content-Type": "application/json" });
  const looks = [
    { colorScheme: "light", locale: "en-GB", viewport: { width: 1440, height: 900 } },
    { colorScheme: "dark", locale: "zh-CN", viewport: { width: 390, height: 844 } },
  ];
  for (const look of looks) {
    for (const place of PLACES) {
      const page = await visit(place, look);
      await page.locator("main > *").first().waitFor();
      await isLive(page);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert(over <= 0, `${place} is ${over} pixels wider than the window`);
      assert.equal(await page.locator("html").getAttribute("lang"), look.locale === "zh-CN" ? "zh-Hans" : "en");
      await page.context().close();
    }
  }

  const page = await visit("/console/");
  await isLive(page);
  const wire = await page.evaluate(() => {
    const files = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    return files.filter(({ name }) => name.includes("/console")).map(({ name, transferSize }) => [name, transferSize]);
  });
  const whole = wire.reduce((sum, [, bytes]) => sum + bytes, 0);
  assert(wire.length > 10 && wire.every(([, bytes]) => bytes > 0), JSON.stringify(wire));
  assert(whole <= FIRST_PAGE, `${whole} bytes: ${JSON.stringify(wire)}`);
  console.error(`the first page takes ${whole} bytes in ${wire.length} files`);

  // A browser that comes again asks for the page alone, and is told that it has it.
  await page.goto("about:blank");
  await page.goBack();
  const again = await visit("/console/keys/");
  const policy = (await again.request.get(again.url())).headers()["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  const tag = (await again.request.get(again.url())).headers().etag;
  assert.equal((await again.request.get(again.url(), { headers: { "If-None-Match": tag } })).status(), 304);

  // The other theme and the other language, as they are chosen.
  const ground = () => again.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  await again.getByRole("button", { name: "Light or dark" }).click();
  assert.notEqual(await ground(), before);
  await again.reload();
  assert.notEqual(await ground(), before);
  await again.getByRole("button", { name: "中文" }).click();
  await again.getByRole("link", { name: "变更" }).waitFor();
});
