// The console's page in a browser, against the real API: of a fleet that the Go
// tests make up (small, big, locked), and of a real `penstock serve` with
// emulated engines. `make test-console` runs it; screenshots are in SHOTS.
import assert from "node:assert/strict";
import {spawn} from "node:child_process";
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import {cpus, loadavg, tmpdir} from "node:os";
import path from "node:path";
import {createInterface} from "node:readline";
import {after, before, test} from "node:test";
import {chromium} from "playwright-core";

const {PENSTOCK, GO_TESTS, SHOTS = "shots", CHROMIUM = "/usr/bin/chromium"} = process.env;
const axe = readFileSync(new URL(import.meta.resolve("axe-core/axe.min.js")), "utf8");
const token = "a-token-of-the-tests-0123456789";

/** @type {import("playwright-core").Browser} */
let browser;
let made, serve, dir;
const at = {};

/** Starts a process and waits until it has printed every address. */
function start(command, args, options, wanted, of) {
  const child = spawn(command, args, options);
  const found = new Promise((resolve, reject) => {
    let missing = wanted.length;
    createInterface({input: child[of]}).on("line", (line) => {
      for (const [name, match] of wanted) {
        const m = line.match(match);
        if (m && !at[name]) {
          at[name] = m[1];
          if (--missing === 0) resolve(child);
        }
      }
    });
    child.on("exit", (code) => reject(new Error(`${command} ended with ${code}`)));
    setTimeout(() => reject(new Error(`${command} said nothing`)), 30_000).unref();
  });
  return found;
}

const config = (state) => `
apiVersion: penstock.dev/v1alpha1
kind: ServerConfig
spec:
  listen: 127.0.0.1:0
  console: 127.0.0.1:0
  stateDir: ${state}
  gpus: [{type: nvidia-l4, count: 4}]
  drainTimeout: 2s
---
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: quick}
spec:
  model: quick
  slo: {ttft: 2s, tpot: 100ms, maxHold: 60s}
  variants:
  - name: one
    accelerator: {type: nvidia-l4, count: 1}
    profile: {name: 8b-l4}
    coldStart: 1s
    run: {command: ["{{penstock}}", emulate, --port, "{{port}}", --model, quick, --profile, 8b-l4, --load-delay, 1s]}
`;

