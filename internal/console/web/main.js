// The page: its head, and the view that the address names.
import {render} from "./vendor/preact.js";
import {useEffect, useState} from "./vendor/hooks.js";
import {html, Link, useAddress, useClock} from "./base.js";
import {ageOf, isStale, useLive} from "./live.js";
import {age, zone} from "./words.js";
import {Fleet} from "./fleet.js";
import {Model} from "./model.js";
import {Decisions} from "./decisions.js";
import {Replicas} from "./replicas.js";

const themes = ["auto", "light", "dark"];

function Page() {
  const {path, query} = useAddress();
  const live = useLive(path === "/model" ? query.get("name") ?? "" : "");
  useClock(1000); // what is old looks old, also when nothing comes any more
  const views = {"/": Fleet, "/model": Model, "/decisions": Decisions, "/replicas": Replicas};
  const View = views[/** @type {keyof typeof views} */ (path)] ?? Fleet;
  useEffect(() => {
    const what = path === "/model" ? query.get("name") : {"/": "Fleet", "/decisions": "Decisions", "/replicas": "Replicas"}[path];
    document.title = `${what ?? "Fleet"} · Penstock`;
  }, [path, query.get("name")]);
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <${Head} path=${path} live=${live} />
    <main id="main" class=${isStale(live) ? "stale" : ""} tabindex="-1">
      ${live.fleet === null
        ? html`<p class="notice" role="status">${live.fault || "Waiting for the first tick…"}</p>`
        : html`<${View} live=${live} query=${query} />`}
    </main>`;
}

/** @param {{path: string, live: import("./live.js").Live}} props */
function Head({path, live}) {
  const [theme, choose] = useState(() => localStorage.getItem("theme") ?? "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    dispatchEvent(new Event("themechange"));
  }, [theme]);
  /** @param {string} to @param {string} name */
  const tab = (to, name) => html`<${Link} href=${to} aria-current=${path === to || (to === "/" && path === "/model") ? "page" : undefined}>${name}<//>`;
  return html`<header class="head">
    <${Link} href="/" class="brand" aria-label="Penstock: the fleet"><svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="7" class="m0"/><path d="M7 8h4v16H7zM21 8h4v16h-4z" class="m1"/><path d="M12.5 14h7v10h-7z" class="m2"/><path d="M14.8 5h2.4v9h-2.4z" class="m1"/></svg><span>Penstock</span><//>
    <nav aria-label="Views">${tab("/", "Fleet")}${tab("/decisions", "Decisions")}${tab("/replicas", "Replicas")}</nav>
    <${Freshness} live=${live} />
    <button class="quiet" onClick=${() => choose(themes[(themes.indexOf(theme) + 1) % themes.length])} aria-label=${`Colours: ${theme}. Change.`} title=${`Colours: ${theme}`}>${{auto: "◐", light: "○", dark: "●"}[theme]}</button>
  </header>`;
}

/** How old what is shown is. @param {{live: import("./live.js").Live}} props */
function Freshness({live}) {
  useClock(1000);
  if (live.fleet === null) return html`<p class="fresh">…</p>`;
  const old = age(ageOf(live));
  return isStale(live)
    ? html`<p class="fresh old" role="status">◇ data ${old} old · ${live.open ? "the loop does not tick" : "connecting again…"} · ${zone()}</p>`
    : html`<p class="fresh"><span class=${live.open ? "pulse" : "pulse off"} aria-hidden="true"></span>${live.open ? "live" : "connecting again…"} · <span class="wide">data </span>${old} old<span class="wide"> · ${zone()}</span></p>`;
}

const root = document.getElementById("page");
if (root) {
  root.textContent = "";
  render(html`<${Page} />`, root);
}
