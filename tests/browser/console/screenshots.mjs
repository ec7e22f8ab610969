// Pictures of each page for docs/console, in light and dark, wide and narrow: a shop's configuration, as it might be.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { answer, api, base, flow, follow, isLive, put, until } from "./frame.mjs";

const folder = fileURLToPath(new URL("../../../docs/console/", import.meta.url));
const JSON_TYPE = { "Content-Type": "application/json" };
const pool = (max) => JSON.stringify({ host: "db-1.internal", port: 5432, pool: { min: 4, max, idle: "30s" }, replicas: ["db-2.internal", "db-3.internal"], tls: { verify: true, ca: null } }, null, 2);
const nginx = (workers, level) => `worker_processes ${workers};\nerror_log /var/log/nginx/error.log ${level};\n\nevents {\n  worker_connections 4096;\n}\n\nhttp {\n  sendfile on;\n  keepalive_timeout 65;\n  include /etc/nginx/conf.d/*.conf;\n}\n`;

await mkdir(folder, { recursive: true });
for (const [name, value] of Object.entries({ "new-checkout": "true", "dark-mode": "25%", "search-v2": "false" })) await put(`/shop/features/${name}`, value);
for (const max of [16, 24, 32]) await api("PUT", "/v1/keys/shop/database", pool(max), JSON_TYPE);
for (const [workers, level] of [[4, "warn"], [8, "warn"], [8, "info"], [16, "info"]]) await put("/shop/nginx.conf", nginx(workers, level));
await put("/shop/motd", "Deploys are frozen until Monday.\n");
await put("/shop/maintenance?ttl=47m", "reindexing the catalogue");
await put("/shop/currency", "EUR");
await api("PUT", "/v1/keys/shop/logo.png", new Uint8Array(Array.from({ length: 3811 }, (_, at) => (at * 37) % 256)), { "Content-Type": "image/png" });
for (const region of ["eu-central", "eu-west", "us-east"]) for (let at = 1; at <= 4; at += 1) await api("PUT", `/v1/keys/shop/regions/${region}/node-${at}`, JSON.stringify({ weight: at * 10, zone: "abcd"[at - 1] }), JSON_TYPE);
for (const job of ["resize 4711", "resize 4712", "mail 9"]) await api("POST", "/v1/keys/shop/jobs/", job);
for (const service of ["api", "web"]) for (let at = 1; at <= 3; at += 1) await api("PUT", `/v1/services/${service}/${service}-${at}?ttl=10m`, JSON.stringify({ address: `10.0.0.${at}`, port: 8080 }), JSON_TYPE);
await api("POST", "/v1/locks/nightly-backup", '{"ttl":"10m","owner":"worker-3"}', JSON_TYPE);
// They follow until the end.
const stops = [];
for (const [place, program] of [["features/", "shop-web/4.2"], ["features/dark-mode", "shop-api/2.0"], ["database", "shop-api/2.0"], ["", "audit/1.3"]]) stops.push(await follow(`/v1/watch/shop/${place}`, program));

await flow(async ({ visit, expect }) => {
  // What is no YAML, and a revision that was not the last.
  expect("400");
  expect("412");
  for (const [width, height] of [[1440, 900], [390, 844]]) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await visit("/console/keys/shop/", { colorScheme, viewport: { width, height } });
      const picture = async (name) => {
        await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {}))));
        await page.screenshot({ path: `${folder}${name}-${width}-${colorScheme}.png` });
      };
      const go = async (path, there) => {
        await page.goto(base + path);
        await page.locator(there).first().waitFor();
        if (width > 800 && path.startsWith("/console/keys")) await page.locator(".tree-row[aria-selected=true]").waitFor();
        await isLive(page);
      };
      await go("/console/keys/shop/", ".table-row");
      await picture("keys");
      await go("/console/keys/shop/database", "json-view details");
      await picture("key");
      await page.getByRole("button", { name: "Edit" }).click();
      await page.getByRole("button", { name: "YAML" }).click();
      await page.getByText("Saved as JSON.").waitFor();
      const yaml = await page.locator("value-editor textarea").inputValue();
      await page.locator("value-editor textarea").fill(yaml.replace("max: 32", "max: [32"));
      await page.locator("value-editor .problem").waitFor();
      await picture("yaml");
      await page.getByRole("button", { name: "Cancel" }).click();
      await answer(page, "Discard");
      await go("/console/keys/shop/nginx.conf?view=history", ".diff-row");
      await picture("history");
      await go("/console/services?name=web", "td");
      await picture("services");
      await go("/console/leases?lock=nightly-backup", "td");
      await picture("leases");
      await go("/console/cluster", ".watched a");
      await until("the charts have a line", async () => (await page.locator("polyline").first().getAttribute("points"))?.split(" ").length > 3);
      await picture("cluster");
      await go("/console/search?text=internal", ".table-row");
      await picture("search");
      await go("/console/changes", "changes-page");
      for (let at = 0; at < 9; at += 1) {
        await put(`/shop/features/${["dark-mode", "search-v2", "new-checkout"][at % 3]}`, `${at * 10}%`);
        if (at % 4 === 3) {
          await put("/shop/regions/eu-west/lock", "worker-7");
          await api("DELETE", "/v1/keys/shop/regions/eu-west/lock");
        }
      }
      await page.locator(".table-row").nth(11).waitFor();
      await picture("changes");
      await go("/console/keys/shop/nginx.conf", "value-view pre");
      await page.getByRole("button", { name: "Edit" }).click();
      await page.locator("value-editor textarea").fill(nginx(16, "info").replace("keepalive_timeout 65", "keepalive_timeout 30"));
      await put("/shop/nginx.conf", nginx(16, "error"));
      await page.keyboard.press("Control+s");
      await page.locator("dialog .three").waitFor();
      await picture("conflict");
      await put("/shop/nginx.conf", nginx(16, "info"));
      await page.context().close();
    }
  }
});
for (const stop of stops) stop();
