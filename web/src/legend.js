/** Colour by a column, and the legend that says what the colours mean and filters by them. */
import * as api from "./api.js";
import { classColours, missingColour, onSchemeChange, rampColours, rampStops, STEPS } from "./colour.js";
import { $, count, el, number, say } from "./dom.js";
import { filter, unfilter } from "./filters.js";
import { emit, on, state } from "./state.js";

const MISSING = 65_535;
export const LIVE = ["marked", "predicted", "confidence"]; // columns made of the labels given here
const LIVE_CLASSES = []; // classes given here keep their colours, in the order in which they came

let map;
let shown = null; // {column, values, codes, classes}
let hidden = new Set(); // classes the legend leaves out; null stands for no value
let asked = 0;

export function createLegend(pointMap) {
  map = pointMap;
  $("#colour").addEventListener("change", (event) => colourBy(event.target.value));
  onSchemeChange(() => paint());
  on("labels", () => state.colour === "marked" && colourBy("marked"));
  on("classifier", () => ["predicted", "confidence"].includes(state.colour) && colourBy(state.colour));
  on("store", fillChoices);
}

function fillChoices() {
  const columns = state.store.columns.filter(({ kind, name }) => kind !== "text" && !LIVE.includes(name));
  const option = (value, text) => el("option", { value }, text);
  $("#colour").replaceChildren(
    option("", "one colour"),
    el("optgroup", { label: "Columns" }, ...columns.map(({ name }) => option(name, name))),
    el("optgroup", { label: "Labels given here" }, ...LIVE.map((name) => option(name, name))),
  );
  $("#colour").value = state.colour;
}

/** Colours the map by a column; keeps what is hidden when it is the column shown already and means the same still. */
export async function colourBy(name, { anew = false } = {}) {
  const turn = ++asked;
  if (anew || name !== state.colour) {
    hidden = new Set();
    unfilter("legend");
  }
  state.colour = name;
  $("#colour").value = name;
  try {
    const column = name ? await api.column(name) : { name: "", kind: "none" };
    const values = name ? await api.values(name, column.kind) : null;
    if (turn !== asked) return;
    shown =
      column.kind === "category"
        ? byClass(column, values)
        : column.kind === "number"
          ? byNumber(column, values)
          : { column };
    await paint();
    if (hidden.size) await applyFilter();
    emit("coloured", name);
  } catch (error) {
    say(error.message);
  }
}

function byClass(column, values) {
  const codes = Uint16Array.from(values, (code) => (code === MISSING ? 0 : Math.min(code, column.classes.length) + 1));
  const classes = column.classes.map((name, at) => ({ name, count: column.counts[at] }));
  const others = codes.reduce((sum, code) => sum + (code > classes.length), 0);
  if (others) classes.push({ name: "other", count: others });
  if (LIVE.includes(column.name))
    for (const { name } of classes) if (!LIVE_CLASSES.includes(name)) LIVE_CLASSES.push(name);
  return { column, codes, classes };
}

function byNumber(column, values) {
  const { low, high } = column;
  const scale = high > low ? (STEPS - 1) / (high - low) : 0;
  const codes = Uint16Array.from(values, (value) => {
    if (Number.isNaN(value)) return 0;
    return 1 + Math.min(STEPS - 1, Math.max(0, Math.round((value - low) * scale)));
  });
  return { column, codes };
}

function coloursOf({ column, classes }) {
  if (column.kind === "number") return rampColours();
  if (!LIVE.includes(column.name)) return classColours(classes.length);
  const colours = classColours(LIVE_CLASSES.length);
  return classes.map(({ name }) => colours[LIVE_CLASSES.indexOf(name)]);
}

async function paint() {
  if (!shown) return;
  const { column, codes } = shown;
  const colours = column.kind === "none" ? classColours(1) : coloursOf(shown);
  drawLegend(colours);
  await map.setLook({
    codes: codes ?? new Uint8Array(state.store.rows).fill(1),
    colours: [missingColour(), ...colours],
  });
}

function drawLegend(colours) {
  const { column, classes } = shown;
  const box = $("#legend");
  if (column.kind === "none") return box.replaceChildren();
  if (column.kind === "number" && column.low !== null) return box.replaceChildren(...scale(column));
  const entries = (classes ?? []).map(({ name, count: n }, at) => entry(name, name, n, colours[at]));
  if (column.missing && entries.length) entries.push(entry(null, "no value", column.missing, missingColour()));
  box.replaceChildren(el("ul", { "aria-label": `Classes of ${column.name}` }, ...entries));
  if (!entries.length) box.replaceChildren(el("p", { class: "soft" }, "Nothing yet."));
}

function entry(name, text, n, colour) {
  const swatch = el("i", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = colour;
  const toggle = el(
    "button",
    {
      type: "button",
      class: "entry",
      data: { class: text },
      "aria-pressed": String(!hidden.has(name)),
      title: `${text}: ${count(n)}. Click to hide or show`,
      onclick: () => setHidden(hidden.has(name) ? without(hidden, name) : new Set([...hidden, name])),
    },
    swatch,
    el("span", { class: "name" }, text),
    el("span", { class: "count" }, count(n)),
  );
  const others = () => new Set([...shown.classes.map((one) => one.name), null].filter((one) => one !== name));
  const only = el(
    "button",
    { type: "button", class: "only", "aria-label": `Only ${text}`, onclick: () => setHidden(others()) },
    "only",
  );
  return el("li", {}, toggle, only);
}

const without = (set, gone) => new Set([...set].filter((one) => one !== gone));

function setHidden(next) {
  hidden = next;
  const names = [...shown.classes.map(({ name }) => name), null];
  $("#legend")
    .querySelectorAll(".entry")
    .forEach((button, at) => {
      button.setAttribute("aria-pressed", String(!hidden.has(names[at])));
    });
  return applyFilter();
}

/** Shows one class only, as if all others had been clicked away. */
export async function showOnly(column, name) {
  if (state.colour !== column) await colourBy(column);
  if (!shown.classes?.some((one) => one.name === name)) return;
  await setHidden(new Set([...shown.classes.map((one) => one.name), null].filter((one) => one !== name)));
}

function applyFilter() {
  const { column, codes, classes } = shown;
  if (!hidden.size) return unfilter("legend");
  const passes = [!hidden.has(null), ...classes.map(({ name }) => !hidden.has(name))];
  const mask = Uint8Array.from(codes, (code) => (passes[code] ? 1 : 0));
  const left = classes.filter(({ name }) => !hidden.has(name)).map(({ name }) => name);
  const text = left.length === 1 ? left[0] : `${left.length} of ${classes.length}`;
  return filter("legend", `${column.name}: ${text}`, mask, () => setHidden(new Set()));
}

function scale({ name, low, high, missing }) {
  const ramp = el("div", {
    class: "ramp",
    role: "img",
    "aria-label": `${name} from ${number(low)} to ${number(high)}`,
  });
  ramp.style.background = `linear-gradient(to right, ${rampStops().join(", ")})`;
  const ends = el(
    "div",
    { class: "ends" },
    el("span", {}, number(low)),
    el("span", {}, number((low + high) / 2)),
    el("span", {}, number(high)),
  );
  return [ramp, ends, missing ? el("p", { class: "soft" }, `${count(missing)} without a value`) : ""];
}