before(async () => {
  mkdirSync(SHOTS, {recursive: true});
  dir = mkdtempSync(path.join(tmpdir(), "console-"));
  made = await start(GO_TESTS, ["-test.run=^TestServesForBrowsers$"], {stdio: ["pipe", "pipe", "inherit"], env: {...process.env, PENSTOCK_BROWSE: "1"}},
    ["small", "big", "locked"].map((n) => [n, new RegExp(`^${n} (http\\S+)`)]), "stdout");
  browser = await chromium.launch({executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"]});
});

after(async () => {
  await browser?.close();
  made?.removeAllListeners("exit");
  made?.stdin.end();
  serve?.removeAllListeners("exit");
  serve?.kill("SIGTERM");
  if (serve) await new Promise((done) => serve.once("exit", done));
  rmSync(dir, {recursive: true, force: true});
});

/** Opens a page and fails the test on anything that goes wrong in it. */
async function open(t, url, {width = 1280, height = 720, scheme = "light", motion = "no-preference"} = {}) {
  const context = await browser.newContext({viewport: {width, height}, colorScheme: scheme, reducedMotion: motion});
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") wrong.push(m.text()); });
  page.on("pageerror", (e) => wrong.push(e.message));
  t.after(async () => {
    await context.close();
    assert.deepEqual(wrong.filter((w) => !(page.allowed && page.allowed.test(w))), [], "the browser complains");
  });
  await page.goto(url);
  return page;
}

/** Waits until a text is wholly within what is seen without scrolling. */
async function seen(page, text) {
  const found = page.getByText(text).first();
  await found.waitFor({timeout: 10_000});
  const box = await found.boundingBox();
  const {width, height} = page.viewportSize();
  assert.ok(box && box.y >= 0 && box.y + box.height <= height && box.x >= 0 && box.x + box.width <= width + 1, `${text} is not in sight: ${JSON.stringify(box)}`);
}

const shot = (page, name) => page.screenshot({path: path.join(SHOTS, `${name}.png`)});
const views = {fleet: "/", model: "/model?name=chat", decisions: "/decisions?model=chat&of=chat", replicas: "/replicas?replica=chat-1"};
const ready = {fleet: "Models, the most hurt first", model: "Batch limit B*", decisions: "It saw", replicas: "loading weights"};

test("five questions are answered without a scroll", async (t) => {
  const page = await open(t, at.small);
  await seen(page, /1 of 5 models misses its objective\. chat: TTFT 2\.\d s, over its limit of 800 ms/); // who is hurt
  await page.waitForTimeout(2500);
  await seen(page, /chat: TTFT.*, for at least \d/); // since when
  await seen(page, "wanted 9, allowed 8: no nvidia-a100-80gb is free, 8 of 8 are in use"); // why not 9
  await seen(page, "$25.20"); // what it costs
  await seen(page, "5 (+3) → 9");
  await page.getByRole("link", {name: /wanted 9, allowed 8/}).click();
  await seen(page, "kept 8 on a100, wanted 9");
  await seen(page, "demand in 31 s is 17.2 requests/s; five serve 13.0 within 800 ms"); // why 8
  await seen(page, /one more on a100 would add \$2\.10\/h/);
});

test("on a phone too, who is hurt, since when, why and for how much", async (t) => {
  const page = await open(t, at.small, {width: 390, height: 844});
  await seen(page, /1 of 5 models misses its objective/);
  await seen(page, "wanted 9, allowed 8: no nvidia-a100-80gb is free, 8 of 8 are in use");
  await seen(page, "$25.20");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390, "it scrolls sideways");
});

for (const [name, address] of Object.entries(views)) {
  for (const scheme of ["light", "dark"]) {
    for (const [width, height] of [[1280, 720], [390, 844]]) {
      test(`${name}, ${scheme}, ${width} wide: nobody is shut out`, async (t) => {
        const page = await open(t, at.small + address, {width, height, scheme});
        await page.getByText(ready[name]).first().waitFor();
        await page.waitForTimeout(1200);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= width, "it scrolls sideways");
        await shot(page, `${name}-${scheme}-${width}`);
        // With what the test runner may do and the page may not.
        const found = await (await page.context().newCDPSession(page)).send("Runtime.evaluate", {
          expression: `${axe}; axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations.map((v) => [v.id, v.help, v.nodes.map((n) => n.html + " " + n.failureSummary).slice(0, 3)])))`,
          awaitPromise: true, returnByValue: true,
        });
        assert.deepEqual(JSON.parse(found.result.value), []);
      });
    }
  }
}

test("the address is the state, and Back goes back", async (t) => {
  const page = await open(t, at.small);
  await page.getByRole("link", {name: "chat", exact: true}).first().click();
  await page.getByRole("heading", {name: "Batch limit B*"}).waitFor();
  assert.equal(new URL(page.url()).search, "?name=chat");
  await page.getByRole("button", {name: "6 h"}).click();
  assert.equal(new URL(page.url()).searchParams.get("range"), "6 h");
  await page.reload();
  assert.equal(await page.getByRole("button", {name: "6 h"}).getAttribute("aria-pressed"), "true");
  await page.getByRole("link", {name: "Decisions", exact: true}).click();
  await page.getByText("Decisions that acted, newest first").waitFor();
  await page.getByRole("link", {name: /3 to 4 on a100/}).first().click();
  await page.getByRole("heading", {name: "Because"}).waitFor();
  const there = new URL(page.url());
  assert.ok(there.searchParams.get("at") && there.searchParams.get("of") === "chat");
  await page.goBack();
  await page.goBack();
  assert.equal(new URL(page.url()).pathname, "/model");
  await page.getByRole("heading", {name: "Batch limit B*"}).waitFor();
  assert.equal(await page.title(), "chat · Penstock");
});

test("the keyboard reaches all, and moves the time", async (t) => {
  const page = await open(t, at.small);
  await page.getByText(ready.fleet).waitFor();
  const reached = [];
  for (let i = 0; i < 14; i++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement?.getAttribute("aria-label") || document.activeElement?.textContent?.slice(0, 30)));
  }
  for (const want of ["Skip to the content", "Fleet", "Decisions", "Replicas", "chat"]) assert.ok(reached.includes(want), `${want} is not among ${reached}`);
  await page.goto(at.small + views.model);
  const charts = page.getByRole("group", {name: /Charts/});
  await charts.waitFor();
  await page.waitForTimeout(2500);
  await charts.focus();
  await page.keyboard.press("Home");
  await page.getByText("what was decided, and from what").waitFor();
  const first = new URL(page.url()).searchParams.get("at");
  // A second later, where the charts have one by now.
  const second = () => new URL(page.url()).searchParams.get("at");
  for (let i = 0; i < 20 && !(Date.parse(second()) > Date.parse(first)); i++) {
    await page.keyboard.press("ArrowRight");
    await page.waitForTimeout(250);
  }
  assert.ok(Date.parse(second()) > Date.parse(first), `${first}, then ${second()}`);
  await page.keyboard.press("Escape");
  assert.equal(new URL(page.url()).searchParams.get("at"), null);
});

