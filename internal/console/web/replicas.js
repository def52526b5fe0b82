// Replicas: their life, their load, what they print.
import {useEffect, useRef} from "./vendor/hooks.js";
import {address, html, Link, Scroll, turn, useAsk} from "./base.js";
import {isStale} from "./live.js";
import {age, clock, count, length, percent} from "./words.js";

const perPage = 100;

/** @param {{live: import("./live.js").Live, query: URLSearchParams}} props */
export function Replicas({live, query}) {
  const model = query.get("model") ?? "", one = query.get("replica") ?? "";
  const names = [...live.models.keys()].sort();
  return html`<h1 class="unseen">Replicas</h1>
    <div class="bar filters"><label>Model <select value=${model} onChange=${(/** @type {any} */ e) => turn({model: e.target.value, replica: null, page: null})}>
      <option value="">all</option>${names.map((n) => html`<option value=${n}>${n}</option>`)}</select></label></div>
    <div class="stack">
      ${one && html`<${Output} id=${one} stale=${isStale(live)} />`}
      <section aria-labelledby="all" class="list"><h2 id="all">Replicas, and those that ended within the hour</h2>
        <${ReplicaTable} model=${model} stale=${isStale(live)} living=${false} chosen=${one} page=${Number(query.get("page")) || 1} /></section>
    </div>`;
}

/** @type {Record<string, string>} */
const phases = {starting: "◔ loading", ready: "● ready", draining: "◑ draining", gone: "○ gone"};

/** @param {{model: string, stale: boolean, living: boolean, chosen?: string, page?: number}} props */
export function ReplicaTable({model, stale, living, chosen = "", page = 1}) {
  const {answer, fault} = useAsk("replicas", {model}, stale ? 0 : 2000);
  const list = /** @type {API.ReplicaList | null} */ (answer);
  const all = list?.replicas.filter((r) => !living || r.phase !== "gone") ?? [];
  const shown = all.slice((page - 1) * perPage, page * perPage);
  const now = list ? Date.parse(list.at) + 1000 * list.age_seconds : 0;
  if (fault && !list) return html`<p class="empty">${fault}</p>`;
  if (list && all.length === 0) return html`<p class="empty">${living ? "None runs." : "None runs, and none ended within the hour."}</p>`;
  return html`<${Scroll} label="Table of replicas"><table class="replicas"><thead><tr><th scope="col">Replica</th><th scope="col">Phase</th><th scope="col" class="n">For</th><th scope="col" class="n">At it / B*</th><th scope="col" class="n">KV cache</th><th scope="col">On</th><th scope="col" class="n">$/h</th><th scope="col">Life</th></tr></thead>
    <tbody>${shown.map((r) => html`<tr key=${r.replica} class=${`${r.phase}${r.replica === chosen ? " chosen" : ""}`}>
      <th scope="row"><${Link} data-keep="1" href=${address("/replicas", {model, replica: r.replica})}>${r.replica}<//>${!model && html`<small>${r.model}</small>`}</th>
      <td>${phases[r.phase] ?? r.phase}${r.taken_in_seconds ? html`<small>taken in ${length(r.taken_in_seconds)}</small>` : ""}</td>
      <td class="n">${age(Math.max(0, (now - Date.parse(r.since)) / 1000))}</td>
      <td class="n">${r.phase === "gone" ? "–" : html`${measured(r.in_flight)} / ${r.batch_limit || "?"}`}</td>
      <td class="n">${r.phase === "gone" || r.phase === "starting" ? "–" : r.kv_cache ? html`${percent(Math.round(r.kv_cache.value * 100) / 100)}${old(r.kv_cache)}` : "n/a"}</td>
      <td>${r.variant}<small>${r.accelerator}${r.capacity === "spot" ? ", spot" : ""}</small></td>
      <td class="n">${r.price_per_hour == null ? "no price" : r.price_per_hour.toFixed(2)}</td>
      <td class="life">${life(r)}</td></tr>`)}</tbody></table><//>
    ${all.length > perPage && html`<nav class="pager" aria-label="Pages"><button disabled=${page <= 1} onClick=${() => turn({page: page - 1})}>Previous</button><span>page ${page} of ${Math.ceil(all.length / perPage)}, ${count(all.length)} in all</span><button disabled=${page * perPage >= all.length} onClick=${() => turn({page: page + 1})}>Next</button></nav>`}
    ${list && list.left_out > 0 && html`<p class="empty">${count(list.left_out)} more are not listed. Choose a model.</p>`}`;
}

/** @param {API.Value | null} v */
const measured = (v) => (v ? html`${count(v.value)}${old(v)}` : "?");

/** @param {API.Value} v */
const old = (v) => (v.age_seconds > 10 ? html` <small>◇ ${age(v.age_seconds)} old</small>` : "");

/** @param {API.ReplicaView} r */
function life(r) {
  const created = new Date(r.created), steps = [`ordered ${clock(created)}`];
  /** @param {string | null} t @param {string} what */
  const step = (t, what) => { if (t) steps.push(`${what} ${clock(new Date(t))}`); };
  if (r.ready) steps.push(`ready after ${length((Date.parse(r.ready) - created.getTime()) / 1000)}`);
  step(r.drained, "drained");
  step(r.ended, r.ready ? "ended" : "ended without having been ready");
  return steps.join(" · ");
}

/** The end of what a replica printed. @param {{id: string, stale: boolean}} props */
function Output({id, stale}) {
  const {answer, fault} = useAsk("log", {replica: id, lines: 300}, stale ? 0 : 2000);
  const log = /** @type {API.Log | null} */ (answer);
  const box = useRef(/** @type {any} */ (null));
  const follows = useRef(true);
  useEffect(() => { if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight; }, [log]);
  return html`<section class="explained" aria-labelledby="output"><div class="bar"><h2 id="output">What ${id} prints</h2><${Link} data-keep="1" href=${address("/replicas", {model: new URLSearchParams(location.search).get("model")})}>Close<//></div>
    ${fault && html`<p class="empty">${fault}</p>`}
    ${log && html`<p class="sub">${log.cut ? `The last ${log.lines.length} lines; the file has more.` : `${log.lines.length} lines: all there is.`}</p>
      <pre class="log" tabindex="0" role="region" aria-label=${`Output of ${id}`} ref=${box} onScroll=${(/** @type {any} */ e) => { const b = e.currentTarget; follows.current = b.scrollHeight - b.scrollTop - b.clientHeight < 40; }}>${log.lines.join("\n")}</pre>`}
  </section>`;
}
