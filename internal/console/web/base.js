// What all views share: markup, the address as state, questions to the API.
import {h} from "./vendor/preact.js";
import {useEffect, useState} from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);

/** Asks the API. @param {string} path @param {Record<string, string | number | undefined>} [query] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function ask(path, query = {}, signal) {
  const asked = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined && value !== "") asked.set(key, String(value));
  const reply = await fetch(`/api/v1/${path}${asked.size ? `?${asked}` : ""}`, {signal, headers: {Accept: "application/json"}});
  if (reply.status === 401) {
    location.assign("/login");
    throw new Error("The session ended.");
  }
  const body = await reply.json().catch(() => null);
  if (!reply.ok) throw new Error(body?.error?.message ?? `The console answered ${reply.status}.`);
  return body;
}

/** Answers a question again and again: at once, when it changes, and every so many ms (0: never).
 * @template T @param {string | null} path null asks nothing @param {Record<string, string | number | undefined>} query @param {number} every
 * @returns {{answer: T | null, fault: string, again: () => void}} */
export function useAsk(path, query, every) {
  const key = path === null ? "" : JSON.stringify([path, query]);
  const [state, set] = useState(/** @type {{key: string, answer: any, fault: string}} */ ({key: "", answer: null, fault: ""}));
  const [turn, next] = useState(0);
  useEffect(() => {
    if (path === null) return;
    const control = new AbortController();
    let timer = 0;
    const go = async () => {
      try {
        const answer = await ask(path, query, control.signal);
        set({key, answer, fault: ""});
      } catch (fault) {
        if (control.signal.aborted) return;
        set((old) => ({key, answer: old.key === key ? old.answer : null, fault: String(fault instanceof Error ? fault.message : fault)}));
      }
      if (every > 0 && !control.signal.aborted) timer = setTimeout(go, every);
    };
    go();
    return () => { control.abort(); clearTimeout(timer); };
  }, [key, every, turn]);
  return {answer: state.key === key ? state.answer : null, fault: state.key === key ? state.fault : "", again: () => next((n) => n + 1)};
}

// ——— the address ———

/** @param {string} path @param {Record<string, string | number | null | undefined>} [query] */
export function address(path, query = {}) {
  const all = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "") all.set(key, String(value));
  return `${path}${all.size ? `?${all}` : ""}`;
}

/** @param {string} to @param {boolean} [replace] leaves no step for Back */
export function go(to, replace = false) {
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  dispatchEvent(new PopStateEvent("popstate"));
}

/** @returns {{path: string, query: URLSearchParams}} */
export function useAddress() {
  const read = () => ({path: location.pathname.replace(/(.)\/$/, "$1"), query: new URLSearchParams(location.search)});
  const [now, set] = useState(read);
  useEffect(() => {
    const changed = () => set(read());
    addEventListener("popstate", changed);
    return () => removeEventListener("popstate", changed);
  }, []);
  return now;
}

/** Changes some of the query and leaves the rest. @param {Record<string, string | number | null>} change @param {boolean} [replace] */
export function turn(change, replace = false) {
  const all = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(change)) {
    if (value === null || value === "") all.delete(key);
    else all.set(key, String(value));
  }
  go(`${location.pathname}${all.size ? `?${all}` : ""}`, replace);
}

/** A link within the page. @param {any} props */
export function Link({href, children, ...rest}) {
  /** @param {MouseEvent} e */
  const follow = (e) => {
    if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    e.preventDefault();
    go(href);
    if (!rest["data-keep"]) scrollTo(0, 0);
  };
  return html`<a href=${href} onClick=${follow} ...${rest}>${children}</a>`;
}

/** What may be wider than there is room: the keyboard scrolls it too. @param {{label: string, children?: any}} props */
export const Scroll = ({label, children}) => html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>${children}</div>`;

/** Runs what is given again and again, so that ages grow. @param {number} every ms */
export function useClock(every) {
  const [, set] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => set((n) => n + 1), every);
    return () => clearInterval(timer);
  }, [every]);
}
