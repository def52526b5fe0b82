// One model: its charts, what bounds it, its replicas, what was decided.
import {useEffect, useMemo, useRef, useState} from "./vendor/hooks.js";
import {address, ask, html, Link, Scroll, turn, useAsk} from "./base.js";
import {Chart, Cursor} from "./chart.js";
import {isStale} from "./live.js";
import {age, clock, count, dollars, figure, length, marks, percent, rate, replicas, replicasAloud, zone} from "./words.js";
import {Budget} from "./fleet.js";
import {ReplicaTable} from "./replicas.js";

/** @type {Record<string, number>} */
const ranges = {"15 min": 900, "1 h": 3600, "6 h": 21600, "24 h": 86400};
const columns = /** @type {const} */ (["arrivals", "planned", "ready", "starting", "draining", "want", "batch", "room", "held", "in_flight", "ttft", "tpot", "latency", "per_hour"]);

/** @param {{live: import("./live.js").Live, query: URLSearchParams}} props */
export function Model({live, query}) {
  const name = query.get("name") ?? "";
  const status = live.model?.status.name === name ? live.model.status : null;
  const line = live.models.get(name);
  if (!line) {
    return html`<p class="notice">There is no model “${name}”. <${Link} href="/">See the fleet.<//></p>`;
  }
  return html`<${Title} line=${line} live=${live} status=${status} />
    ${status ? html`<${Charts} key=${name} name=${name} live=${live} status=${status} query=${query} />` : html`<p class="empty">Waiting for its next tick…</p>`}
    ${status && html`<${Limits} status=${status} />`}
    <section aria-labelledby="members"><div class="bar"><h2 id="members">Its replicas</h2><${Link} href=${address("/replicas", {model: name})}>With those that ended<//></div>
      <${ReplicaTable} model=${name} stale=${isStale(live)} living=${true} /></section>`;
}

