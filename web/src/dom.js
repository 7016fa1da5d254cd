/** Helpers of all parts. Text from the data is always inserted as a text node. */
import { image } from "./api.js";
import { emit, open, state } from "./state.js";

export const $ = (selector) => document.querySelector(selector);

/**
 * An element with attributes, listeners (`onclick`), data (`data: {row: 3}`), properties and children.
 * @param {string} tag
 * @param {Record<string, any>} [given]
 * @param {...(Node|string|number|null|undefined)} children
 */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const count = (n) => n.toLocaleString("en-GB");
export const items = (n) => `${count(n)} ${n === 1 ? "item" : "items"}`;
export const percent = (share) => `${Math.round(share * 100)} %`;

/** A number in a short form: 12, 0.0312, 4.1e-7. */
export function number(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (Number.isInteger(x) && Math.abs(x) < 1e7) return count(x);
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-4) return x.toExponential(2);
  return String(Number(x.toPrecision(size >= 1 ? 4 : 3)));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** Shows a text in the status line, which screen readers read out. */
export function say(text) {
  $("#status").textContent = text;
}

/** Runs `work` and shows an error in `place`, which is cleared first. */
export async function tried(place, work) {
  place.replaceChildren();
  place.hidden = true;
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    place.textContent = error.message;
    place.hidden = false;
    return undefined;
  }
}

/** The thumbnail of an item, or null if items have none. */
export function picture(row, alt = "") {
  if (!state.store.thumbnails) return null;
  return el("img", { src: image(row), alt, loading: "lazy", decoding: "async", draggable: "false" });
}

/**
 * A thumbnail in a list: a button that opens the item.
 * @param {{row: number, id?: string, label?: string|null}} hit
 * @param {string} note text below the picture
 */
export function tile(hit, note, { onclick = () => open(hit.row) } = {}) {
  const told = [hit.id ?? `row ${hit.row}`, hit.label, note].filter(Boolean).join(", ");
  const button = el("button", { type: "button", class: "tile", title: told, "aria-label": told, onclick });
  const image = picture(hit.row);
  if (!image) button.classList.add("bare");
  button.append(image ?? el("span", { class: "tile-id" }, hit.id ?? `row ${hit.row}`));
  const label = hit.label === undefined ? "" : (hit.label ?? "–");
  button.append(el("span", { class: "tile-label" }, label), el("span", { class: "tile-note" }, note));
  button.addEventListener("pointerenter", () => emit("point-at", hit.row));
  button.addEventListener("pointerleave", () => emit("point-at", null));
  button.addEventListener("focus", () => emit("point-at", hit.row));
  button.addEventListener("blur", () => emit("point-at", null));
  return button;
}

/** A list of hits as tiles; each is a `.hit` with data-row. */
export function hitList(hits, note) {
  return hits.map((hit) => el("li", { class: "hit", data: { row: hit.row } }, tile(hit, note(hit))));
}
