// The fleet: one sentence, who is hurt, what changed.
import {address, html, Link, Scroll, turn, useAsk} from "./base.js";
import {byHurt, isStale} from "./live.js";
import {age, clock, count, counted, dollars, length, marks, measure, over, percent, rate, replicas, replicasAloud} from "./words.js";
import {Sparkline} from "./spark.js";

const perPage = 50;

/** @param {{live: import("./live.js").Live, query: URLSearchParams}} props */
export function Fleet({live, query}) {
  const fleet = /** @type {API.FleetView} */ (live.fleet);
  const wanted = (query.get("find") ?? "").toLowerCase();
  const all = byHurt(live.models.values());
  const found = wanted ? all.filter((m) => `${m.name} ${m.business_unit ?? ""} ${m.condition}`.toLowerCase().includes(wanted)) : all;
  const page = Math.max(1, Math.min(Number(query.get("page")) || 1, Math.ceil(found.length / perPage)));
  const shown = found.slice((page - 1) * perPage, page * perPage);
  return html`
    <h1 class="unseen">Fleet</h1>
    <${Sentence} fleet=${fleet} hurt=${all.some((m) => m.condition === "missing")} />
    <section aria-labelledby="models">
      <div class="bar">
        <h2 id="models">Models, the most hurt first</h2>
        ${all.length > 8 && html`<input type="search" aria-label="Find a model" placeholder="Find a model" value=${query.get("find") ?? ""}
          onInput=${(/** @type {any} */ e) => turn({find: e.target.value, page: null}, true)} />`}
      </div>
      <${Scroll} label="Table of models"><table class="models">
        <thead><tr><th scope="col">Model</th><th scope="col">Status</th><th scope="col">Error budget left</th><th scope="col">TTFT / limit</th><th scope="col">TPOT / limit</th>
          <th scope="col">Replicas</th><th scope="col">Requests/s</th><th scope="col" class="n">$/h</th><th scope="col">Why</th></tr></thead>
        <tbody>${shown.map((m) => html`<${Line} key=${m.name} m=${m} fleet=${fleet} />`)}</tbody>
      </table><//>
      ${found.length === 0 && html`<p class="empty">${all.length ? `No model is like “${query.get("find")}”.` : "No model is configured."}</p>`}
      <${Pager} page=${page} pages=${Math.ceil(found.length / perPage)} total=${found.length} />
    </section>
    <${News} stale=${isStale(live)} at=${fleet.at} />`;
}

/** @param {{fleet: API.FleetView, hurt: boolean}} props */
function Sentence({fleet, hurt}) {
  const r = fleet.replicas;
  const states = [[r.ready - fleet.idle, "serving"], [fleet.idle, "idle"], [r.starting, "loading"], [r.draining, "draining"]].filter(([n]) => n);
  const gpus = fleet.accelerators.map((a) => `${a.type} ${a.used}${a.slots == null ? "" : ` of ${a.slots}`}`).join(", ");
  const spent = fleet.cost.usage.filter((u) => u.dollars > 0).map((u) => `${u.usage} ${Math.round((100 * u.dollars) / fleet.cost.spent)} %`).join(", ");
  return html`<section class=${`sentence${hurt ? " hurt" : ""}`} aria-label="In one sentence">
    <p class="said"><span aria-hidden="true">${hurt ? marks.missing : marks.meeting}</span> ${fleet.sentence}</p>
    <dl class="figures">
      <div><dt>Cost now</dt><dd>${dollars(fleet.cost.per_hour)}<small>/h</small></dd>${fleet.cost.unpriced > 0 && html`<dd class="sub">${counted(fleet.cost.unpriced, "replica")} without a price</dd>`}</div>
      <div class="minor"><dt>Spent</dt><dd>${dollars(fleet.cost.spent)}</dd><dd class="sub">${spent}</dd></div>
      <div><dt>Replicas</dt><dd>${count(r.ready + r.starting + r.draining)}</dd><dd class="sub">${states.map(([n, what]) => `${n} ${what}`).join(", ") || "none run"}</dd></div>
      <div class="minor"><dt>Accelerators in use</dt><dd>${count(fleet.accelerators.reduce((n, a) => n + a.used, 0))}</dd><dd class="sub">${gpus}</dd></div>
      <div><dt>Held</dt><dd>${count(fleet.held)}</dd><dd class="sub">${fleet.held > 0 ? `the oldest for ${length(fleet.held_for_seconds)}` : "nobody waits"}</dd></div>
    </dl>
  </section>`;
}

