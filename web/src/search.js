/** Search by row, id, condition or image; shows the hits as a list and marks them on the map. */
import * as api from "./api.js";
import { $, count, el, hitList, items, number, picture, tried } from "./dom.js";
import { filterRows } from "./filters.js";
import { can, emit, on, open, state } from "./state.js";
import { showTab } from "./tabs.js";

let shownImage = null; // object URL of the query image
let again = () => searchText($("#search-where").value.trim()); // before the first search

export function createSearch() {
  $("#search").addEventListener("submit", (event) => {
    event.preventDefault();
    searchText($("#search-text").value.trim());
  });
  $("#search-file").addEventListener("change", (event) => {
    if (event.target.files[0]) searchFile(event.target.files[0]);
    event.target.value = "";
  });
  for (const name of ["#search-where", "#search-k"]) $(name).addEventListener("change", () => again());
  on("store", () => {
    $("#search-file-label").hidden = !takesImages();
    suggestExpression();
  });
  listenForDrops();
}

const takesImages = () => can("embed") && state.store.modality === "image";

/** An example of a condition from the data: a class of the first column that has classes. */
async function suggestExpression() {
  const columns = state.store.columns;
  const category = columns.find(({ kind }) => kind === "category");
  const numeric = columns.find(({ kind }) => kind === "number");
  let example = numeric ? `${numeric.name} > 0` : "";
  if (category) {
    const { classes } = await api.column(category.name).catch(() => ({ classes: [] }));
    if (classes.length) example = `${category.name} = '${classes[0].replaceAll("'", "''")}'`;
  }
  if (!example) return;
  $("#search-text").placeholder = `Row, id, or ${example}`;
  $("#search-where").placeholder = example;
}

/** The server interprets a text as an id, a vector, a row or a condition. */
function searchText(text) {
  $("#search-error").hidden = true;
  if (!text) return;
  run(async () => {
    const found = await api.search({ text, k: hitsWanted(), ...narrowed() });
    if (found.row === null && !text.startsWith("[")) {
      return { ...found, about: told(`Items where ${text}`), where: text };
    }
    const row = found.row ?? undefined;
    const about = told(`Nearest to ${text.slice(0, 40)}`, row === undefined ? null : picture(row));
    return { ...found, about, row, ...narrowed() };
  });
}

function searchFile(file) {
  if (!takesImages()) {
    const why =
      state.store.modality === "image"
        ? "its run cannot be found"
        : `it contains items of modality ${state.store.modality}`;
    return run(() =>
      Promise.reject(new Error(`This store cannot be searched by image: ${why}. Search by row, id or condition.`)),
    );
  }
  if (shownImage) URL.revokeObjectURL(shownImage);
  shownImage = URL.createObjectURL(file);
  return run(async () => ({
    ...(await api.searchImage(file, { k: hitsWanted(), ...narrowed() })),
    about: told(`Nearest to ${file.name}`, el("img", { src: shownImage, alt: "Query image" })),
    ...narrowed(),
  }));
}

const hitsWanted = () => Number($("#search-k").value);
const narrowed = () => {
  const where = $("#search-where").value.trim();
  return where ? { where } : {};
};
const told = (text, image = null) => [image ?? "", el("strong", {}, text)];

/** Shows the result of `ask`: {hits, matching, about: nodes, where?: string, row?: number}. */
async function run(ask) {
  again = () => run(ask);
  showTab("search");
  const found = await tried($("#search-error"), ask);
  emit("listed", { part: "search", rows: found ? found.hits.map(({ row }) => row) : [] });
  $("#hits").replaceChildren(
    ...hitList(found?.hits ?? [], ({ distance }) => (distance === null ? "" : number(distance))),
  );
  $("#search-query").replaceChildren(...(found ? summary(found) : []));
  if (Number.isInteger(found?.row)) open(found.row, { stay: true });
}

function summary({ about, hits, matching, where }) {
  const many = matching === null ? items(hits.length) : `${count(hits.length)} of ${count(matching)} matching`;
  const only = el("button", { type: "button", id: "filter-where" }, "Show only matches on the map");
  only.addEventListener("click", () =>
    tried($("#search-error"), async () => filterRows("where", where, await api.rows(where))),
  );
  return [el("div", { class: "query" }, ...about, el("span", { class: "soft" }, many)), where ? only : ""];
}

function listenForDrops() {
  const shade = $("#drop");
  let depth = 0; // dragenter and dragleave fire for every element under the pointer
  const hasFile = (event) => event.dataTransfer?.types.includes("Files");
  document.body.addEventListener("dragenter", (event) => {
    if (!hasFile(event)) return;
    depth++;
    shade.hidden = false;
  });
  document.body.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    shade.hidden = depth === 0;
  });
  document.body.addEventListener("dragover", (event) => event.preventDefault());
  document.body.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    shade.hidden = true;
    if (event.dataTransfer.files[0]) searchFile(event.dataTransfer.files[0]);
  });
}
