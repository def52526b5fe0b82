// Charts of one page that share their time, their cursor and their marks.
import uPlot from "./vendor/uplot.js";
import {useEffect, useRef} from "./vendor/hooks.js";
import {html} from "./base.js";
import {clock} from "./words.js";

/** One line of a chart.
 * @typedef {object} Series
 * @property {string} name
 * @property {(number | null)[]} values
 * @property {string} look a CSS variable
 * @property {number[]} [dash]
 * @property {boolean} [area] filled down to zero
 * @property {boolean} [steps] holds its value until the next
 * @property {number} [width]
 * @property {boolean} [dots] each value is shown: they are too few for a line
 * @property {(number | null)[]} [told] what is said of it, where it is drawn stacked

 * What is drawn.
 * @typedef {object} Spec
 * @property {string} title
 * @property {string} unit
 * @property {Series[]} series
 * @property {(v: number) => string} write
 * @property {number} [atLeast] the axis reaches to this */

/** A time for all charts.
 * @typedef {object} Axis
 * @property {number[]} times Unix seconds
 * @property {number} from @property {number} to
 * @property {number} step seconds
 * @property {{at: number, text: string}[]} marks decisions
 * @property {boolean} stale the newest of it is old */

/** @param {string} name */
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Where the cursor is, for all charts: an index into times, or null. */
export class Cursor {
  constructor() {
    /** @type {Set<(index: number | null) => void>} */
    this.followers = new Set();
    /** @type {number | null} */
    this.index = null;
  }

  /** @param {number | null} index */
  move(index) {
    if (index === this.index) return;
    this.index = index;
    for (const f of this.followers) f(index);
  }
}

