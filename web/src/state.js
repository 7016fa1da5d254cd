/** The shared state of the page, and its events. */

/**
 * @typedef {{row: number, id: string, distance: number|null, label: string|null}} Hit
 * @typedef {{name: string, kind: "category"|"number"|"text"}} Column
 */
export const state = {
  /** GET /store */
  store: null,
  /** the projection shown: "pca" or "umap" */
  projection: null,
  /** the column that colours the map, or "" */
  colour: "",
  /** selected rows, in the order of the map @type {number[]} */
  selected: [],
  /** the row whose details are shown @type {number|null} */
  current: null,
  /** ends of the interpolation @type {{from: number|null, to: number|null}} */
  interpolation: { from: null, to: null },
  /** GET /labels */
  labels: null,
  /** GET /classifier */
  classifier: null,
};

const bus = new EventTarget();

/** Calls `listener` with the detail whenever `name` is emitted. */
export const on = (name, listener) => bus.addEventListener(name, (event) => listener(event.detail));
export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));

/** Opens a row: marks it on the map, shows its details, and switches to their tab unless `stay`. */
export function open(row, { stay = false } = {}) {
  state.current = row;
  emit("open", { row, stay });
}

export const can = (what) => Boolean(state.store?.can.includes(what));
