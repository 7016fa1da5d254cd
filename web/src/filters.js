/** The filters of the map: an item must pass all; each filter has a chip that removes it. */
import { $, count, el } from "./dom.js";
import { on, state } from "./state.js";

/** @type {Map<string, {text: string, mask: Uint8Array, remove: () => void}>} */
const filters = new Map();
let show = () => {};

export function createFilters(map) {
  show = () => {
    const mask = combined();
    const shown = mask && el("li", { class: "soft" }, `${count(mask.reduce((sum, one) => sum + one, 0))} shown`);
    $("#filters").replaceChildren(...[...filters].map(chip), shown ?? "");
    return map.filter(mask);
  };
  on("select", (rows) => {
    $("#select-only").hidden = rows.length === 0;
  });
  $("#select-only").addEventListener("click", () => {
    filterRows("selection", `${count(state.selected.length)} selected`, state.selected);
  });
}

function combined() {
  const masks = [...filters.values()].map(({ mask }) => mask);
  if (masks.length < 2) return masks[0] ?? null;
  return masks[0].map((one, row) => (masks.every((mask) => mask[row]) ? one : 0));
}

function chip([name, { text, remove }]) {
  const onclick = () => (remove ? remove() : unfilter(name));
  const cross = el("span", { "aria-hidden": "true" }, "×");
  const given = { type: "button", class: "chip", title: "Remove this filter", onclick };
  return el("li", {}, el("button", given, text, cross));
}

/** @param {Uint8Array} mask 1 for every row that passes */
export function filter(name, text, mask, remove) {
  filters.set(name, { text, mask, remove });
  return show();
}

export function filterRows(name, text, rows) {
  const mask = new Uint8Array(state.store.rows);
  for (const row of rows) mask[row] = 1;
  return filter(name, text, mask);
}

export function unfilter(name) {
  return filters.delete(name) ? show() : undefined;
}