test("charts are drawn and stand in a table too", async (t) => {
  const page = await open(t, at.small + views.model);
  await page.waitForTimeout(3000);
  const drawn = await page.evaluate(() => [...document.querySelectorAll("canvas")].map((c) => {
    const {data} = c.getContext("2d").getImageData(0, 0, c.width, c.height);
    const colours = new Set();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) colours.add(`${data[i] >> 5},${data[i + 1] >> 5},${data[i + 2] >> 5}`);
    return colours.size;
  }));
  assert.ok(drawn.length === 7 && drawn.every((n) => n >= 2), `colours in the charts: ${drawn}`);
  await page.getByText("The same as a table").click();
  const table = page.getByRole("region", {name: "The charts as a table"});
  await table.waitFor();
  assert.ok(await table.getByRole("row").count() >= 3);
  assert.ok(await table.getByText("800", {exact: true}).count() >= 2, "the limit of TTFT, in ms");
});

test("what is old is shown as old, with its age", async (t) => {
  const page = await open(t, at.small);
  await page.getByText(/^live/).waitFor();
  made.stdin.write("stop\n");
  try {
    await page.getByText(/◇ data \d+ s old · the loop does not tick/).waitFor({timeout: 15_000});
    assert.equal(await page.locator("main.stale").count(), 1);
    await shot(page, "stale");
  } finally {
    made.stdin.write("go\n");
  }
  await page.getByText(/^live/).waitFor({timeout: 15_000});
  assert.equal(await page.locator("main.stale").count(), 0);
});

test("a connection that breaks is made again", async (t) => {
  const begin = (port) => start(GO_TESTS, ["-test.run=^TestServesForBrowsers$"], {stdio: ["pipe", "pipe", "inherit"], env: {...process.env, PENSTOCK_BROWSE: "1", PENSTOCK_BROWSE_PORT: port}},
    [["gone", /^small (http\S+)/]], "stdout");
  const end = (child) => { child.removeAllListeners("exit"); child.stdin.end(); };
  const gone = await begin("0");
  gone.removeAllListeners("exit");
  const page = await open(t, at.gone);
  page.allowed = /ERR_|Failed to load resource/;
  await page.getByText(/^live/).waitFor();
  // A server that goes away and comes back where it was.
  const [, , port] = at.gone.split(":");
  gone.kill("SIGKILL");
  await page.getByText(/connecting again/).waitFor({timeout: 15_000});
  await page.getByText(/◇ data \d+ s old · connecting again/).waitFor({timeout: 15_000});
  delete at.gone;
  const back = await begin(port);
  t.after(() => end(back));
  await page.getByText(/^live/).waitFor({timeout: 30_000});
  assert.equal(await page.locator("main.stale").count(), 0);
});

test("who wants calm has calm", async (t) => {
  const page = await open(t, at.small, {motion: "reduce"});
  await page.locator(".pulse").waitFor();
  assert.equal(await page.locator(".pulse").evaluate((e) => getComputedStyle(e).animationName), "none");
});

test("colours can be chosen, and the choice stays", async (t) => {
  const page = await open(t, at.small);
  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await paper();
  await page.getByRole("button", {name: "Colours: auto. Change."}).click();
  await page.getByRole("button", {name: "Colours: light. Change."}).click();
  await page.getByRole("button", {name: "Colours: dark. Change."}).waitFor();
  assert.notEqual(await paper(), light);
  await page.reload();
  await page.getByText(/^live/).waitFor();
  assert.notEqual(await paper(), light);
});

