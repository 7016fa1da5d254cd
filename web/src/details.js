/** One item: picture, columns, nearest neighbours. */
import * as api from "./api.js";
import { $, el, hitList, number, picture } from "./dom.js";
import { can, emit, on, open, state } from "./state.js";
import { shownTab, showTab } from "./tabs.js";

export function createDetails(map) {
  showHint();
  on("pick", (row) => open(row, { stay: shownTab() === "label" }));
  on("open", ({ row, stay }) => {
    if (!stay) showTab("details");
    map.goTo(row);
    show(row);
  });
  on("labels", () => state.current !== null && show(state.current));
  on("select", nameToggle);
}

function showHint() {
  const tips = [
    ["Click", "an item to see it and its nearest neighbours"],
    ["Drag", "to move the map; use the wheel to zoom"],
    ["Shift + drag", "to select with the lasso; Shift + click to add or remove an item"],
    ["Escape", "to clear the selection"],
    ["Drop", "an image anywhere to search with it"],
  ];
  $("#details").replaceChildren(
    el("dl", { class: "tips" }, ...tips.flatMap(([key, text]) => [el("dt", {}, key), el("dd", {}, text)])),
  );
}

async function show(row) {
  const box = $("#details");
  try {
    const [item, { hits }] = await Promise.all([api.item(row), api.neighbours(row)]);
    if (state.current !== row) return;
    box.replaceChildren(...head(item), table(item.columns), el("h2", {}, "Nearest neighbours"));
    box.append(el("ol", { class: "tiles", id: "neighbours" }, ...hitList(hits, ({ distance }) => number(distance))));
    box.dataset.row = row;
    nameToggle();
    emit("listed", { part: "details", rows: hits.map((hit) => hit.row) });
  } catch (error) {
    if (state.current === row) box.replaceChildren(el("p", { class: "error", role: "alert" }, error.message));
  }
}

function head(item) {
  const { row, id } = item;
  const button = (text, title, onclick, given = {}) => el("button", { type: "button", title, onclick, ...given }, text);
  const setEnd = (end) => () => {
    state.interpolation[end] = row;
    emit("interpolation");
  };
  const toggle = () => {
    const chosen = state.selected.includes(row)
      ? state.selected.filter((one) => one !== row)
      : [...state.selected, row];
    emit("choose", chosen);
  };
  const buttons = el(
    "div",
    { class: "row" },
    button("Select", "Add the item to the selection, or remove it", toggle, { id: "select-item" }),
    can("decode")
      ? button("Interpolate from (A)", "Start of the interpolation", setEnd("from"), { id: "interpolation-from" })
      : null,
    can("decode") ? button("Interpolate to (B)", "End of the interpolation", setEnd("to"), { id: "interpolation-to" }) : null,
  );
  const big = item.image ? picture(row, `Item ${id}`) : null;
  big?.classList.add("big");
  const player = item.media?.startsWith("audio/")
    ? el("audio", { src: api.media(row), controls: true, preload: "metadata", "aria-label": `Item ${id}` })
    : null;
  return [big ?? "", player ?? "", el("h2", { class: "id" }, id), el("p", { class: "soft" }, `row ${row}`), buttons];
}

function nameToggle() {
  const toggle = $("#select-item");
  if (toggle) toggle.textContent = state.selected.includes(state.current) ? "Deselect" : "Select";
}

function table(columns) {
  const lines = Object.entries(columns).map(([name, value]) => {
    const text = typeof value === "number" ? number(value) : (value ?? "–");
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, String(text)));
  });
  return el("table", { class: "columns" }, el("tbody", {}, ...lines));
}
