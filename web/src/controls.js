/** Buttons and keys of the map, and the status of the selection below it. */
import { $, count } from "./dom.js";
import { emit, on, open, state } from "./state.js";

const STEP = 0.2; // of half the view's height, by one press of an arrow key

export function createControls(map) {
  const canvas = $("#map");
  const lasso = $("#lasso");
  const setLasso = (on) => {
    map.setLasso(on);
    lasso.setAttribute("aria-pressed", String(on));
    canvas.classList.toggle("lassoing", on);
  };
  lasso.addEventListener("click", () => setLasso(!map.lassoing));
  $("#zoom-in").addEventListener("click", () => map.camera.zoom(1.6));
  $("#zoom-out").addEventListener("click", () => map.camera.zoom(1 / 1.6));
  $("#zoom-reset").addEventListener("click", () => map.camera.reset());
  $("#select-clear").addEventListener("click", () => emit("choose", []));

  const keys = {
    ArrowLeft: () => map.camera.pan(-STEP, 0),
    ArrowRight: () => map.camera.pan(STEP, 0),
    ArrowUp: () => map.camera.pan(0, STEP),
    ArrowDown: () => map.camera.pan(0, -STEP),
    "+": () => map.camera.zoom(1.4),
    "=": () => map.camera.zoom(1.4),
    "-": () => map.camera.zoom(1 / 1.4),
    0: () => map.camera.reset(),
    Home: () => map.camera.reset(),
    l: () => setLasso(!map.lassoing),
    Enter: () => choose(false),
    " ": () => choose(true),
  };
  function choose(add) {
    const row = map.nearestToMiddle();
    if (row === null) return;
    emit("choose", add ? [...new Set([...state.selected, row])] : [row]);
    if (!add) open(row, { stay: true });
  }
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (event.key === "Escape" && !typing) {
      emit("choose", []);
      setLasso(false);
    }
    if (event.key === "/" && !typing) {
      event.preventDefault();
      $("#search-text").focus();
    }
  });

  on("choose", (rows) => map.select(rows));
  on("select", (rows) => {
    state.selected = rows;
    $("#selected").textContent = `${count(rows.length)} selected`;
    $("#select-clear").hidden = rows.length === 0;
  });
}
