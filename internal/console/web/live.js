// The stream of events, kept up: what changed is laid over what is known.
import {useEffect, useState} from "./vendor/hooks.js";

/** What the page knows of the fleet.
 * @typedef {object} Live
 * @property {API.FleetView | null} fleet
 * @property {Map<string, API.ModelLine>} models
 * @property {API.ModelEvent | null} model of the named model, if one is
 * @property {number} received when the newest came, by performance.now()
 * @property {boolean} open whether the stream is
 * @property {number} opened how often it was opened: what was missed in between has to be asked for
 * @property {string} fault */

/** @returns {Live} */
const nothing = () => ({fleet: null, models: new Map(), model: null, received: 0, open: false, opened: 0, fault: ""});

const patience = 20_000; // ms without a word, heartbeats included, until the stream is opened anew

/** Follows the fleet, and one model of it. @param {string} model "" for none @returns {Live} */
export function useLive(model) {
  const [live, set] = useState(nothing);
  useEffect(() => {
    /** @type {EventSource | null} */
    let source = null;
    let timer = 0, id = "", heard = performance.now(), failed = 0;
    set((old) => ({...old, model: null}));

    const open = () => {
      const query = new URLSearchParams();
      if (model) query.set("model", model);
      if (id) query.set("since", id);
      source = new EventSource(`/api/v1/events?${query}`);
      source.addEventListener("open", () => {
        heard = performance.now();
        set((old) => ({...old, open: true, opened: old.opened + 1, fault: ""}));
      });
      source.addEventListener("fleet", (e) => {
        heard = performance.now();
        failed = 0;
        id = /** @type {MessageEvent} */ (e).lastEventId;
        const view = /** @type {API.FleetView} */ (JSON.parse(/** @type {MessageEvent} */ (e).data));
        set((old) => take(old, view));
      });
      source.addEventListener("model", (e) => {
        const event = /** @type {API.ModelEvent} */ (JSON.parse(/** @type {MessageEvent} */ (e).data));
        set((old) => ({...old, model: event}));
      });
      source.addEventListener("error", () => {
        set((old) => ({...old, open: false}));
        if (source?.readyState === EventSource.CLOSED) again();
      });
    };
    const again = () => {
      source?.close();
      source = null;
      failed++;
      clearTimeout(timer);
      timer = setTimeout(async () => {
        // A stream says nothing of why it was refused; a question does.
        try {
          const reply = await fetch("/api/v1/fleet");
          if (reply.status === 401) return location.assign("/login");
          const body = await reply.json();
          if (reply.ok) set((old) => take(old, body));
          else set((old) => ({...old, fault: body?.error?.message ?? ""}));
        } catch { /* nothing answers: the page says how old its data is */ }
        open();
      }, Math.min(1000 * failed, 5000));
    };
    open();
    const watch = setInterval(() => {
      if (source && performance.now() - heard > patience) {
        heard = performance.now();
        set((old) => ({...old, open: false}));
        again();
      }
    }, 1000);
    return () => { source?.close(); clearTimeout(timer); clearInterval(watch); };
  }, [model]);
  return live;
}

/** @param {Live} old @param {API.FleetView} view @returns {Live} */
function take(old, view) {
  const models = view.whole ? new Map() : new Map(old.models);
  for (const m of view.models) models.set(m.name, m);
  for (const name of view.gone) models.delete(name);
  return {...old, fleet: view, models, received: performance.now(), fault: ""};
}

/** How old the data is, in seconds, whatever this machine's clock says. @param {Live} live */
export const ageOf = (live) => (live.fleet ? live.fleet.age_seconds + (performance.now() - live.received) / 1000 : 0);

/** Whether it is too old to go by. @param {Live} live */
export const isStale = (live) => live.fleet !== null && ageOf(live) > Math.max(5, 3 * live.fleet.tick_seconds);

/** Those first that miss their objective, then by what is left of their budget.
 * @param {Iterable<API.ModelLine>} models */
export function byHurt(models) {
  return [...models].sort((a, b) =>
    Number(b.condition === "missing") - Number(a.condition === "missing") ||
    (a.slo.budget_left ?? 1) - (b.slo.budget_left ?? 1) ||
    (a.name < b.name ? -1 : 1));
}