/** @param {{line: API.ModelLine, live: import("./live.js").Live, status: API.ModelStatus | null}} props */
function Title({line, live, status}) {
  const at = live.fleet?.at ?? "";
  const lasts = line.since ? (Date.parse(at) - Date.parse(line.since)) / 1000 : 0;
  const since = line.since && lasts >= 1 ? ` ${line.at_least ? "since before" : "since"} ${clock(new Date(line.since))} (${age(lasts)})` : "";
  return html`<section class=${`sentence${line.condition === "missing" ? " hurt" : ""}`}>
    <h1>${line.name}${line.business_unit && html` <small>${line.business_unit}</small>`}${line.mode !== "auto" && html` <small class="mode">${line.mode}</small>`}</h1>
    <p class="said"><span aria-hidden="true">${marks[line.condition]}</span> <b>${line.condition}</b>${since}: ${line.why}.</p>
    <p>${line.headline}${line.reason && html`. <${Link} href=${address("/decisions", {model: line.name, of: line.name})}>${line.reason}<//> <code>${line.code}</code>`}</p>
    <dl class="figures">
      <div><dt>Replicas</dt><dd><span aria-hidden="true">${replicas(line.replicas)}</span><span class="unseen">${replicasAloud(line.replicas)}</span></dd><dd class="sub">have → want</dd></div>
      <div class="minor"><dt>Requests</dt><dd>${rate(line.arrivals_per_second)}<small>/s</small></dd><dd class="sub">${status?.demand.forecast_per_second == null ? "" : `${rate(status.demand.forecast_per_second)}/s planned for, ${length(status.demand.horizon_seconds)} ahead`}</dd></div>
      <div><dt>At replicas, held</dt><dd>${count(line.in_flight)}, ${count(line.held)}</dd><dd class="sub">${line.batch_limit > 0 ? `up to ${count(line.batch_limit)} at once on each (B*)` : ""}</dd></div>
      <div class="minor"><dt>Error budget left</dt><dd>${line.slo.budget_left == null ? "?" : html`<${Budget} left=${line.slo.budget_left} />`}</dd><dd class="sub">${line.slo.attainment == null ? "no request has ended yet" : `${percent(line.slo.attainment)} good, the objective is ${percent(line.slo.objective)}`}</dd></div>
      <div><dt>Cost now</dt><dd>${dollars(line.per_hour)}<small>/h</small></dd><dd class="sub">${status ? `${dollars(status.cost.spent)} spent` : ""}${line.unpriced ? `, ${line.unpriced} without a price` : ""}</dd></div>
    </dl>
  </section>`;
}

/** Points of a model, kept up: asked for once, then grown by events.
 * @param {string} name @param {number} range seconds @param {import("./live.js").Live} live */
function usePast(name, range, live) {
  const [past, set] = useState(/** @type {API.SeriesView | null} */ (null));
  const [fault, blame] = useState("");
  const fine = range <= 900;
  const [again, next] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    ask("series", {model: name, since: `-${range}s`}, control.signal).then((s) => { set(s); blame(""); }, (f) => { if (!control.signal.aborted) blame(f.message); });
    // Coarse points grow for a while: they are asked for anew.
    const timer = fine ? 0 : setInterval(() => next((n) => n + 1), 10_000);
    return () => { control.abort(); clearInterval(timer); };
  }, [name, range, live.opened, again]);
  const event = live.model;
  useEffect(() => {
    if (!fine || !event || event.status.name !== name) return;
    set((old) => {
      if (!old || event.t[0] <= (old.t.at(-1) ?? 0)) return old;
      const grown = {...old, t: [...old.t, event.t[0]]};
      for (const c of columns) grown[c] = [...old[c], event[c][0]];
      const begin = grown.t.findIndex((t) => t >= event.t[0] - range);
      if (begin > 0) {
        grown.t = grown.t.slice(begin);
        for (const c of columns) grown[c] = grown[c].slice(begin);
      }
      return grown;
    });
  }, [event]);
  return {past, fault};
}

/** Puts a gap where nothing was measured. @param {API.SeriesView} s */
function withGaps(s) {
  /** @type {any} */
  const out = {t: []};
  for (const c of columns) out[c] = [];
  s.t.forEach((t, i) => {
    const before = s.t[i - 1];
    if (i > 0 && t - before > 2.5 * s.step_seconds) {
      out.t.push(before + s.step_seconds);
      for (const c of columns) out[c].push(null);
    }
    out.t.push(t);
    for (const c of columns) out[c].push(s[c][i]);
  });
  return /** @type {API.Columns} */ (out);
}

/** @param {{name: string, live: import("./live.js").Live, status: API.ModelStatus, query: URLSearchParams}} props */
function Charts({name, live, status, query}) {
  const label = Object.keys(ranges).find((r) => r === query.get("range")) ?? "15 min";
  const range = ranges[label];
  const {past, fault} = usePast(name, range, live);
  const {answer} = useAsk("decisions", {model: name, since: `-${range}s`, limit: 500, acted: "true"}, 3000);
  const cursor = useMemo(() => new Cursor(), []);
  const decided = /** @type {API.Decisions | null} */ (answer);
  const acts = decided?.decisions ?? [];
  const points = useMemo(() => (past ? withGaps(past) : null), [past]);
  const now = live.fleet ? Date.parse(live.fleet.at) / 1000 : Date.now() / 1000;
  const at = query.get("at") ? Date.parse(query.get("at") ?? "") / 1000 : null;
  const charts = useMemo(() => (points ? specs(points, status) : []), [points, status.slo.objective]);
  const axis = points && {times: points.t, from: Math.max(now - range, Math.min(points.t[0] ?? now, now - 120)), to: now, step: past?.step_seconds ?? 1, stale: isStale(live), marks: acts.map((d) => ({at: Date.parse(d.at) / 1000, text: d.headline}))};
  const shift = useRef(/** @type {number | null} */ (null));

  // The address says where the cursor stands.
  useEffect(() => {
    if (!points || at === null) return;
    const i = nearest(points.t, at);
    shift.current = i;
    cursor.move(i);
  }, [at, points]);

  /** @param {KeyboardEvent} e */
  const key = (e) => {
    if (!points || !points.t.length) return;
    const last = points.t.length - 1;
    const by = {ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30}[e.key];
    if (e.key === "Escape") { cursor.move(null); turn({at: null}, true); return; }
    const to = e.key === "Home" ? 0 : e.key === "End" ? last : by === undefined ? null : Math.max(0, Math.min(last, (cursor.index ?? last) + by));
    if (to === null) return;
    e.preventDefault();
    cursor.move(to);
    turn({at: new Date(points.t[to] * 1000).toISOString()}, true);
  };
  return html`<section aria-labelledby="charts">
    <div class="bar"><h2 id="charts">The last ${label}</h2>
      <div class="ranges" role="group" aria-label="How far back">${Object.keys(ranges).map((r) => html`<button aria-pressed=${r === label} onClick=${() => turn({range: r === "15 min" ? null : r, at: null})}>${r}</button>`)}</div>
      <span class="legend">▾ a decision that acted · times in ${zone()}</span>
    </div>
    ${fault && html`<p class="empty">${fault}</p>`}
    <${Readout} points=${points} cursor=${cursor} name=${name} acts=${acts} step=${past?.step_seconds ?? 1} />
    ${points && points.t.length === 0 && html`<p class="empty">Nothing was measured in this time: this console has only just begun.</p>`}
    ${axis && points.t.length > 0 && html`<div class="charts" tabindex="0" role="group" aria-label="Charts. Arrow keys move the time, Escape leaves it." onKeyDown=${key}>
      ${charts.map((spec) => html`<${Chart} key=${spec.title} spec=${spec} axis=${axis} cursor=${cursor} onPick=${(/** @type {number} */ t) => turn({at: new Date(t * 1000).toISOString()}, true)} />`)}
    </div>`}
    ${points && points.t.length > 0 && html`<${Table} points=${points} charts=${charts} />`}
  </section>`;
}

/** What the cursor stands at. @param {{points: API.Columns | null, cursor: Cursor, name: string, acts: API.Decision[], step: number}} props */
function Readout({points, cursor, name, acts, step}) {
  const [index, set] = useState(cursor.index);
  useEffect(() => {
    const follow = (/** @type {number | null} */ i) => set(i);
    cursor.followers.add(follow);
    return () => { cursor.followers.delete(follow); };
  }, [cursor]);
  if (!points || index === null || points.t[index] === undefined) {
    const newest = acts[0];
    return html`<p class="readout">${newest ? html`Last change ${clock(new Date(newest.at))}: <${Link} href=${address("/decisions", {model: name, of: name, at: newest.at})}>${newest.headline}<//>` : "No replica was started or drained in this time."}</p>`;
  }
  const t = points.t[index];
  const near = acts.find((d) => { const at = Date.parse(d.at) / 1000; return at <= t + step && at > t - 60 * step; });
  const when = new Date(t * 1000);
  return html`<p class="readout">At <b>${clock(when)}</b>: <${Link} href=${address("/decisions", {model: name, of: name, at: when.toISOString()})}>what was decided, and from what<//>${near && html` · ${clock(new Date(near.at))} ${near.headline}`}</p>`;
}

