/** Labels of the selection: add, remove, undo. The server saves them before it responds. */
import * as api from "./api.js";
import { $, count, el, items, say, tried } from "./dom.js";
import { emit, on, state } from "./state.js";

export function createLabels() {
  $("#label-form").addEventListener("submit", (event) => {
    event.preventDefault();
    labelSelection($("#label-name").value.trim());
  });
  $("#take-labels").addEventListener("click", () => labelSelection(null));
  $("#undo").addEventListener("click", undo);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (typing || event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
    event.preventDefault();
    undo();
  });
  on("select", (rows) => {
    $("#apply-label").textContent = rows.length ? `Label ${items(rows.length)}` : "Label";
  });
  on("classifier", showExports);
  on("labels", showExports);
  showExports();
}

/** Labels the selected items; null removes their labels. */
async function labelSelection(name) {
  const place = $("#label-error");
  if (!state.selected.length) return complain("No items are selected: drag around items with Shift held, or click one.");
  if (name === "") return complain("Type a label first.");
  const given = await give(state.selected, name, place);
  if (given) $("#select-clear").click(); // the next selection is a new group
  return undefined;
}

function complain(text) {
  return tried($("#label-error"), () => Promise.reject(new Error(text)));
}

/** @param {number[]} rows @param {string|null} name */
export async function give(rows, name, place = $("#label-error")) {
  const before = state.labels;
  const after = await tried(place, () => api.label(rows, name));
  if (!after) return false;
  take(after);
  say(
    name === null
      ? `Removed the labels of ${items(rows.length)}; saved.`
      : `Labelled ${items(rows.length)} as ${name}; saved.`,
  );
  return before !== after;
}

async function undo() {
  const gone = state.labels?.undo;
  if (!gone) return;
  const after = await tried($("#label-error"), api.undo);
  if (!after) return;
  take(after);
  say(`Undone: ${describe(gone)}.`);
}

const describe = ({ label, count: n }) =>
  label === null ? `removed labels of ${items(n)}` : `${label} for ${items(n)}`;

/** Shows the labels from a response of the server. */
export function take(labels) {
  state.labels = labels;
  api.forget();
  const { classes, undo: last } = labels;
  $("#undo").disabled = !last;
  $("#undo").textContent = last ? `Undo: ${describe(last)}` : "Undo";
  $("#undo").title = last ? "Ctrl + Z" : "";
  $("#label-names").replaceChildren(...classes.map(({ name }) => el("option", { value: name })));
  const most = Math.max(1, ...classes.map((one) => one.count));
  $("#classes").replaceChildren(...classes.map((one, at) => classEntry(one, at, most)));
  if (!classes.length)
    $("#classes").replaceChildren(el("li", { class: "soft" }, "No labels yet. Select items on the map and label them."));
  emit("labels", labels);
}

function classEntry({ name, count: n }, at, most) {
  const bar = el("i", { class: "bar", "aria-hidden": "true" });
  bar.style.width = `${(100 * n) / most}%`;
  const title = `Label the selection as ${name}`;
  return el(
    "li",
    { data: { class: name } },
    el(
      "button",
      { type: "button", title, onclick: () => labelSelection(name) },
      bar,
      at < 9 ? el("kbd", { "aria-hidden": "true" }, String(at + 1)) : el("kbd", { "aria-hidden": "true" }, " "),
      el("span", { class: "name" }, name),
      el("span", { class: "count" }, count(n)),
    ),
  );
}

function showExports() {
  const missing = {
    labels: state.labels?.labelled ? null : "There are no labels yet",
    predictions:
      state.classifier?.state === "ready" ? null : "Predictions require labelled items of two classes",
  };
  const link = (what, format, text) => {
    const given = missing[what]
      ? { "aria-disabled": "true", role: "link", title: missing[what] }
      : { href: api.exportLink(what, format), download: "" };
    return el("a", { ...given, class: "button", id: `export-${what}-${format}` }, text);
  };
  $("#exports").replaceChildren(
    el("span", {}, "Labels"),
    link("labels", "csv", "CSV"),
    link("labels", "parquet", "Parquet"),
    el("span", {}, "Predictions"),
    link("predictions", "csv", "CSV"),
    link("predictions", "parquet", "Parquet"),
  );
}