test("a console that others reach asks for its token", async (t) => {
  const page = await open(t, at.locked + "/model?name=chat");
  await page.getByLabel("Token").fill("not the token at all");
  await page.getByRole("button", {name: "Open the console"}).click();
  await page.getByText("That is not the token.").waitFor();
  await shot(page, "login");
  await page.getByLabel("Token").fill(token);
  await page.keyboard.press("Enter");
  await page.getByText(/^live/).waitFor();
  const [cookie] = await page.context().cookies();
  assert.ok(cookie.httpOnly && cookie.sameSite === "Strict" && !cookie.value.includes(token));
  assert.equal(await page.evaluate(() => document.cookie), "", "a script sees the session");
});

test("a thousand models: small, and none of them writes the page", async (t) => {
  const paints = [], sizes = [], updates = [];
  let heap = 0;
  for (let i = 0; i < 5; i++) {
    const page = await open(t, "about:blank");
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("Network.enable");
    await cdp.send("Performance.enable", {timeDomain: "threadTicks"}); // what it takes and not what it waits for
    let bytes = 0;
    cdp.on("Network.dataReceived", (e) => { bytes += e.encodedDataLength || e.dataLength; });
    await page.addInitScript(() => {
      new MutationObserver((_, o) => {
        if (document.querySelector(".models tbody tr")) { o.disconnect(); requestAnimationFrame(() => setTimeout(() => { window.tableAt = performance.now(); })); }
      }).observe(document, {childList: true, subtree: true});
      new PerformanceObserver((l) => { window.longest = Math.max(window.longest ?? 0, ...l.getEntries().filter((e) => e.startTime > 1500).map((e) => e.duration)); }).observe({type: "longtask", buffered: true});
    });
    await page.goto(at.big);
    await page.waitForFunction(() => window.tableAt);
    const [paint, table] = await page.evaluate(() => [performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0, window.tableAt]);
    const {metrics} = await cdp.send("Performance.getMetrics");
    paints.push([Math.round(paint), Math.round(table), Math.round(1000 * (metrics.find((m) => m.name === "TaskDuration")?.value ?? Infinity))]);
    sizes.push(bytes);
    if (i === 0) {
      await page.waitForTimeout(3500);
      updates.push(await page.evaluate(() => Math.round(window.longest ?? 0)));
      heap = (await cdp.send("Runtime.getHeapUsage")).usedSize;
      assert.equal(await page.locator(".models tbody tr").count(), 50);
      await page.getByRole("searchbox").fill("img");
      await page.getByText("<img src=x").first().waitFor();
      assert.notEqual(await page.title(), "pwned");
      assert.equal(await page.locator("main img").count(), 0);
      await shot(page, "thousand");
    }
    await page.close();
  }
  t.diagnostic(`first paint, the table and the page's own work until then, ms: ${paints.map((p) => p.join(" and ")).join(", ")}; ${Math.max(...sizes)} bytes; heap ${(heap / 1e6).toFixed(1)} MB; longest task later ${updates} ms; load ${loadavg()[0]} on ${cpus().length} cores`);
  assert.ok(Math.max(...sizes) <= 2 << 20, `${Math.max(...sizes)} bytes`);
  assert.ok(heap < 60e6, `${heap} bytes of heap`);
});

test("a real penstock with emulated engines, from asleep to serving", async (t) => {
  writeFileSync(path.join(dir, "p.yaml"), config(path.join(dir, "state")));
  serve = await start(PENSTOCK, ["serve", "-f", path.join(dir, "p.yaml")], {stdio: ["ignore", "ignore", "pipe"]},
    [["gateway", /gateway +(http\S+?)\/v1/], ["console", /console +(http\S+)/]], "stderr");
  const page = await open(t, at.console);
  await page.getByText(/quick is asleep/).waitFor({timeout: 20_000});
  const reply = fetch(`${at.gateway}/v1/completions`, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({model: "quick", prompt: "hello", max_tokens: 60})});
  await page.getByText(/quick is loading/).waitFor({timeout: 20_000});
  await page.getByText(/quick meets its objective/).waitFor({timeout: 30_000});
  assert.equal((await reply).status, 200);
  await page.getByText("0 → 1 on one").waitFor({timeout: 15_000});
  await page.getByRole("link", {name: "quick", exact: true}).first().click();
  await page.getByRole("heading", {name: "Batch limit B*"}).waitFor();
  await page.getByRole("rowheader", {name: /quick-one/}).getByRole("link").click();
  await page.getByText("emulated engine: no model is loaded").waitFor();
  await shot(page, "real");
});
