/** Runs: health, training curves and metrics, side by side. */
import * as api from "./api.js";
import { lineChart } from "./chart.js";
import { $, duration, el, number, tried } from "./dom.js";
import { on } from "./state.js";

let runs = [];
let ticked = new Set(); // names of the selected runs
const curves = new Map(); // run -> {curve: {step, value}}
const FIGURES = 3; // number of metrics in the table; the comparison shows all

export function createRuns() {
  on("tab", (name) => name === "runs" && load());
  $("#curve-name").addEventListener("change", drawCurves);
}

async function load() {
  const found = await tried($("#runs-error"), api.runs);
  if (!found) return;
  const first = !runs.length;
  runs = found.runs;
  if (first) ticked = new Set(runs.filter((run) => run.this).map(({ name }) => name));
  showTable();
  await compare();
}

const figureNames = (chosen) => [...new Set(chosen.flatMap(({ figures }) => Object.keys(figures)))];

function showTable() {
  if (!runs.length) {
    $("#runs").replaceChildren(el("caption", {}, "There are no runs. Start salience explore with --runs FOLDER to show some."));
    return;
  }
  const names = figureNames(runs).slice(0, FIGURES);
  const head = ["", "Run", "Method", "Verdict"].map((text) => el("th", { scope: "col" }, text));
  head.push(...[...names, "Time"].map((text) => el("th", { scope: "col", class: "num" }, text)));
  const lines = runs.flatMap((run) => runLine(run, names));
  $("#runs").replaceChildren(el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...lines));
}

function runLine(run, names) {
  const { name, method, finished, verdict, findings, figures, seconds } = run;
  const onchange = (event) => setTicked(name, event.target.checked);
  const tick = el("input", { type: "checkbox", checked: ticked.has(name), "aria-label": `Compare ${name}`, onchange });
  const note = [run.this ? "this store" : "", finished ? "" : "unfinished"].filter(Boolean).join(", ");
  const width = 5 + names.length;
  const because = el(
    "tr",
    { class: "findings", hidden: true },
    el("td"),
    el("td", { colSpan: width - 1 }, reasons(findings)),
  );
  const line = el(
    "tr",
    { data: { run: name } },
    el("td", {}, tick),
    el(
      "th",
      { scope: "row" },
      el("span", { class: "id" }, name),
      note ? el("span", { class: "soft" }, ` ${note}`) : null,
    ),
    el("td", {}, method ?? "–"),
    el("td", {}, judgement(verdict, findings, because)),
    ...names.map((figure) => el("td", { class: "num" }, figures[figure] ? number(figures[figure][0]) : "–")),
    el("td", { class: "num" }, duration(seconds)),
  );
  return [line, because];
}

/** The verdict; if there are findings, a button that shows them. */
function judgement(verdict, findings, because) {
  if (!verdict) return "–";
  if (!findings.length) return el("span", { class: "verdict", data: { verdict } }, verdict);
  const button = el(
    "button",
    { type: "button", class: "verdict", data: { verdict }, "aria-expanded": "false" },
    verdict,
  );
  button.title = findings.map(({ what, why }) => `${what}: ${why}`).join("\n");
  button.addEventListener("click", () => {
    because.hidden = !because.hidden;
    button.setAttribute("aria-expanded", String(!because.hidden));
  });
  return button;
}

function reasons(findings) {
  const entries = findings.map(({ what, why, change }) =>
    el("li", {}, el("strong", {}, what), el("span", {}, ` ${why}. `), el("em", {}, change)),
  );
  return el("ul", {}, ...entries);
}

function setTicked(name, on) {
  if (on) ticked.add(name);
  else ticked.delete(name);
  compare();
}

async function compare() {
  const chosen = runs.filter(({ name }) => ticked.has(name));
  $("#comparison").hidden = !chosen.length;
  if (!chosen.length) return;
  await tried($("#runs-error"), async () => {
    const missing = chosen.filter(({ name }) => !curves.has(name));
    const found = await Promise.all(missing.map(({ name }) => api.curves(name)));
    missing.forEach(({ name }, at) => curves.set(name, found[at].curves));
  });
  const select = $("#curve-name");
  const before = select.value;
  const names = [...new Set(chosen.flatMap(({ name }) => Object.keys(curves.get(name) ?? {})))];
  select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  if (names.includes(before)) select.value = before;
  select.parentElement.hidden = !names.length;
  drawCurves();
  showFigures(chosen);
}

function drawCurves() {
  const name = $("#curve-name").value;
  const series = runs
    .filter((run) => ticked.has(run.name) && curves.get(run.name)?.[name])
    .map((run) => ({ name: run.name, x: curves.get(run.name)[name].step, y: curves.get(run.name)[name].value }));
  if (!series.length) return $("#curves").replaceChildren(el("p", { class: "soft" }, "These runs have no training curves."));
  const told = `${name} over steps for ${series.map((one) => one.name).join(", ")}`;
  return $("#curves").replaceChildren(lineChart(series, { x: "step", y: name, width: 540, height: 230, told }));
}

function showFigures(chosen) {
  const names = figureNames(chosen);
  if (!names.length) return $("#figures").replaceChildren();
  const head = el("tr", {}, el("th", {}), ...chosen.map(({ name }) => el("th", { scope: "col", class: "num" }, name)));
  const lines = names.map((figure) => {
    const cells = chosen.map(({ figures }) => el("td", { class: "num" }, ...interval(figures[figure])));
    return el("tr", {}, el("th", { scope: "row" }, figure), ...cells);
  });
  return $("#figures").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines)));
}

function interval(figure) {
  if (!figure) return ["–"];
  const [value, low, high] = figure;
  const known = low !== null && low !== undefined && high !== null && high !== undefined;
  return [number(value), known ? el("small", {}, ` [${number(low)}, ${number(high)}]`) : ""];
}
