/** What the map leaves out: filters by name, all of which an item must pass, each shown as a chip that takes it away. */
import { $, count, el } from "./dom.js";
import { on, state } from "./state.js";

/** @type {Map<string, {text: string, mask: Uint8Array, remove: () => void}>} */
const filters = new Map();
let show = () => {};

export function createFilters(map) {
  show = () => {
    const masks = [...filters.values()].map(({ mask }) => mask);
    const all = masks.length ? Uint8Array.from({ length: state.store.rows }, (_, row) => masks.every((m) => m[row])) : null;
    const shown = all?.reduce((sum, one) => sum + one, 0);
    $("#filters").replaceChildren(
      ...[...filters].map(([name, { text, remove }]) => {
        const onclick = () => (remove ? remove() : unfilter(name));
        return el("li", {}, el("button", { type: "button", class: "chip", title: "Take this filter away", onclick }, text, el("span", { "aria-hidden": "true" }, "×")));
      }),
    );
    if (all) $("#filters").append(el("li", { class: "soft" }, `${count(shown)} shown`));
    return map.filter(all);
  };
  on("select", (rows) => {
    $("#select-only").hidden = rows.length === 0;
  });
  $("#select-only").addEventListener("click", () => {
    filterRows("selection", `${count(state.selected.length)} selected`, state.selected);
  });
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
