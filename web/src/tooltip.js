/** The tooltip of the point under the pointer: picture, id and label. */
import * as api from "./api.js";
import { $, el, number, picture } from "./dom.js";
import { on, state } from "./state.js";

const WAIT = 60; // ms on a point before its columns are requested
const TOLD = ["label", "marked", "predicted"];

export function createTooltip(map) {
  const box = $("#tooltip");
  let timer = 0;
  let current = null;

  on("moving", () => {
    box.hidden = true;
  });
  on("hover", (row) => {
    clearTimeout(timer);
    current = row;
    if (row === null) {
      box.hidden = true;
      return;
    }
    show(row);
    timer = setTimeout(async () => {
      const item = await api.item(row).catch(() => null);
      if (item && current === row) show(row, item);
    }, WAIT);
  });

  function show(row, item) {
    const lines = item ? [el("strong", {}, item.id), ...about(item.columns)] : [el("strong", {}, `row ${row}`)];
    box.replaceChildren(picture(row) ?? "", el("div", {}, ...lines));
    box.dataset.row = row;
    box.hidden = false;
    place(row);
  }

  function place(row) {
    const [x, y] = map.screenPosition(row);
    const { left, top, right, bottom } = $("#map-box").getBoundingClientRect();
    const { width, height } = box.getBoundingClientRect();
    const beside = x + 16 + width < right ? x + 16 : x - 16 - width;
    box.style.left = `${Math.max(4, beside - left)}px`;
    box.style.top = `${Math.max(4, Math.min(y - height / 2, bottom - height - 4) - top)}px`;
  }
}

/** Labels first; for tables, which have no pictures, also some columns. */
function about(columns) {
  const names = TOLD.filter((name) => columns[name] !== null && columns[name] !== undefined);
  if (state.colour && columns[state.colour] !== undefined && !names.includes(state.colour)) names.push(state.colour);
  if (!state.store.thumbnails) {
    names.push(
      ...Object.keys(columns)
        .filter((name) => !names.includes(name) && columns[name] !== null)
        .slice(0, 6),
    );
  }
  return names.map((name) => {
    const value = columns[name];
    return el(
      "div",
      {},
      el("span", { class: "soft" }, `${name} `),
      typeof value === "number" ? number(value) : String(value ?? "–"),
    );
  });
}
