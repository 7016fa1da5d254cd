/** Puts the page together: the parts first, then the data. */
import * as api from "./api.js";
import { createClassifier } from "./classifier.js";
import { onSchemeChange } from "./colour.js";
import { createControls } from "./controls.js";
import { createDecoding } from "./decode.js";
import { createDetails } from "./details.js";
import { $, count, el, items, say } from "./dom.js";
import { createFilters } from "./filters.js";
import { createGroups } from "./groups.js";
import * as jobs from "./jobs.js";
import { createLabels, take } from "./label.js";
import { colourBy, createLegend, LIVE } from "./legend.js";
import { PointMap } from "./map.js";
import { createOverlay } from "./overlay.js";
import { createProjection, project } from "./projection.js";
import { createRuns } from "./runs.js";
import { createSearch } from "./search.js";
import { emit, state } from "./state.js";
import { createTabs } from "./tabs.js";
import { createTooltip } from "./tooltip.js";

const FAVOURITES = ["label", "cluster"]; // initial colour columns of the map, if they exist

function createMap() {
  try {
    return new PointMap($("#map"));
  } catch {
    throw new Error(
      "The map requires WebGL, which this browser does not offer. Turn on hardware acceleration, or use another browser.",
    );
  }
}

function describe({ name, rows, dim, method, run }) {
  document.title = `${name} · Salience`;
  const about = [items(rows), `${count(dim)} dimensions`, method, run].filter(Boolean).join(" · ");
  $("#store").replaceChildren(el("strong", {}, name), " ", el("span", {}, about));
}

function message(text) {
  $("#map-message").textContent = text;
  $("#map-message").hidden = false;
}

async function main() {
  const map = createMap();
  window.salience = { map, state };
  onSchemeChange(() => map.applyScheme()); // before the legend, which uses the colours
  createTabs();
  createControls(map);
  createFilters(map);
  createLegend(map);
  createTooltip(map);
  createOverlay($("#overlay"), map);
  createProjection(map);
  createDetails(map);
  createSearch();
  createLabels();
  createClassifier();
  createGroups();
  createRuns();
  createDecoding();

  say("Loading…");
  state.store = await api.store();
  describe(state.store);
  emit("store");
  document.body.dataset.modality = state.store.modality;
  document.body.classList.toggle("bare", !state.store.thumbnails);
  const labels = api.labels().then(take);
  if (state.store.rows === 0) {
    message("This store is empty. Add items with: salience embed RUN SOURCE --out STORE");
    say("No items.");
  } else {
    const own = state.store.columns.filter(({ kind, name }) => kind !== "text" && !LIVE.includes(name));
    const names = own.map(({ name }) => name);
    map.camera.inset = $("#corner").offsetWidth + 10;
    await colourBy(FAVOURITES.find((name) => names.includes(name)) ?? names[0] ?? "");
    map.camera.reset(0);
    if (state.store.maps.length) await project(state.store.maps[0]);
    else message("This store has no map yet. Click UMAP to compute one.");
  }
  await labels;
  await jobs.watch();
  document.body.dataset.ready = "true";
}

main().catch((error) => {
  message(error.message);
  say(error.message);
});
