/** Marks on the map: rings around hits and the open item, letters at the ends of an interpolation. */
import { isDark } from "./colour.js";
import { on, state } from "./state.js";

let pointedAt = null;
let hovered = null;
let tab = "details";
const lists = {}; // part of the panel -> rows it lists

export function createOverlay(canvas, map) {
  // Drawn by the CPU: with the GPU, Chromium sometimes keeps showing old marks after a clear.
  const ctx = canvas.getContext("2d", { willReadFrequently: true });

  function ring([x, y], radius, colour, width = 2) {
    const halo = isDark() ? "#16181c" : "#ffffff";
    for (const [line, ink] of [
      [width + 2, halo],
      [width, colour],
    ]) {
      ctx.beginPath();
      ctx.arc(x, y, radius, 0, 2 * Math.PI);
      ctx.lineWidth = line;
      ctx.strokeStyle = ink;
      ctx.stroke();
    }
  }

  function letter([x, y], text, colour) {
    ctx.font = "600 12px system-ui, sans-serif";
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillStyle = colour;
    ctx.beginPath();
    ctx.arc(x, y - 17, 9, 0, 2 * Math.PI);
    ctx.fill();
    ctx.fillStyle = isDark() ? "#16181c" : "#ffffff";
    ctx.fillText(text, x, y - 16.5);
    ring([x, y], 7, colour);
  }

  function draw() {
    const { clientWidth: width, clientHeight: height } = canvas;
    const ratio = window.devicePixelRatio;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    if (!map.ready) return;
    const { left, top } = canvas.getBoundingClientRect();
    const at = (row) => {
      const [x, y] = map.screenPosition(row);
      return [x - left, y - top];
    };
    const ink = isDark() ? "#e6e8eb" : "#1b1e23";
    for (const row of lists[tab] ?? []) if (map.isShown(row)) ring(at(row), 7, isDark() ? "#7db8f5" : "#1f66b5", 1.5);
    if (state.current !== null && map.isShown(state.current)) ring(at(state.current), 9, ink, 2.5);
    if (state.interpolation.from !== null) letter(at(state.interpolation.from), "A", isDark() ? "#00b488" : "#00795a");
    if (state.interpolation.to !== null) letter(at(state.interpolation.to), "B", isDark() ? "#e8681a" : "#b84e00");
    if (hovered !== null) ring(at(hovered), 7, ink, 1.5);
    if (pointedAt !== null) ring(at(pointedAt), 11, isDark() ? "#ffb454" : "#c96a00", 3);
  }

  let asked = false;
  const redraw = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
  on("drawn", draw);
  for (const name of ["open", "interpolation"]) on(name, redraw);
  on("listed", ({ part, rows }) => {
    lists[part] = rows;
    redraw();
  });
  on("tab", (name) => {
    tab = name;
    redraw();
  });
  on("hover", (row) => {
    hovered = row;
    redraw();
  });
  on("point-at", (row) => {
    pointedAt = row;
    redraw();
  });
}
