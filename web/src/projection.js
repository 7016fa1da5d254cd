/** The projections: PCA is always ready, UMAP after the server has computed it. */
import * as api from "./api.js";
import { $, count, say } from "./dom.js";
import * as jobs from "./jobs.js";
import { on, state } from "./state.js";

let map;

export function createProjection(pointMap) {
  map = pointMap;
  for (const button of document.querySelectorAll("[data-projection]")) {
    button.addEventListener("click", () => choose(button.dataset.projection));
  }
  on("done-umap", () => project("umap"));
}

async function choose(name) {
  try {
    if (state.store.maps.includes(name)) await project(name);
    else if (jobs.known.get(name)?.state !== "running") await jobs.start(name);
  } catch (error) {
    say(error.message);
  }
}

/** Draws the items at their positions in a projection that is ready. */
export async function project(name) {
  const xy = await api.points(name);
  state.projection = name;
  for (const button of document.querySelectorAll("[data-projection]")) {
    button.setAttribute("aria-pressed", String(button.dataset.projection === name));
  }
  $("#map-message").hidden = true;
  await map.setPoints(xy);
  say(`${name.toUpperCase()}: ${count(xy.length / 2)} points drawn in ${Math.round(map.lastDraw)} ms.`);
}
