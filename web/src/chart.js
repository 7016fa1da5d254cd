/** Line charts as SVG, with presentation attributes only: the page's security policy forbids style attributes. */
import { curveColour } from "./colour.js";
import { el, number, percent, svg } from "./dom.js";

const LEFT = 44;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 32;

/** A round step that divides the range from low to high into about `wanted` parts. */
function stepOf(low, high, wanted) {
  const rough = (high - low) / wanted;
  const size = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((times) => times * size).find((one) => one >= rough * 0.999);
}

/** The multiples of `step` from low to high. */
function ticks(low, high, step) {
  if (!(high > low)) return [low];
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, at) =>
    Number(((first + at) * step).toPrecision(12)),
  );
}

/** The range, widened to multiples of a round step; and the step. */
function rounded(low, high, wanted) {
  if (!(high > low)) return [low - 1, high + 1, 1];
  const step = stepOf(low, high, wanted);
  return [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step, step];
}

const finite = (values) => values.filter((value) => Number.isFinite(value));

/**
 * @param {{name: string, x: number[], y: number[], low?: number[], high?: number[]}[]} series
 * @param {{x: string, y: string, yRange?: [number, number], width?: number, height?: number, told: string,
 *   share?: boolean}} about
 *   told: description of the chart for screen readers; share: y is a share of one, shown in percent
 */
export function lineChart(series, { x, y, yRange, width = 360, height = 180, told, share = false }) {
  const xs = finite(series.flatMap((one) => one.x));
  const ys = yRange ?? finite(series.flatMap((one) => [...one.y, ...(one.low ?? []), ...(one.high ?? [])]));
  const [xLow, xHigh] = [Math.min(...xs), Math.max(...xs)];
  const lines = Math.max(2, Math.round(height / 50));
  const [yLow, yHigh, yStep] = rounded(Math.min(...ys), Math.max(...ys), lines);
  const across = (value) => LEFT + ((value - xLow) / (xHigh - xLow || 1)) * (width - LEFT - RIGHT);
  const up = (value) => height - BOTTOM - ((value - yLow) / (yHigh - yLow || 1)) * (height - TOP - BOTTOM);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": told, class: "chart" });
  const text = (at, anchor, content) => svg("text", { x: at[0], y: at[1], "text-anchor": anchor }, content);

  for (const tick of ticks(yLow, yHigh, yStep)) {
    chart.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: up(tick), y2: up(tick) }));
    chart.append(text([LEFT - 6, up(tick) + 3.5], "end", share ? percent(tick) : number(tick)));
  }
  for (const tick of ticks(xLow, xHigh, stepOf(xLow, xHigh, Math.max(2, Math.round(width / 80))))) {
    if (Number.isInteger(tick)) chart.append(text([across(tick), height - BOTTOM + 14], "middle", number(tick)));
  }
  chart.append(text([(LEFT + width - RIGHT) / 2, height - 3], "middle", x));
  series.forEach((one, at) => chart.append(...curve(one, curveColour(at), across, up)));
  const box = el("div", { class: "plot" }, el("div", { class: "y-name" }, y), chart);
  if (series.length > 1) box.append(key(series));
  return box;
}

function curve({ x, y, low, high }, colour, across, up) {
  const path = (values, from = x) =>
    values.map((value, at) => `${across(from[at]).toFixed(1)},${up(value).toFixed(1)}`);
  const marks = [];
  if (low && x.length > 1) {
    const outline = [...path(high), ...path(low).reverse()].join(" ");
    marks.push(svg("polygon", { points: outline, fill: colour, "fill-opacity": 0.18 }));
  }
  const points = path(y).filter((_, at) => Number.isFinite(y[at]));
  marks.push(
    svg("polyline", {
      points: points.join(" "),
      fill: "none",
      stroke: colour,
      "stroke-width": 1.75,
      "stroke-linejoin": "round",
    }),
  );
  if (x.length > 30) return marks;
  x.forEach((value, at) => {
    const [cx, cy] = [across(value), up(y[at])];
    if (low)
      marks.push(
        svg("line", { x1: cx, x2: cx, y1: up(low[at]), y2: up(high[at]), stroke: colour, "stroke-opacity": 0.5 }),
      );
    marks.push(svg("circle", { cx, cy, r: 2.6, fill: colour }));
  });
  return marks;
}

function key(series) {
  const entries = series.map(({ name }, at) => {
    const swatch = el("i", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = curveColour(at);
    return el("li", {}, swatch, name);
  });
  return el("ul", { class: "key" }, ...entries);
}
