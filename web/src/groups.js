/** Clusters, outliers and near-duplicates, which the server computes in the background. */
import * as api from "./api.js";
import { $, count, el, hitList, items, number, percent, tile, tried } from "./dom.js";
import * as jobs from "./jobs.js";
import { colourBy, showOnly } from "./legend.js";
import { on, state } from "./state.js";

export function createGroups() {
  const method = $("#cluster-method");
  method.addEventListener("change", () => {
    $("#cluster-k").disabled = method.value === "hdbscan";
  });
  $("#cluster-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const k = method.value === "hdbscan" ? null : Number($("#cluster-k").value);
    tried($("#cluster-error"), () => jobs.start("cluster", { method: method.value, k }));
  });
  for (const name of ["anomalies", "duplicates"]) {
    $(`#find-${name}`).addEventListener("click", () => tried($("#outliers-error"), () => jobs.start(name)));
    on(`done-${name}`, showOutliers);
  }
  on("done-cluster", async () => {
    await showClusters();
    await colourBy("cluster", { anew: true });
  });
  let looked = false;
  on("tab", (name) => {
    if (name !== "groups" || looked) return;
    looked = true;
    const has = (column) => state.store.columns.some((one) => one.name === column);
    if (has("cluster")) showClusters();
    if (has("anomaly") || has("duplicate_of")) showOutliers();
  });
}

async function showClusters() {
  const found = await tried($("#cluster-error"), api.clusters);
  if (!found) return;
  const most = Math.max(1, ...found.clusters.map(({ size }) => size));
  $("#clusters").replaceChildren(...found.clusters.map((cluster) => clusterEntry(cluster, most)));
}

function clusterEntry({ cluster, size, rows, label, share }, most) {
  const name = cluster < 0 ? "noise" : `cluster ${cluster}`;
  const bar = el("i", { class: "bar", "aria-hidden": "true" });
  bar.style.width = `${(100 * size) / most}%`;
  const about = label === null ? "" : `mostly ${label} (${percent(share)})`;
  const onclick = () => showOnly("cluster", String(cluster));
  const head = el(
    "button",
    { type: "button", class: "cluster", title: `Show only ${name} on the map`, onclick },
    bar,
    el("strong", {}, name),
    el("span", { class: "name" }, about),
    el("span", { class: "count" }, items(size)),
  );
  const strip = state.store.thumbnails ? rows.map((row) => el("li", {}, small(row))) : [];
  return el("li", { data: { cluster } }, head, el("ol", { class: "strip" }, ...strip));
}

function small(row) {
  const button = tile({ row }, "");
  button.classList.add("small");
  return button;
}

async function showOutliers() {
  const found = await tried($("#outliers-error"), api.outliers);
  if (!found) return;
  const { anomalies, duplicates } = found;
  $("#anomalies-box").hidden = !anomalies;
  $("#duplicates-box").hidden = !duplicates;
  if (anomalies) $("#anomalies").replaceChildren(...hitList(anomalies, ({ score }) => number(score)));
  if (!duplicates) return;
  const pairs = duplicates.map(({ rows, ids, distance }) => {
    const pair = rows.map((row, at) => tile({ row, id: ids[at] }, ""));
    const names = el("span", { class: "names" }, ...ids.map((id) => el("span", {}, id)));
    return el("li", {}, ...pair, names, el("span", { class: "count" }, number(distance)));
  });
  $("#duplicates").replaceChildren(...pairs);
  if (!pairs.length)
    $("#duplicates").replaceChildren(el("li", { class: "soft" }, `No near-duplicates among ${count(state.store.rows)} items.`));
}
