// A line in a table: arrivals of the last 15 minutes, 30 s each.
import {html} from "./base.js";

const width = 90, height = 22;

/** @param {{values: (number | null)[]}} props */
export function Sparkline({values}) {
  const most = Math.max(...values.map((v) => v ?? 0), 1e-9);
  const step = width / Math.max(1, values.length);
  // A gap stays a gap: each run of what was measured is a shape of its own.
  let path = "", open = false;
  values.forEach((v, i) => {
    if (v == null) { open = false; return; }
    const x = (i * step).toFixed(1), next = ((i + 1) * step).toFixed(1), y = (height - 1 - (v / most) * (height - 3)).toFixed(1);
    path += `${open ? "L" : "M"}${x} ${y}L${next} ${y}`;
    open = true;
  });
  return html`<svg class="spark" viewBox=${`0 0 ${width} ${height}`} width=${width} height=${height} aria-hidden="true"><path d=${path} /></svg>`;
}
