// The charts and the sorting of the page. Everything that came from a file is
// put into the page as text, never as HTML.
(function () {
  "use strict";

  // ——— words ———

  function el(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }
  const two = (n) => String(n).padStart(2, "0");
  // Times are since the trace began; its first day is day 1.
  function clock(t) {
    const s = Math.round(t), minute = Math.floor(s / 60);
    const text = two(Math.floor(minute / 60) % 24) + ":" + two(minute % 60);
    return s % 60 ? text + ":" + two(s % 60) : text;
  }
  const moment = (t) => "day " + (Math.floor(t / 86400) + 1) + ", " + clock(t);
  function span(s) {
    if (s < 60) return Math.round(s) + " s";
    if (s < 3600) return Math.round(s / 60) + " min";
    if (s < 86400) return Math.floor(s / 3600) + " h " + two(Math.round(s % 3600 / 60) % 60) + " min";
    return Math.round(s / 86400) + " d";
  }
  function number(v) {
    if (v == null) return "–";
    if (v === Math.trunc(v) || Math.abs(v) >= 100) return v.toFixed(0);
    return v.toFixed(Math.abs(v) < 10 ? 2 : 1);
  }
  const percent = (v) => v == null ? "–" : (Math.floor(v * 10000 + 1e-6) / 100).toFixed(2) + " %";
  const dollars = (v) => v == null ? "–" : "$" + (Math.abs(v) < 1000 ? v.toFixed(2) : v.toFixed(0));
  const range = (a, b, write) => a == null || a === b ? write(a) : write(Math.min(a, b)) + " to " + write(Math.max(a, b));

  // ——— data: see pack.go ———

  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const digit = Object.fromEntries([...alphabet].map((c, i) => [c, i]));
  function unpack(lane) {
    const out = [];
    let at = 0, last = 0;
    const next = () => {
      let n = 0, shift = 1;
      for (;;) {
        const d = digit[lane.text[at++]];
        n += (d & 31) * shift;
        if (d < 32) return n;
        shift *= 32;
      }
    };
    while (at < lane.text.length) {
      const z = next();
      let again = 1;
      if (z === 0) again += next();
      else last += z % 2 ? -(z + 1) / 2 : z / 2;
      const value = last === 0 ? null : (last - 1) * lane.quantum;
      while (again-- > 0) out.push(value);
    }
    return out;
  }
  // steps makes two values of each bin, so that series with one and with two
  // share a time axis.
  const steps = (lane, per) => {
    const values = unpack(lane);
    return per === 2 && lane.per === 1 ? values.flatMap((v) => [v, v]) : values;
  };

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Colours go with dashes, so that neither is needed to tell lines apart.
  const looks = [
    ["--s1", []], ["--s2", [7, 4]], ["--s3", [2, 3]], ["--s4", [9, 3, 2, 3]], ["--s5", []], ["--s6", [7, 4]],
    ["--s1", [2, 3]], ["--s2", []], ["--s3", [7, 4]], ["--s4", []], ["--s5", [2, 3]], ["--s6", []],
  ];
  const ownLook = ["--own", []], needLook = ["--need", [4, 3]];

  function swatch(look, width) {
    const ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    const line = document.createElementNS(ns, "line");
    svg.setAttribute("viewBox", "0 0 24 8");
    svg.setAttribute("aria-hidden", "true");
    for (const [k, v] of Object.entries({x1: 0, x2: 24, y1: 4, y2: 4, "stroke-width": width, "stroke-dasharray": look[1].join(" ")})) line.setAttribute(k, v);
    line.style.stroke = "var(" + look[0] + ")";
    svg.append(line);
    return svg;
  }

  // ——— one workload ———

  const increments = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600];

  const whole = [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((e) => n * 10 ** e)).sort((a, b) => a - b);

  class Charts {
    constructor(section) {
      this.section = section;
      this.name = section.dataset.name;
      this.place = section.querySelector(".charts");
      this.data = JSON.parse(section.querySelector("script.data").textContent);
      this.end = this.data.bins * this.data.bin;
      this.at = null;
      this.plots = [];
    }

    build() {
      if (this.built) return;
      this.built = true;
      const d = this.data;
      this.per = [d.demand, d.need, ...d.policies.map((p) => p.ready)].some((l) => l.per === 2) ? 2 : 1;
      this.demand = steps(d.demand, this.per);
      this.need = steps(d.need, this.per);
      this.x = Array.from({length: d.bins}, (_, i) => i * d.bin);
      this.fine = this.per === 1 ? this.x : this.x.flatMap((t) => [t, t + d.bin / 2]);
      this.lines = d.policies.map((p) => ({
        name: p.name, own: p.own, shown: false, look: null, ready: steps(p.ready, this.per), attainment: unpack(p.attainment), held: unpack(p.held), cost: unpack(p.cost),
      }));
      this.lines.forEach((line, i) => { if (d.policies[i].shown) this.choose(line, true); });
      this.needed = this.need.length > 0;
      // Where no address says otherwise it opens at the peak.
      this.at ??= this.fine[this.demand.reduce((most, v, i) => v > this.demand[most] ? i : most, 0)] || 0;
      this.place.hidden = false;
      this.place.append(this.chips(), this.stage());
      this.draw();
      this.open(this.at);
      addEventListener("resize", () => this.fit());
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }

    // choose shows or hides a policy and gives it a look that no other has.
    choose(line, shown) {
      line.shown = shown;
      if (!shown) { line.look = null; return; }
      if (line.name === "penstock") { line.look = ownLook; return; }
      const free = looks.find((look) => !this.lines.some((other) => other.look === look));
      line.look = free || looks[this.lines.indexOf(line) % looks.length];
    }

    chips() {
      const set = el("fieldset", {class: "chips"}, el("legend", {}, "Policies in the charts (× misses the objective)"));
      const missed = new Set([...this.section.querySelectorAll("tbody tr")].filter((r) => r.querySelector(".missed")).map((r) => r.querySelector("th").dataset.v));
      if (this.needed) {
        const box = el("input", {type: "checkbox"});
        box.checked = true;
        box.addEventListener("change", () => { this.needed = box.checked; this.draw(); });
        set.append(el("label", {}, box, swatch(needLook, 3), "clairvoyant need"));
      }
      for (const line of [...this.lines].sort((a, b) => b.shown - a.shown)) {
        const box = el("input", {type: "checkbox"});
        box.checked = line.shown;
        const mark = el("span", {});
        const show = () => mark.replaceChildren(...(line.look ? [swatch(line.look, line.own ? 4 : 3)] : []));
        show();
        box.addEventListener("change", () => { this.choose(line, box.checked); show(); this.draw(); this.open(this.at); });
        const label = el("label", {}, box, mark, line.name);
        if (missed.has(line.name)) label.append(el("span", {class: "x", title: "misses the objective"}, "×"));
        set.append(label);
      }
      return set;
    }

    stage() {
      const figure = (title) => {
        const readout = el("span", {class: "readout"});
        const plot = el("div", {class: "plot"});
        return {node: el("figure", {}, el("figcaption", {}, title, readout), plot), plot, readout};
      };
      const fold = this.per === 2 ? " (least and most of each " + span(this.data.bin) + ")" : "";
      this.figures = [figure("Demand, requests/s" + fold), figure("Ready replicas" + fold), figure("Attainment"), figure("Cost so far, US dollars")];
      const plots = el("div", {class: "plots", tabindex: 0, role: "group", "aria-label": "Charts of " + this.name + ". Arrow keys move the cursor, with Shift by an hour; n and p go to the next and the previous decision; plus and minus zoom."}, ...this.figures.map((f) => f.node));
      plots.addEventListener("keydown", (e) => this.key(e));
      this.slider = el("input", {type: "range", min: 0, max: Math.max(0, this.end - this.data.step), step: this.data.step, "aria-label": "Minute of " + this.name});
      this.slider.addEventListener("input", () => this.open(Number(this.slider.value), true));
      const button = (text, act) => { const b = el("button", {type: "button"}, text); b.addEventListener("click", act); return b; };
      this.before = button("‹ decision", () => this.jump(-1));
      this.after = button("decision ›", () => this.jump(1));
      const scrub = el("div", {class: "scrub"}, this.slider, this.before, this.after, button("zoom in", () => this.zoom(0.25)), button("zoom out", () => this.zoom(4)), button("whole", () => this.zoom(0)));
      this.told = el("div", {"aria-live": "polite"});
      return el("div", {class: "stage"}, plots, el("aside", {class: "moment", "aria-label": "The chosen minute of " + this.name}, scrub, this.told));
    }

    key(e) {
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      const by = e.shiftKey ? 3600 : this.data.step;
      const acts = {
        ArrowLeft: () => this.open(this.at - by, true), ArrowRight: () => this.open(this.at + by, true),
        PageUp: () => this.open(this.at - 86400, true), PageDown: () => this.open(this.at + 86400, true),
        Home: () => this.open(0, true), End: () => this.open(this.end, true),
        n: () => this.jump(1), p: () => this.jump(-1), "+": () => this.zoom(0.25), "-": () => this.zoom(4),
      };
      if (!acts[e.key]) return;
      e.preventDefault();
      acts[e.key]();
    }

    // ——— charts ———

    draw(width) {
      this.width = width;
      const kept = this.shown();
      this.plots.forEach((p) => p.destroy());
      const shown = this.lines.filter((l) => l.shown);
      shown.sort((a, b) => a.own - b.own); // Penstock is drawn last, on top
      const line = (of, pick, extra) => ({values: pick(of), look: of.look, name: of.name, width: of.own ? 2.5 : 1.6, ...extra});
      const stepped = uPlot.paths.stepped({align: 1});
      const need = this.needed ? [{values: this.need, look: needLook, name: "clairvoyant need", width: 1.4, paths: stepped, fill: true}] : [];
      this.plots = [
        this.plot(0, this.fine, [{values: this.demand, look: ["--ink", []], name: "", width: 1.2, fill: true, paths: stepped}], {write: number}),
        this.plot(1, this.fine, [...need, ...shown.map((l) => line(l, (l) => l.ready, {paths: stepped}))], {write: number}),
        this.plot(2, this.x, shown.map((l) => line(l, (l) => l.attainment, {paths: stepped})), {write: percent, share: true}),
        this.plot(3, this.x, shown.map((l) => line(l, (l) => l.cost)), {write: dollars}),
      ];
      if (kept[0] > 0 || kept[1] < this.end) this.plots.forEach((p) => p.setScale("x", {min: kept[0], max: kept[1]}));
    }

    plot(index, x, lines, {write, share}) {
      const figure = this.figures[index];
      const axis = {stroke: style("--quiet"), grid: {stroke: style("--grid"), width: 1}, ticks: {show: false}, font: "12px system-ui, sans-serif"};
      const last = index === 3;
      const options = {
        width: this.width || Math.max(200, figure.plot.clientWidth), height: last || index === 0 ? 140 : 180,
        padding: [8, 8, last ? 0 : 4, 0],
        legend: {show: false},
        // A value holds from its time on: the pointer reads the bin that it is in.
        cursor: {y: false, dataIdx: (u, s, i, t) => i > 0 && x[i] > t ? i - 1 : i, points: {size: 6}, drag: {x: true, y: false}, sync: {key: this.section.id, scales: ["x", null]}},
        scales: {x: {time: false, range: (u, min, max) => [min ?? 0, max ?? this.end]}, y: {range: (u, min, max) => this.extent(min, max, share)}},
        axes: [
          {...axis, incrs: increments, space: 70, size: 30, gap: 8, values: (u, splits, a, b, incr) => splits.map((t) => incr >= 86400 || t % 86400 === 0 ? "day " + (t / 86400 + 1) : clock(t))},
          {...axis, size: 62, space: 34, incrs: index === 1 ? whole : undefined, values: (u, splits) => splits.map((v) => share ? +(v * 100).toFixed(2) + " %" : index === 3 ? "$" + (+v.toFixed(4)) : String(+v.toFixed(4)))},
        ],
        series: [{}, ...lines.map((l) => ({
          stroke: style(l.look[0]), dash: l.look[1].length ? l.look[1] : undefined, width: l.width, paths: l.paths,
          fill: l.fill ? style("--grid") : undefined, points: {show: false}, spanGaps: false,
        }))],
        hooks: {
          draw: [(u) => this.marks(u, index, share)],
          setCursor: [(u) => this.readout(u, figure, lines, write)],
        },
      };
      const u = new uPlot(options, [x, ...lines.map((l) => l.values)], figure.plot);
      let down = 0;
      u.over.addEventListener("mousedown", (e) => { down = e.clientX; });
      u.over.addEventListener("click", (e) => { if (Math.abs(e.clientX - down) < 4) this.open(u.posToVal(e.offsetX, "x"), true); });
      return u;
    }

    extent(min, max, share) {
      if (!share) return [0, max > 0 ? max * 1.05 : 1];
      const objective = this.data.objective;
      const low = Math.min(min ?? 1, objective ?? 1);
      if (low < 0.5) return [0, 1.02];
      return [Math.max(0, low - (1 - low) * 0.25), 1 + (1 - low) * 0.06];
    }

    // marks draws what is not a series: the objective, the decisions and the
    // chosen minute.
    marks(u, index, share) {
      const c = u.ctx, {left, top, width, height} = u.bbox, ratio = devicePixelRatio;
      c.save();
      c.beginPath();
      c.rect(left, top, width, height);
      c.clip();
      if (share && this.data.objective != null) {
        const y = u.valToPos(this.data.objective, "y", true);
        c.strokeStyle = c.fillStyle = style("--bad");
        c.setLineDash([6 * ratio, 4 * ratio]);
        c.lineWidth = ratio;
        c.beginPath(); c.moveTo(left, y); c.lineTo(left + width, y); c.stroke();
        c.setLineDash([]);
        c.font = 11 * ratio + "px system-ui, sans-serif";
        c.textAlign = "left";
        c.textBaseline = "top";
        const text = "objective " + percent(this.data.objective);
        c.fillStyle = style("--paper");
        c.globalAlpha = 0.8;
        c.fillRect(left + 2 * ratio, y + 2 * ratio, c.measureText(text).width + 4 * ratio, 13 * ratio);
        c.globalAlpha = 1;
        c.fillStyle = style("--bad");
        c.fillText(text, left + 4 * ratio, y + 3 * ratio);
      }
      if (index === 1) {
        c.fillStyle = style("--own");
        c.globalAlpha = 0.75;
        let drawn = -9;
        for (const at of this.data.told.at) {
          const x = u.valToPos(at, "x", true);
          if (x < left || x > left + width || x - drawn < 2 * ratio) continue;
          drawn = x;
          c.fillRect(x - ratio / 2, top + height - 6 * ratio, ratio, 6 * ratio);
        }
        c.globalAlpha = 1;
      }
      const x = u.valToPos(this.at, "x", true);
      c.strokeStyle = style("--ink");
      c.lineWidth = 1.5 * ratio;
      c.beginPath(); c.moveTo(x, top); c.lineTo(x, top + height); c.stroke();
      c.restore();
    }

    readout(u, figure, lines, write) {
      const i = u.cursor.idx;
      figure.readout.textContent = i == null || u.cursor.left < 0 ? "" :
        moment(u.data[0][i]) + ": " + lines.slice(0, 5).map((l) => (l.name ? l.name + " " : "") + write(l.values[i])).join(" · ");
    }

    fit() {
      this.plots.forEach((p, i) => p.setSize({width: Math.max(200, this.figures[i].plot.clientWidth), height: p.height}));
    }

    // shown is the span that the charts show.
    shown() {
      const {min, max} = this.plots.length ? this.plots[0].scales.x : {};
      return [min ?? 0, max ?? this.end];
    }

    // zoom shows so many times what is shown now, around the chosen minute; 0
    // shows everything.
    zoom(times) {
      const [min, max] = this.shown();
      const wide = Math.max((max - min) * times, this.data.bin * 6);
      let from = this.at - wide / 2, to = this.at + wide / 2;
      if (times === 0 || wide >= this.end) { from = 0; to = this.end; }
      if (from < 0) { to -= from; from = 0; }
      if (to > this.end) { from -= to - this.end; to = this.end; }
      this.plots.forEach((p) => p.setScale("x", {min: Math.max(0, from), max: to}));
    }

    // ——— the chosen minute ———

    // last is the index of the last decision before a time, or −1.
    last(t) {
      const at = this.data.told.at;
      let low = 0, high = at.length;
      while (low < high) { const middle = (low + high) >> 1; if (at[middle] < t) low = middle + 1; else high = middle; }
      return low - 1;
    }

    jump(direction) {
      const at = this.data.told.at, step = this.data.step;
      const from = Math.floor(this.at / step) * step;
      const i = direction > 0 ? this.last(from + step) + 1 : this.last(from);
      if (at[i] !== undefined) this.open(at[i], true);
    }

    open(t, chosen) {
      const d = this.data;
      this.at = Math.min(Math.max(0, t), Math.max(0, this.end - 1));
      if (!this.built) return;
      const minute = Math.floor(this.at / d.step) * d.step;
      this.slider.value = minute;
      this.slider.setAttribute("aria-valuetext", moment(minute));
      this.told.replaceChildren(...this.tell(minute));
      const i = this.last(minute + d.step);
      this.before.disabled = this.last(minute) < 0;
      this.after.disabled = i + 1 >= d.told.at.length;
      const [min, max] = this.shown();
      if (this.at < min || this.at > max) this.zoom(1);
      this.plots.forEach((p) => p.redraw(false));
      if (chosen) history.replaceState(null, "", "#" + encodeURIComponent(this.name) + "@" + Math.floor(this.at));
    }

    tell(minute) {
      const d = this.data, bin = Math.min(d.bins - 1, Math.floor(minute / d.bin));
      const pair = (values, write) => this.per === 1 ? write(values[bin]) : range(values[2 * bin], values[2 * bin + 1], write);
      const nodes = [el("h3", {}, moment(minute).replace(/^d/, "D"))];
      const facts = ["demand " + pair(this.demand, number) + " requests/s"];
      if (this.need.length) facts.push("clairvoyant need " + pair(this.need, number));
      nodes.push(el("p", {}, facts.join("; ")));
      if (d.bin > d.step) nodes.push(el("p", {class: "note"}, "Values are of the " + span(d.bin) + " from " + clock(bin * d.bin) + "; decisions are exact."));
      const shown = this.lines.filter((l) => l.shown);
      if (shown.length) {
        const body = el("tbody");
        for (const l of shown) {
          body.append(el("tr", {class: "name"}, el("th", {scope: "rowgroup", colspan: 4}, swatch(l.look, l.own ? 4 : 3), " " + l.name)),
            el("tr", {}, el("td", {}, pair(l.ready, number)), el("td", {}, percent(l.attainment[bin])), el("td", {}, number(l.held[bin])), el("td", {}, dollars(l.cost[bin]))));
        }
        const head = el("tr", {}, ...["Ready", "Good", "Waiting", "Spent"].map((t) => el("th", {scope: "col"}, t)));
        nodes.push(el("table", {}, el("thead", {}, head), body));
      }
      if (this.lines.some((l) => l.own)) nodes.push(...this.decision(minute));
      return nodes;
    }

    // decision tells Penstock's last one in or before the minute, all its
    // changes.
    decision(minute) {
      const told = this.data.told;
      const nodes = [el("h4", {}, "What Penstock decided")];
      const last = this.last(minute + this.data.step);
      if (last < 0) return [...nodes, el("p", {}, told.at.length ? "It has changed nothing until here." : "No decision is recorded.")];
      let first = last;
      while (first > 0 && told.at[first - 1] === told.at[last]) first--;
      const at = told.at[last];
      nodes.push(el("p", {}, at >= minute ? "At " + clock(at) + ":" : span(minute - at) + " earlier, " + (minute - at < 86400 ? "at " + clock(at) : moment(at)) + ":"));
      for (let i = first; i <= last; i++) {
        nodes.push(el("p", {}, el("strong", {}, told.targets[told.target[i]] + ": " + (told.from[i] === told.to[i] ? "stays at " + told.to[i] + ", replicas replaced" : told.from[i] + " to " + told.to[i]))));
        const list = el("ul");
        for (const r of told.reasons[i]) {
          const [code, text] = told.sentences[r];
          list.append(el("li", {}, text + " ", el("code", {}, code)));
        }
        nodes.push(list);
      }
      if (told.untold > 0) nodes.push(el("p", {class: "note"}, "Of " + (told.at.length + told.untold) + " changes " + told.at.length + " are told here, the larger of neighbours."));
      return nodes;
    }
  }

  // ——— tables ———

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.classList.contains("still")) return;
      const button = el("button", {type: "button"}, ...head.childNodes);
      head.replaceChildren(button);
      const text = head.hasAttribute("data-text");
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => row.cells[column].dataset.v ?? "";
        const rows = [...body.rows].sort((a, b) => {
          const x = value(a), y = value(b);
          if (x === "" || y === "") return (x === "") - (y === ""); // what is not known stays last
          const order = text ? x.localeCompare(y, "en", {numeric: true}) : Number(x) - Number(y);
          return up ? order : -order;
        });
        body.append(...rows);
      });
    });
  }

  // ——— the page ———

  document.querySelectorAll("table.sortable").forEach(sortable);
  const all = [...document.querySelectorAll("section.workload")].filter((s) => s.querySelector("script.data")).map((s) => new Charts(s));
  const watch = new IntersectionObserver((entries) => {
    for (const e of entries) if (e.isIntersecting) all.find((c) => c.section === e.target).build();
  }, {rootMargin: "800px"});
  all.forEach((c) => watch.observe(c.section));
  // On paper the page is light, and as wide as paper.
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    all.forEach((c) => { c.build(); c.draw(660); });
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    all.forEach((c) => c.draw());
  });

  // #W1@3600 opens that workload at that second.
  function address() {
    const hash = location.hash.slice(1), cut = hash.lastIndexOf("@");
    if (cut < 0) return;
    let name = hash.slice(0, cut);
    try { name = decodeURIComponent(name); } catch { return; }
    const charts = all.find((c) => c.name === name), t = Number(hash.slice(cut + 1));
    if (!charts || !Number.isFinite(t)) return;
    charts.at = t;
    charts.build();
    charts.open(t);
    charts.section.scrollIntoView({behavior: "instant"});
  }
  addEventListener("hashchange", address);
  address();
  if (all.length) all[0].build(); // it is in sight, or soon is
})();
