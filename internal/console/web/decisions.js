// Decisions, each opening to what it was made from.
import {useState} from "./vendor/hooks.js";
import {address, html, Link, Scroll, turn, useAsk} from "./base.js";
import {isStale} from "./live.js";
import {age, clock, count, dollars, effects, figure, length, marks, rate} from "./words.js";

/** @param {{live: import("./live.js").Live, query: URLSearchParams}} props */
export function Decisions({live, query}) {
  const model = query.get("model") ?? "", of = query.get("of") ?? "", at = query.get("at") ?? "";
  const every = query.get("all") !== null;
  const limit = Math.min(500, Number(query.get("limit")) || 100);
  const {answer, fault} = useAsk("decisions", {model, since: every ? "-720h" : "-24h", limit, acted: every ? undefined : "true"}, isStale(live) ? 0 : 3000);
  const list = /** @type {API.Decisions | null} */ (answer);
  const names = [...live.models.keys()].sort();
  const all = list?.decisions ?? [];
  const shown = all;
  return html`<h1 class="unseen">Decisions</h1>
    <div class="bar filters">
      <label>Model <select value=${model} onChange=${(/** @type {any} */ e) => turn({model: e.target.value, of: e.target.value || null, at: null})}>
        <option value="">all</option>${names.map((n) => html`<option value=${n}>${n}</option>`)}</select></label>
      <label><input type="checkbox" checked=${every} onChange=${(/** @type {any} */ e) => turn({all: e.target.checked ? "1" : null})} /> also those that kept what was there</label>
      ${(of || model) && html`<${Link} href=${address("/decisions", {model, of: of || model, all: query.get("all")})} data-keep="1">Why now?<//>`}
    </div>
    <div class=${of ? "split" : ""}>
      ${of && html`<${Explained} model=${of} at=${at} live=${live} />`}
      <section aria-labelledby="list" class="list">
        <h2 id="list">${every ? "Decisions" : "Decisions that acted"}, newest first</h2>
        ${fault && html`<p class="empty">${fault}</p>`}
        ${list?.faults.map((f) => html`<p class="empty">Could not be read: ${f}</p>`)}
        ${list && shown.length === 0 && html`<p class="empty">${every ? "Nothing was decided yet." : "No replica was started or drained in the last day."}</p>`}
        <ol class="decisions">${shown.map((d) => html`<${Item} key=${d.model + d.at} d=${d} open=${d.model === of && Date.parse(d.at) === Date.parse(at)} query=${query} />`)}</ol>
        ${all.length >= limit && limit < 500 && html`<button onClick=${() => turn({limit: Math.min(500, limit + 200)}, true)}>Show more</button>`}
      </section>
    </div>`;
}

/** @param {{d: API.Decision, open: boolean, query: URLSearchParams}} props */
function Item({d, open, query}) {
  const reason = d.changes.flatMap((c) => c.reasons).concat(d.reasons)[0];
  return html`<li class=${open ? "open" : ""}><${Link} data-keep="1" aria-current=${open ? "true" : undefined} href=${address("/decisions", {model: query.get("model"), all: query.get("all"), limit: query.get("limit"), of: d.model, at: d.at})}>
    <time datetime=${d.at}>${clock(new Date(d.at))}</time> <span class="who">${d.model}</span> <b>${d.headline}</b><//>
    ${reason && html`<p>${reason.text} <code>${reason.code}</code></p>`}</li>`;
}

/** One decision: why, why not more, from what. @param {{model: string, at: string, live: import("./live.js").Live}} props */
function Explained({model, at, live}) {
  const {answer, fault} = useAsk("explain", {model, at}, at || isStale(live) ? 0 : 2000);
  const e = /** @type {API.Explanation | null} */ (answer);
  if (fault && !e) return html`<section class="explained" aria-live="polite"><h2>${model}</h2><p class="empty">${fault}</p></section>`;
  if (!e) return html`<section class="explained"><h2>${model}</h2><p class="empty">Reading the journal…</p></section>`;
  const reasons = unique([...e.reasons, ...e.changes.flatMap((c) => c.reasons)]);
  const cost = e.plan.reduce((n, p) => n + p.cost_per_hour, 0);
  const next = e.plan.find((p) => p.replicas > 0) ?? e.plan[0];
  return html`<section class="explained" aria-labelledby="explained">
    <p class="when"><time datetime=${e.at}>${clock(new Date(e.at))}.${String(new Date(e.at).getMilliseconds()).padStart(3, "0")}</time> · <${Link} href=${address("/model", {name: e.model, at: at ? e.at : null})}>${e.model}<//> · ${marks[e.condition]} ${e.condition}${at ? (e.age_seconds >= 2 ? ` · the newest before ${clock(new Date(e.asked))}` : "") : " · now"}</p>
    <h2 id="explained">${e.headline}</h2>
    ${["because", "could_not", "did_not"].map((effect) => {
      const some = reasons.filter((r) => r.effect === effect);
      return some.length > 0 && html`<div class=${`effect ${effect}`}><h3>${effects[effect]}</h3><ul>${some.map((r) => html`<li>${r.text} <code>${r.code}</code></li>`)}</ul></div>`;
    })}
    ${e.alerts.length > 0 && html`<div class="effect could_not"><h3>Alert</h3><ul>${e.alerts.map((a) => html`<li>${a}</li>`)}</ul></div>`}
    <div class="effect"><h3>Does</h3><p>${does(e)}</p></div>
    <div class="effect"><h3>Costs</h3><p>${dollars(cost)}/h for the plan${next && next.replicas > 0 ? `; one more on ${next.variant} would add ${dollars(next.cost_per_hour / next.replicas)}/h` : ""}.</p></div>
    ${e.last_change && e.last_change.at !== e.at && html`<div class="effect"><h3>Last change</h3><p><${Link} data-keep="1" href=${address("/decisions", {model: e.model, of: e.model, at: e.last_change.at})}>${clock(new Date(e.last_change.at))}: ${e.last_change.headline}<//></p></div>`}
    <div class="effect"><h3>Rules</h3><p class="rules">${reasons.map((r, i) => html`${i > 0 ? " → " : ""}<code>${r.code}</code>`)}</p></div>
    ${e.forecast && html`<div class="effect"><h3>Planned for</h3><p>${rate(e.forecast.upper_per_second)} requests/s within ${length(e.forecast.horizon_seconds)} (mean ${rate(e.forecast.mean_per_second)}, p${Math.round(100 * e.forecast.quantile)}), of ${count(Math.round(e.forecast.prompt_tokens))} prompt and ${count(Math.round(e.forecast.output_tokens))} output tokens: ${e.required.toFixed(1)} at replicas at once.</p></div>`}
    <${Scroll} label="Table of the plan"><table><caption>The plan</caption><thead><tr><th scope="col">Variant</th><th scope="col">Bought as</th><th scope="col" class="n">Replicas</th><th scope="col" class="n">At once (B*)</th><th scope="col" class="n">Requests/s of one</th><th scope="col" class="n">$/h</th></tr></thead>
      <tbody>${e.plan.map((p) => html`<tr><th scope="row">${p.variant}</th><td>${p.capacity}</td><td class="n">${p.replicas}</td><td class="n">${p.batch_limit || "misses the SLO"}</td><td class="n">${figure(p.per_replica_per_second)}</td><td class="n">${p.cost_per_hour.toFixed(2)}</td></tr>`)}</tbody></table><//>
    <${Saw} seen=${e.seen} replicas=${e.replicas} />
    <p class="bar"><${Copy} /><a href=${address("/api/v1/explain", {model, at: e.at})}>Raw JSON</a></p>
  </section>`;
}

/** @param {API.Reason[]} all */
function unique(all) {
  /** @type {Set<string>} */
  const seen = new Set();
  return all.filter((r) => !seen.has(r.text) && seen.add(r.text));
}

/** @param {API.Explanation} e */
function does(e) {
  const parts = e.changes.filter((c) => c.start > 0 || c.drain.length > 0).map((c) => {
    const verbs = [];
    if (c.start > 0) verbs.push(`starts ${c.start}`);
    if (c.drain.length > 0) verbs.push(`drains ${c.drain.slice(0, 8).join(", ")}${c.drain.length > 8 ? ` and ${c.drain.length - 8} more` : ""}`);
    return `${verbs.join(", ")} on ${c.variant}${c.dry_run ? " (only advised)" : ""}`;
  });
  return parts.length ? `${parts.join("; ")}.` : "Nothing: what is there stays.";
}

/** What it was made from. @param {{seen: API.Seen[], replicas: API.Replicas}} props */
function Saw({seen, replicas}) {
  const [every, show] = useState(false);
  const known = seen.filter((s) => s.value != null);
  const oldest = Math.max(0, ...known.map((s) => s.age_seconds ?? 0));
  const rows = every ? seen : seen.filter((s) => s.of === "gateway");
  return html`<${Scroll} label="Table of what it saw"><table><caption>It saw ${known.length} signals, the oldest ${age(oldest)} old${seen.length > known.length ? `; ${seen.length - known.length} absent and not used` : ""}. ${replicas.ready} ready, ${replicas.starting} loading, ${replicas.draining} draining.</caption>
    <thead><tr><th scope="col">Signal</th><th scope="col">Of</th><th scope="col" class="n">Value</th><th scope="col">Unit</th><th scope="col" class="n">Age then</th></tr></thead>
    <tbody>${rows.map((s) => html`<tr key=${s.of + s.signal}><th scope="row">${s.signal}</th><td>${s.of}</td><td class="n">${s.value == null ? html`<span class="absent">◇ absent</span>` : figure(s.value)}</td><td>${s.unit}</td><td class="n">${s.age_seconds == null ? "–" : age(s.age_seconds)}</td></tr>`)}</tbody></table><//>
    ${rows.length < seen.length && html`<button onClick=${() => show(true)}>And ${seen.length - rows.length} of its replicas</button>`}`;
}

function Copy() {
  const [said, say] = useState("Copy link");
  const copy = async () => {
    await navigator.clipboard.writeText(location.href).then(() => say("Copied"), () => say("The browser forbids it"));
    setTimeout(() => say("Copy link"), 2000);
  };
  return html`<button onClick=${copy}>${said}</button>`;
}