/** One model. @param {{m: API.ModelLine, fleet: API.FleetView}} props */
function Line({m, fleet}) {
  const lasts = m.since ? (Date.parse(fleet.at) - Date.parse(m.since)) / 1000 : 0;
  const left = m.slo.budget_left;
  return html`<tr class=${m.condition === "missing" ? "hurt" : ""}>
    <th scope="row"><${Link} href=${address("/model", {name: m.name})}>${m.name}<//>${m.business_unit && html`<small>${m.business_unit}</small>`}${m.mode !== "auto" && html`<small class="mode">${m.mode}</small>`}</th>
    <td class="state-of"><span class=${`state ${m.condition.replace(" ", "-")}`}><span aria-hidden="true">${marks[m.condition]}</span> ${m.condition}</span>
      ${lasts >= 1 && html`<small>${m.at_least ? "for at least" : "for"} ${age(lasts)}</small>`}</td>
    <td class="minor">${left == null ? "?" : html`<${Budget} left=${left} />`}</td>
    ${m.latency
      ? html`<td colspan="2" class=${over(m.latency) ? "over minor" : "minor"}>${measure(m.latency)} <small>end to end</small></td>`
      : html`<td class=${over(m.ttft) ? "over minor" : "minor"}>${measure(m.ttft)}${over(m.ttft) && html` <span aria-label="over its limit">▲</span>`}</td>
        <td class=${over(m.tpot) ? "over minor" : "minor"}>${measure(m.tpot)}${over(m.tpot) && html` <span aria-label="over its limit">▲</span>`}</td>`}
    <td class="counts"><span aria-hidden="true">${replicas(m.replicas)}</span><span class="unseen">${replicasAloud(m.replicas)}</span>${m.batch_limit > 0 && html`<small>each up to ${count(m.batch_limit)} at once</small>`}</td>
    <td class="demand minor"><span class="rate">${m.stale_for_seconds ? html`◇ ${rate(m.arrivals_per_second)} <small>${age(m.stale_for_seconds)} old</small>` : rate(m.arrivals_per_second)}</span><${Sparkline} values=${m.spark} />
      ${m.held != null && m.held > 0 && html`<small>${count(m.held)} held</small>`}</td>
    <td class="n money">${m.unpriced ? "no price" : m.per_hour.toFixed(2)}</td>
    <td class="why"><${Link} href=${address("/decisions", {model: m.name, of: m.name})} title=${m.headline}>${m.reason || m.headline}<//>${m.code && html` <code>${m.code}</code>`}</td>
  </tr>`;
}

/** What is left of an error budget. @param {{left: number}} props */
export function Budget({left}) {
  const share = Math.max(0, Math.min(1, left));
  return html`<span class=${`budget${left < 0 ? " spent" : ""}`}><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect width="100" height="10" class="b0"/><rect width=${100 * share} height="10" class="b1"/></svg>
    ${left < 0 ? "used up" : percent(Math.floor(left * 100) / 100)}</span>`;
}

/** @param {{page: number, pages: number, total: number}} props */
export function Pager({page, pages, total}) {
  if (pages < 2) return null;
  return html`<nav class="pager" aria-label="Pages">
    <button disabled=${page <= 1} onClick=${() => turn({page: page - 1})}>Previous</button>
    <span>page ${page} of ${pages}, ${count(total)} in all</span>
    <button disabled=${page >= pages} onClick=${() => turn({page: page + 1})}>Next</button>
  </nav>`;
}

/** What changed. @param {{stale: boolean, at: string}} props */
function News({stale}) {
  const {answer, fault} = useAsk("decisions", {limit: 6, since: "-24h", acted: "true"}, stale ? 0 : 3000);
  const list = /** @type {API.Decisions | null} */ (answer);
  const acted = list?.decisions ?? [];
  return html`<section aria-labelledby="news">
    <div class="bar"><h2 id="news">What changed last</h2><${Link} href="/decisions">All decisions<//></div>
    ${fault && html`<p class="empty">${fault}</p>`}
    ${list && acted.length === 0 && html`<p class="empty">No replica was started or drained in the last day.</p>`}
    <ol class="news">${acted.map((d) => {
      const change = d.changes.find((c) => c.start > 0 || c.drain.length > 0) ?? d.changes[0];
      const reason = change.reasons[0];
      return html`<li key=${d.model + d.at}><time datetime=${d.at}>${clock(new Date(d.at))}</time>
        <${Link} href=${address("/decisions", {of: d.model, at: d.at})}>${d.model}<//> <b>${change.from} → ${change.to} on ${change.variant}</b> <span>${reason?.text}</span> ${reason && html`<code>${reason.code}</code>`}</li>`;
    })}</ol>
  </section>`;
}