/** @param {number[]} times @param {number} t */
function nearest(times, t) {
  let best = 0;
  times.forEach((other, i) => { if (Math.abs(other - t) < Math.abs(times[best] - t)) best = i; });
  return best;
}

/** @param {API.Columns} p @param {API.ModelStatus} status @returns {import("./chart.js").Spec[]} */
function specs(p, status) {
  /** @param {...(number | null)[]} parts */
  const sum = (...parts) => parts[0].map((_, i) => (parts.some((c) => c[i] == null) ? null : parts.reduce((n, c) => n + (c[i] ?? 0), 0)));
  /** @param {(number | null)[]} c @param {number} limit */
  const flat = (c, limit) => c.map(() => limit);
  const whole = (/** @type {number} */ v) => (Number.isInteger(v) ? count(v) : "");
  /** @type {import("./chart.js").Spec[]} */
  const all = [
    {title: "Demand", unit: "requests/s", write: figure, series: [
      {name: "planned for", values: p.planned, look: "--s-blue", dash: [6, 4]},
      {name: "arrived", values: p.arrivals, look: "--ink", width: 1.5},
    ]},
    {title: "Replicas", unit: "by phase", write: whole, atLeast: 2, series: [
      {name: "draining", values: sum(p.ready, p.starting, p.draining), told: p.draining, look: "--s-grey", area: true, steps: true},
      {name: "loading", values: sum(p.ready, p.starting), told: p.starting, look: "--s-orange", area: true, steps: true},
      {name: "ready", values: p.ready, look: "--s-blue", area: true, steps: true},
      {name: "wanted", values: p.want, look: "--ink", dash: [5, 3], steps: true, width: 1.5},
    ]},
    {title: "Requests", unit: "at once", write: figure, series: [
      {name: "room at B*", values: p.room, look: "--s-blue", dash: [6, 4], steps: true},
      {name: "at replicas", values: p.in_flight, look: "--ink", width: 1.5},
      {name: "held", values: p.held, look: "--s-orange-line"},
    ]},
    {title: "Batch limit B*", unit: "requests at once on one replica", write: figure, series: [{name: "B*", values: p.batch, look: "--s-blue", steps: true}]},
  ];
  for (const [title, values, of] of /** @type {const} */ ([["TTFT", p.ttft, status.ttft], ["TPOT", p.tpot, status.tpot], ["Latency", p.latency, status.latency]])) {
    if (!of) continue;
    const scale = of.limit_seconds < 1 ? 1000 : 1;
    all.push({title, unit: `${scale === 1000 ? "ms" : "s"}, median at the replicas`, write: figure, atLeast: of.limit_seconds * scale, series: [
      {name: "limit", values: flat(values, of.limit_seconds * scale), look: "--s-bad", dash: [3, 3], width: 1.5},
      {name: "measured", values: values.map((v) => (v == null ? null : v * scale)), look: "--ink", width: 1.5, dots: true},
    ]});
  }
  all.push({title: "Cost", unit: "US dollars per hour", write: (/** @type {number} */ v) => `$${v.toFixed(2)}`, series: [{name: "cost", values: p.per_hour, look: "--s-blue", steps: true}]});
  return all;
}

