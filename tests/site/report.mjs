// Measures pages of the built site: node report.mjs SITE BROWSER [PAGE ...]
// Prints a table, and fails when a page misses its mark.
import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, relative, sep } from "node:path";
import { createGzip } from "node:zlib";
import * as chromeLauncher from "chrome-launcher";
import lighthouse, { desktopConfig } from "lighthouse";
import puppeteer from "puppeteer-core";

const [site, chromePath, ...chosen] = process.argv.slice(2);
const SPEED = 95; // of the heaviest chapter on a phone, median of three
const FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript",
  ".svg": "image/svg+xml", ".json": "application/json", ".png": "image/png", ".woff2": "font/woff2",
  ".txt": "text/plain", ".xml": "application/xml" };
const PACKED = new Set([".html", ".css", ".js", ".svg", ".json", ".txt", ".xml"]);

// A server as the web has them: compressed text, and a time to keep.
const server = createServer((request, response) => {
  let path = join(site, decodeURIComponent(new URL(request.url, "http://x").pathname));
  if (existsSync(path) && statSync(path).isDirectory()) path = join(path, "index.html");
  if (!path.startsWith(site) || !existsSync(path)) return response.writeHead(404).end();
  const kind = extname(path), packed = PACKED.has(kind);
  response.writeHead(200, { "content-type": TYPES[kind] ?? "application/octet-stream",
    "cache-control": "max-age=600", ...(packed && { "content-encoding": "gzip" }) });
  const file = createReadStream(path);
  (packed ? file.pipe(createGzip()) : file).pipe(response);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const top = `http://127.0.0.1:${server.address().port}/`;

function* pagesUnder(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && !entry.name.startsWith("_")) yield* pagesUnder(path);
    else if (entry.name.endsWith(".html") && !readFileSync(path, "utf8").slice(0, 800).includes('http-equiv="refresh"'))
      yield relative(site, path).split(sep).join("/");
  }
}
const all = [...pagesUnder(site)].sort();
const pages = chosen.length ? chosen.map((name) => name.replace(/(\.html)?$/, ".html")) : all;
const size = (page) => statSync(join(site, page)).size;
const chapters = pages.filter((page) => page.startsWith("book/"));
const heaviest = chapters.sort((a, b) => size(b) - size(a))[0] ?? pages[0];

const chrome = await chromeLauncher.launch({ chromePath, chromeFlags: FLAGS });
const browser = await puppeteer.connect({ browserURL: `http://127.0.0.1:${chrome.port}` });
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function measure(page, desktop) {
  const options = { port: chrome.port, output: "json", logLevel: "silent" };
  const { lhr } = await lighthouse(top + page, options, desktop ? desktopConfig : undefined);
  const score = (name) => Math.round(100 * (lhr.categories[name]?.score ?? 0));
  const value = (name) => lhr.audits[name]?.numericValue ?? NaN;
  const failed = ["accessibility", "best-practices", "seo"].flatMap((c) => lhr.categories[c].auditRefs
    .filter(({ id, weight }) => weight && lhr.audits[id].score !== null && lhr.audits[id].score < 1).map(({ id }) => id));
  return { speed: score("performance"), access: score("accessibility"), practice: score("best-practices"), seo: score("seo"),
    lcp: value("largest-contentful-paint") / 1000, block: value("total-blocking-time"), shift: value("cumulative-layout-shift"),
    kb: value("total-byte-weight") / 1024, elements: value("dom-size-insight") || value("dom-size"), failed };
}

async function axe(page) {
  const found = [];
  for (const width of [390, 1280])
    for (const scheme of ["light", "dark"]) {
      const tab = await browser.newPage();
      await tab.setViewport({ width, height: 844 });
      await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await tab.goto(top + page, { waitUntil: "load" });
      await tab.evaluate(() => document.querySelectorAll("details").forEach((box) => (box.open = true)));
      await tab.evaluate(axeSource);
      const { violations } = await tab.evaluate(() => axe.run());
      for (const v of violations) found.push(`${v.id} (${v.nodes.length}, ${width} ${scheme}): ${v.nodes[0].html.replace(/\s+/g, " ").slice(0, 90)}`);
      await tab.close();
    }
  return found;
}

const median = (runs) => runs.sort((a, b) => a.speed - b.speed)[Math.floor(runs.length / 2)];
const row = (cells) => cells.map((cell, i) => (i ? String(cell).padStart(8) : String(cell).padEnd(44))).join("");
const misses = [];
console.log(row(["page", "device", "speed", "access", "practice", "SEO", "LCP s", "block ms", "shift", "kB", "axe"]));
for (const page of pages) {
  const violations = await axe(page);
  for (const desktop of [false, true]) {
    const runs = [];
    for (let run = 0; run < (page === heaviest && !desktop ? 3 : 1); run++) runs.push(await measure(page, desktop));
    const m = median(runs);
    console.log(row([page, desktop ? "desktop" : "phone", m.speed, m.access, m.practice, m.seo, m.lcp.toFixed(2),
      m.block.toFixed(0), m.shift.toFixed(3), m.kb.toFixed(0), desktop ? "" : violations.length]));
    if (m.failed.length) misses.push(`${page} (${desktop ? "desktop" : "phone"}): ${m.failed.join(", ")}`);
    if (page === heaviest && !desktop && m.speed < SPEED) misses.push(`${page}: speed ${m.speed} on a phone`);
  }
  misses.push(...violations.map((text) => `${page}: axe ${text}`));
}
console.log(`\nThe heaviest chapter is ${heaviest}: the median of three runs on a phone.`);
for (const miss of misses) console.log(`MISSED  ${miss}`);
if (!misses.length) console.log("Every page reaches its mark.");
await browser.disconnect();
chrome.kill();
server.close();
process.exit(misses.length ? 1 : 0);
