/** The live classifier, which trains on the labels: state, few-label curve, items to label next. */
import * as api from "./api.js";
import { lineChart } from "./chart.js";
import { $, el, items, percent, say, tile } from "./dom.js";
import { give } from "./label.js";
import { emit, on, state } from "./state.js";

const EVERY = 400; // ms between two requests while it trains
let timer = 0;
let told = -1; // version of the classifier that the page shows

export function createClassifier() {
  on("labels", poll);
  on("select", markSelected);
  $("#suggestions").addEventListener("keydown", onKey);
}

/** Polls until the classifier is trained on the current labels. */
async function poll() {
  clearTimeout(timer);
  try {
    const found = await api.classifier();
    const behind = found.state === "training" || found.version < state.labels.version;
    show(found, behind);
    if (behind) timer = setTimeout(poll, EVERY);
  } catch (error) {
    $("#classifier").textContent = error.message;
    timer = setTimeout(poll, 10 * EVERY);
  }
}

function show(found, behind) {
  state.classifier = found;
  $("#classifier").replaceChildren(
    behind ? el("span", { class: "spinner", "aria-hidden": "true" }) : "",
    sentence(found, behind),
  );
  $("#classifier").dataset.state = behind ? "training" : found.state;
  $("#classifier").dataset.version = found.version;
  if (behind || told === found.version) return;
  told = found.version;
  api.forget();
  drawCurve(found.curve);
  suggest(found.suggestions);
  emit("classifier", found);
}

function sentence({ state: now, labelled, classes, confused, version }, behind) {
  if (behind && state.labels.classes.length > 1) return `Training on ${items(state.labels.labelled)}…`;
  if (now !== "ready") return "Label items of at least two classes to train a live classifier.";
  const about = `Trained on ${items(labelled)} of ${classes.length} classes (version ${version}).`;
  return confused ? `${about} ${confused}` : about;
}

function drawCurve(curve) {
  if (!curve.length) return $("#curve").replaceChildren();
  const last = curve.at(-1);
  const judged = [...new Set(curve.map((point) => point.judged))].join(", ").replace("cross-validation", "cross-validation on these items");
  const series = {
    name: "accuracy",
    x: curve.map((point) => point.labelled),
    y: curve.map((point) => point.accuracy),
    low: curve.map((point) => point.low),
    high: curve.map((point) => point.high),
  };
  const interval = `[${percent(last.low)}, ${percent(last.high)}]`;
  const text = `Accuracy ${percent(last.accuracy)} ${interval} with ${items(last.labelled)}, evaluated by ${judged}`;
  $("#curve").replaceChildren(
    lineChart([series], {
      x: "items labelled",
      y: "accuracy",
      yRange: [Math.floor(10 * Math.min(...series.low)) / 10, 1],
      height: 150,
      told: text,
      share: true,
    }),
    el("figcaption", {}, `${text}.`),
  );
  return undefined;
}

function suggest(suggestions) {
  const had = $("#suggestions").contains(document.activeElement);
  $("#suggesting").hidden = !suggestions.length;
  emit("listed", { part: "label", rows: suggestions.map(({ row }) => row) });
  $("#suggestions").replaceChildren(...suggestions.map(suggestion));
  markSelected(state.selected);
  if (had) $("#suggestions .tile")?.focus();
}

function suggestion(hit) {
  const { row, label, confidence } = hit;
  const entry = el("li", { class: "hit", data: { row, label } });
  const title = `Accept the class ${label}`;
  const onclick = () => settle(entry, label);
  entry.append(
    tile(hit, percent(confidence), { onclick: () => toggle(row) }),
    el("button", { type: "button", class: "accept", title, "aria-label": title, tabindex: "-1", onclick }, "✓"),
  );
  return entry;
}

function toggle(row) {
  const { selected } = state;
  emit("choose", selected.includes(row) ? selected.filter((one) => one !== row) : [...selected, row]);
}

function markSelected(rows) {
  const chosen = new Set(rows);
  for (const entry of $("#suggestions").children) {
    entry.firstElementChild.setAttribute("aria-pressed", String(chosen.has(Number(entry.dataset.row))));
  }
}

/** Enter accepts the prediction; a digit assigns the class with that number. */
function onKey(event) {
  const entry = event.target.closest(".hit");
  if (!entry || event.ctrlKey || event.metaKey || event.altKey) return;
  const byNumber = /^[1-9]$/.test(event.key) ? state.labels.classes[Number(event.key) - 1]?.name : undefined;
  const name = event.key === "Enter" ? entry.dataset.label : byNumber;
  if (name === undefined) return;
  event.preventDefault();
  settle(entry, name);
}

async function settle(entry, name) {
  if (entry.classList.contains("done")) return;
  const next = [...$("#suggestions").children].find((other) => other !== entry && !other.classList.contains("done"));
  if (entry.contains(document.activeElement)) next?.firstElementChild.focus();
  entry.classList.add("done");
  const row = Number(entry.dataset.row);
  if (!(await give([row], name))) entry.classList.remove("done");
  else say(`Row ${row} labelled ${name}; saved.`);
}