/** @param {{spec: Spec, axis: Axis, cursor: Cursor, onPick: (t: number) => void}} props */
export function Chart({spec, axis, cursor, onPick}) {
  const place = useRef(/** @type {any} */ (null));
  const said = useRef(/** @type {any} */ (null));
  const state = useRef(/** @type {{plot: any, spec: Spec, axis: Axis}} */ ({plot: null, spec, axis}));
  state.current.spec = spec;
  state.current.axis = axis;

  const say = () => {
    if (!said.current) return;
    const {spec, axis} = state.current;
    const i = cursor.index ?? axis.times.length - 1;
    for (const [n, s] of spec.series.entries()) {
      const node = said.current.querySelector(`[data-n="${n}"]`);
      const v = (s.told ?? s.values)[i];
      if (node) node.textContent = v == null ? "–" : spec.write(v);
    }
  };

  useEffect(() => {
    const build = () => {
      state.current.plot?.destroy();
      state.current.plot = draw(place.current, state, cursor, onPick);
    };
    build();
    const resize = new ResizeObserver(() => {
      const width = place.current?.clientWidth;
      if (width > 0) state.current.plot?.setSize({width, height: heightOf()});
    });
    resize.observe(place.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", build);
    addEventListener("themechange", build);
    /** @param {number | null} index */
    const follow = (index) => {
      const {plot, axis} = state.current;
      if (plot && index !== null && plot.cursor.idx !== index) plot.setCursor({left: plot.valToPos(axis.times[index], "x"), top: -10}, false);
      if (plot && index === null) plot.setCursor({left: -10, top: -10}, false);
      say();
    };
    cursor.followers.add(follow);
    return () => {
      cursor.followers.delete(follow);
      resize.disconnect();
      dark.removeEventListener("change", build);
      removeEventListener("themechange", build);
      state.current.plot?.destroy();
      state.current.plot = null;
    };
  }, [spec.title, spec.series.length]);

  useEffect(() => {
    const {plot} = state.current;
    if (plot) {
      plot.setData([axis.times, ...spec.series.map((s) => s.values)], false);
      plot.setScale("x", {min: axis.from, max: axis.to});
    }
    say();
  });

  return html`<figure class="chart">
    <figcaption><h3>${spec.title} <small>${spec.unit}</small></h3>
      <ul ref=${said}>${spec.series.map((s, n) => html`<li key=${s.name}><svg viewBox="0 0 22 8" aria-hidden="true"><line x1="1" x2="21" y1="4" y2="4" stroke=${`var(${s.look})`} stroke-width=${s.area ? 7 : s.width ?? 2} stroke-dasharray=${(s.dash ?? []).join(" ")} /></svg>${s.name} <b data-n=${n}></b></li>`)}</ul></figcaption>
    <div class="plot" ref=${place} aria-hidden="true"></div>
  </figure>`;
}

const heightOf = () => (innerWidth < 700 ? 120 : 132);

/** @param {HTMLElement} place @param {{current: {plot: any, spec: Spec, axis: Axis}}} state @param {Cursor} cursor @param {(t: number) => void} onPick */
function draw(place, state, cursor, onPick) {
  const {spec, axis} = state.current;
  const ink = style("--ink-2"), grid = style("--grid");
  const font = "11px system-ui, sans-serif";
  const stepped = uPlot.paths.stepped?.({align: 1});
  /** @type {any} */
  const options = {
    width: Math.max(100, place.clientWidth), height: heightOf(),
    padding: [10, 26, 0, 0],
    legend: {show: false},
    cursor: {y: false, points: {size: 6}, drag: {x: false, y: false}, bind: {dblclick: () => null}},
    scales: {x: {time: true}, y: {range: (/** @type {any} */ _u, /** @type {number} */ _min, /** @type {number} */ max) => [0, Math.max(spec.atLeast ?? 0, max || 0) * 1.12 || 1]}},
    axes: [
      {stroke: ink, font, grid: {stroke: grid, width: 1}, ticks: {show: false}, size: 22, space: 70, values: (/** @type {any} */ u, /** @type {number[]} */ splits) => times(splits, state.current.axis.to - state.current.axis.from)},
      {stroke: ink, font, grid: {stroke: grid, width: 1}, ticks: {show: false}, size: 46, space: 28, values: (/** @type {any} */ _u, /** @type {number[]} */ all) => all.map((v) => spec.write(v))},
    ],
    series: [{}, ...spec.series.map((s) => ({
      label: s.name, stroke: s.area ? "transparent" : style(s.look), width: s.area ? 0 : s.width ?? 2, dash: s.dash, fill: s.area ? style(s.look) : undefined,
      points: s.dots ? {show: true, size: 3.5, width: 0, fill: style(s.look)} : {show: false}, spanGaps: false, paths: s.steps ? stepped : undefined,
    }))],
    hooks: {
      setCursor: [(/** @type {any} */ u) => { if (u.cursor.event) cursor.move(u.cursor.idx ?? null); }],
      draw: [(/** @type {any} */ u) => { staleness(u, state.current.axis); marked(u, state.current.axis); }],
      ready: [(/** @type {any} */ u) => {
        u.over.addEventListener("mouseleave", () => cursor.move(null));
        u.over.addEventListener("click", () => { const i = u.cursor.idx; if (i != null) onPick(u.data[0][i]); });
      }],
    },
  };
  return new uPlot(options, [axis.times, ...spec.series.map((s) => s.values)], place);
}

/** @param {number[]} splits @param {number} range */
function times(splits, range) {
  return splits.map((t) => {
    const text = clock(new Date(t * 1000));
    return range < 600 || t % 60 ? text.slice(-8) : text.slice(-8, -3);
  });
}

/** Decisions, as marks on the upper edge. @param {any} u @param {Axis} axis */
function marked(u, axis) {
  const {ctx, bbox} = u, r = devicePixelRatio;
  ctx.save();
  ctx.fillStyle = style("--ink");
  for (const m of axis.marks) {
    if (m.at < axis.from || m.at > axis.to) continue;
    const x = Math.round(u.valToPos(m.at, "x", true));
    ctx.beginPath();
    ctx.moveTo(x - 4 * r, bbox.top - 9 * r);
    ctx.lineTo(x + 4 * r, bbox.top - 9 * r);
    ctx.lineTo(x, bbox.top - 2 * r);
    ctx.fill();
  }
  ctx.restore();
}

/** What is newer than the newest point is not known: hatched. @param {any} u @param {Axis} axis */
function staleness(u, axis) {
  const last = axis.times.at(-1);
  if (!axis.stale || last === undefined) return;
  const {ctx, bbox} = u, r = devicePixelRatio;
  const x0 = Math.max(bbox.left, u.valToPos(last, "x", true)), x1 = bbox.left + bbox.width;
  if (x1 - x0 < 2) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(x0, bbox.top, x1 - x0, bbox.height);
  ctx.clip();
  ctx.strokeStyle = style("--ink-3");
  ctx.lineWidth = r;
  ctx.beginPath();
  for (let x = x0 - bbox.height; x < x1; x += 7 * r) {
    ctx.moveTo(x, bbox.top + bbox.height);
    ctx.lineTo(x + bbox.height, bbox.top);
  }
  ctx.stroke();
  ctx.restore();
}
