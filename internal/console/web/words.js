// Words and numbers for people. The terminal says them the same way
// (internal/console/text.go and status.go).

/** What is unknown is a question mark, never a zero. */
export const unknown = "?";

/** A duration: 812 ms, 2.1 s, 58 s, 12 min, 3 h, 5 d.
 * @param {number} s seconds */
export function length(s) {
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

/** An age: whole seconds at least. @param {number} s seconds */
export const age = (s) => (s < 1 ? "< 1 s" : s < 10 ? `${Math.floor(s)} s` : length(s));

/** A share; never rounded up to 100. @param {number} share 0..1 */
export function percent(share) {
  const hundredths = Math.floor(share * 10000 + 1e-6);
  return hundredths % 100 === 0 ? `${hundredths / 100} %` : `${(hundredths / 100).toFixed(2)} %`;
}

/** @param {number | null | undefined} v */
export function count(v) {
  return v == null ? unknown : v.toLocaleString("en-US", {maximumFractionDigits: 0});
}

/** @param {number} n @param {string} noun */
export const counted = (n, noun) => (n === 1 ? `1 ${noun}` : `${count(n)} ${noun}s`);

/** A number with three digits that matter. @param {number | null | undefined} v */
export function figure(v) {
  if (v == null) return unknown;
  if (v === 0 || Number.isInteger(v)) return count(v);
  const most = Math.abs(v) >= 100 ? 0 : Math.abs(v) >= 10 ? 1 : 2;
  return v.toLocaleString("en-US", {minimumFractionDigits: most, maximumFractionDigits: most});
}

/** Requests per second. @param {number | null | undefined} v */
export const rate = (v) => (v == null ? unknown : v > 0 && v < 1 ? v.toPrecision(2) : v.toFixed(1));

/** US dollars. @param {number} v */
export const dollars = (v) => `$${v.toLocaleString("en-US", {minimumFractionDigits: 2, maximumFractionDigits: 2})}`;

/** A measured median beside its limit, in the unit of the limit.
 * @param {API.Measure | null | undefined} m */
export function measure(m) {
  if (!m) return "–";
  const limit = length(m.limit_seconds);
  if (m.median_seconds == null) return `– / ${limit}`;
  const both = length(m.median_seconds).split(" ")[1] === limit.split(" ")[1];
  return `${both ? length(m.median_seconds).split(" ")[0] : length(m.median_seconds)} / ${limit}`;
}

/** @param {API.Measure | null | undefined} m */
export const over = (m) => m != null && m.median_seconds != null && m.median_seconds > m.limit_seconds;

/** have, what is on its way, and what is wanted. @param {API.Replicas} r */
export function replicas(r) {
  const moving = [];
  if (r.starting > 0) moving.push(`+${r.starting}`);
  if (r.draining > 0) moving.push(`−${r.draining}`);
  return `${r.ready}${moving.length ? ` (${moving.join(" ")})` : ""} → ${r.want}`;
}

/** Says the same to those who do not see arrows. @param {API.Replicas} r */
export const replicasAloud = (r) =>
  `${r.ready} ready, ${r.starting} loading, ${r.draining} draining, ${r.want} wanted`;

/** A shape for each condition: never colour alone.
 * @type {Record<string, string>} */
export const marks = {missing: "▲", meeting: "●", asleep: "◌", loading: "◔", "no data": "◇"};

const clockOf = new Intl.DateTimeFormat("en-GB", {hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false});
const dayOf = new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short"});

/** A time of day, with the day if that is another one. @param {Date} t */
export function clock(t) {
  const text = clockOf.format(t);
  return t.toDateString() === new Date().toDateString() ? text : `${dayOf.format(t)}, ${text}`;
}

/** The zone that times are in, such as UTC+1. */
export function zone() {
  const east = -new Date().getTimezoneOffset();
  const hours = Math.floor(Math.abs(east) / 60), minutes = Math.abs(east) % 60;
  return east === 0 ? "UTC" : `UTC${east > 0 ? "+" : "−"}${hours}${minutes ? `:${String(minutes).padStart(2, "0")}` : ""}`;
}

/** What a reason did. @type {Record<string, string>} */
export const effects = {because: "Because", could_not: "Could not", did_not: "Did not"};