/** The same in numbers. @param {{points: API.Columns, charts: import("./chart.js").Spec[]}} props */
function Table({points, charts}) {
  const [open, set] = useState(false);
  const most = 60, n = points.t.length, stride = Math.max(1, Math.ceil(n / most));
  const rows = [];
  for (let i = n - 1; i >= 0 && open; i -= stride) rows.push(i);
  return html`<details class="numbers" onToggle=${(/** @type {any} */ e) => set(e.currentTarget.open)}><summary>The same as a table</summary>
    ${open && html`<div class="scroll" tabindex="0" role="region" aria-label="The charts as a table"><table><thead><tr><th scope="col">Time</th>${charts.flatMap((c) => c.series.map((s) => html`<th scope="col" class="n">${c.title}: ${s.name}</th>`))}</tr></thead>
      <tbody>${rows.map((i) => html`<tr key=${points.t[i]}><th scope="row">${clock(new Date(points.t[i] * 1000))}</th>${charts.flatMap((c) => c.series.map((s) => { const v = (s.told ?? s.values)[i]; return html`<td class="n">${v == null ? "–" : c.write(v)}</td>`; }))}</tr>`)}</tbody></table></div>`}
  </details>`;
}

/** What bounds it, by target. @param {{status: API.ModelStatus}} props */
function Limits({status}) {
  return html`<section aria-labelledby="targets"><h2 id="targets">What it may run on</h2>
    <${Scroll} label="Table of variants"><table><thead><tr><th scope="col">Variant</th><th scope="col">Bought as</th><th scope="col">Replicas</th><th scope="col" class="n">At once on one (B*)</th><th scope="col" class="n">Requests/s of one</th><th scope="col" class="n">KV tokens of one</th></tr></thead>
    <tbody>${status.targets.map((t) => html`<tr key=${t.variant + t.capacity}><th scope="row">${t.variant}</th><td>${t.capacity}</td><td>${replicas(t.replicas)}${t.replicas.allowed !== t.replicas.want ? html` <small>allowed now: ${t.replicas.allowed}</small>` : ""}</td>
      <td class="n">${t.infeasible ? "none: not one at a time holds the SLO" : count(t.batch_limit)}</td><td class="n">${figure(t.per_replica_per_second)}</td><td class="n">${t.kv_tokens ? count(t.kv_tokens) : "no bound"}</td></tr>`)}</tbody></table><//>
  </section>`;
}
