/** Results of a run's decoder: reconstructions of the selected items, samples, interpolation between two items. */
import * as api from "./api.js";
import { $, el, tried } from "./dom.js";
import { can, on, state } from "./state.js";

const MOST = 12; // maximum number of reconstructions at once
let seed = 0;

export function createDecoding() {
  on("store", () => {
    $("#decoding").hidden = !(can("decode") || can("sample"));
    $("#sample").hidden = !can("sample");
    $("#reconstruct").hidden = $("#interpolation").hidden = !can("decode");
  });
  on("select", update);
  on("interpolation", update);
  $("#reconstruct").addEventListener("click", rebuild);
  $("#sample").addEventListener("click", sample);
  $("#interpolation").addEventListener("click", interpolate);
  update();
}

function update() {
  const n = Math.min(state.selected.length, MOST);
  const { from, to } = state.interpolation;
  $("#reconstruct").disabled = n === 0;
  $("#reconstruct").textContent = n ? `Reconstruct ${n} selected` : "Reconstruct selected";
  $("#interpolation").disabled = from === null || to === null;
  const end = (letter, row) => `${letter}: ${row === null ? "not chosen" : `row ${row}`}`;
  $("#interpolation-ends").textContent = `${end("A", from)} · ${end("B", to)}. Choose both in the tab Item.`;
}

const shown = (base64, alt) => el("img", { src: `data:image/png;base64,${base64}`, alt });
const show = (title, ...content) => $("#decoded").replaceChildren(el("h3", {}, title), ...content);
const asking = (work) => tried($("#decode-error"), work);

async function rebuild() {
  const rows = state.selected.slice(0, MOST);
  const found = await asking(() => api.reconstruct(rows));
  if (!found) return;
  const pairs = found.images.map(([original, rebuilt], at) =>
    el("li", {}, shown(original, `Row ${rows[at]}, original`), shown(rebuilt, `Row ${rows[at]}, reconstruction`)),
  );
  show("Originals above, reconstructions below", el("ol", { class: "pairs" }, ...pairs));
}

async function sample() {
  const found = await asking(() => api.sample(16, seed));
  if (!found) return;
  const images = found.images.map((image, at) => el("li", {}, shown(image, `Sample ${at + 1}`)));
  show(`Samples, seed ${seed++}`, el("ol", { class: "samples" }, ...images));
}

async function interpolate() {
  const { from, to } = state.interpolation;
  const found = await asking(() => api.interpolation(from, to));
  if (!found) return;
  const images = found.images.map((image, at) =>
    el("li", {}, shown(image, `Step ${at + 1} of ${found.images.length}`)),
  );
  show(`From row ${from} to row ${to}`, el("ol", { class: "samples" }, ...images));
}
