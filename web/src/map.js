/** The map: an adapter of regl-scatterplot to rows of the store.
 *
 * The points are passed in a random order. No class then covers the others, and the first 50,000 points are a random
 * sample, which is drawn while the map moves; all points are drawn when it rests.
 */
import createScatterplot from "regl-scatterplot";
import { Camera } from "./camera.js";
import { isDark } from "./colour.js";
import { emit } from "./state.js";

const MOVING = 50_000; // maximum number of points while the map moves
const SLOW = 50; // target ms per frame while it moves
const REST = 200; // ms from the last movement until all points are drawn
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

/** A permutation of 0..n-1, the same every time. */
function shuffled(n) {
  const order = Uint32Array.from({ length: n }, (_, at) => at);
  let seed = 1;
  for (let at = n - 1; at > 0; at--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((seed / 2 ** 32) * (at + 1));
    [order[at], order[other]] = [order[other], order[at]];
  }
  return order;
}

export class PointMap {
  /** ms from the request to the picture, for the last drawing of all points */
  lastDraw = 0;
  lassoing = false;
  /** @type {Camera} */
  camera;
  #canvas;
  #scatter;
  #points = []; // [x, y, colour index, 0], in the format of the scatterplot
  #order = new Uint32Array(); // position in #points -> row
  #place = new Uint32Array(); // row -> position in #points
  #look = { codes: null, colours: ["#808080"] };
  #mask = null; // rows shown @type {Uint8Array|null}
  #moving = false;
  #budget = MOVING; // number of points while moving; reduced on a slow machine
  #lastFrame = 0;
  #selected = 0; // number of selected points
  #timer = 0;
  #queue = Promise.resolve();

  constructor(canvas) {
    this.#canvas = canvas;
    this.#scatter = createScatterplot({
      canvas,
      actionKeyMap: { lasso: "shift", merge: "shift", remove: "alt" },
      colorBy: "valueA",
      opacityBy: "valueA",
      sizeBy: "valueA",
      deselectOnDblClick: false,
      deselectOnEscape: false,
      spatialIndexUseWorker: false, // the page's security policy forbids its worker, which is a blob
      pointSizeSelected: 2,
      pointOutlineWidth: 1.5,
      lassoLineWidth: 2,
      antiAliasing: 1,
    });
    this.camera = new Camera(this.#scatter, canvas, (ms) => this.moved(ms + REST));
    this.#gl.cap = (count, nth) => this.#cap(count, nth);
    this.#listen();
    this.applyScheme();
  }

  /** Whether points have been drawn, so that positions are known. */
  get ready() {
    return this.#scatter.get("isPointsDrawn");
  }

  get #gl() {
    return this.#scatter.get("regl");
  }

  /** While moving: limits for all points and for selected points, each of which is drawn three times. */
  #cap(count, nth) {
    if (!this.#moving) return count;
    const selected = Math.min(this.#selected, MOVING / 20);
    return Math.min(count, nth === 0 ? this.#budget - 3 * selected - 1 : Math.max(1, selected));
  }

  /** After every frame of a movement: reduces the number of points if the frame was late, else increases it. */
  #pace() {
    const now = performance.now();
    const took = now - this.#lastFrame;
    this.#lastFrame = now;
    if (!this.#moving || took > 500) return;
    this.#budget = clamp(Math.round(this.#budget * (took > SLOW ? 0.8 : 1.05)), MOVING / 5, MOVING);
  }

  #listen() {
    const scatter = this.#scatter;
    const canvas = this.#canvas;
    scatter.subscribe("pointover", (place) => emit("hover", this.#order[place]));
    scatter.subscribe("pointout", () => emit("hover", null));
    for (const name of ["select", "deselect"]) scatter.subscribe(name, () => this.#announce());
    scatter.subscribe("drawing", () => {
      this.#pace();
      emit("drawn");
    });
    const byHand = () => {
      this.camera.byHand();
      this.moved();
    };
    canvas.addEventListener("wheel", byHand, { passive: true });
    let start = null; // start of a drag
    canvas.addEventListener("mousedown", (event) => {
      const still = event.shiftKey || this.lassoing; // the lasso is drawn, the map does not move
      const selected = new Set(scatter.get("selectedPoints"));
      start = { x: event.clientX, y: event.clientY, pressed: true, farthest: 0, still, selected };
    });
    window.addEventListener("mousemove", (event) => {
      if (!start?.pressed) return;
      start.farthest = Math.max(start.farthest, Math.hypot(event.clientX - start.x, event.clientY - start.y));
      if (!start.still && event.buttons & 1) byHand();
    });
    window.addEventListener("mouseup", () => {
      if (start) start.pressed = false; // the click event follows
    });
    canvas.addEventListener("click", (event) => {
      const hovered = scatter.get("hoveredPoint");
      if (!start || hovered === undefined) return;
      if (event.shiftKey && start.selected.has(hovered)) {
        scatter.select([...start.selected].filter((place) => place !== hovered));
      } else if (!event.shiftKey && !event.altKey) {
        emit("pick", this.#order[hovered]);
      }
    });
    // A lasso that ends at its start is not a click on the item there.
    const dragged = (event) => start?.farthest > 3 && event.stopPropagation();
    canvas.parentElement.addEventListener("click", dragged, { capture: true });
    // On a double click the scatterplot would add a style sheet to the page, for another type of lasso.
    const box = canvas.parentElement;
    box.addEventListener("dblclick", (event) => event.stopPropagation(), { capture: true });
  }

  #announce() {
    const rows = this.selection();
    this.#selected = rows.length;
    this.#scatter.set({ opacityInactiveScale: rows.length > 1 ? 0.45 : 1 });
    emit("select", rows);
  }

  /** Call on every movement: draws fewer points until the movement has stopped. */
  moved(rest = REST) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#settle(), rest);
    if (this.#moving) return;
    this.#moving = true;
    emit("moving");
    if (this.#points.length > MOVING) this.#restyle();
  }

  async #settle() {
    this.#moving = false;
    this.camera.arrived();
    this.#restyle();
    await this.#measured(() => {
      const drawn = new Promise((resolve) => this.#scatter.subscribe("draw", resolve, 1));
      this.#scatter.redraw();
      return drawn;
    });
  }

  async #measured(draw) {
    const start = performance.now();
    await draw();
    if (this.#moving) return;
    this.#gl.finish();
    this.lastDraw = performance.now() - start;
    emit("measured", this.lastDraw);
  }

  /** Sets size and opacity by the number of points and the zoom factor. */
  #restyle() {
    const { colours } = this.#look;
    const shown = Math.max(1, Math.min(this.#points.length, this.#moving ? MOVING : Number.POSITIVE_INFINITY));
    const zoom = Math.max(1, this.camera.nearness);
    const opacity = Math.round(100 * clamp(0.9 * (6000 / (shown / zoom ** 2)) ** 0.25, 0.15, 0.9)) / 100;
    const many = Math.sqrt(shown * Math.max(1, this.#points.length)); // geometric mean of the drawn and all points
    const size = clamp(7 - 1.9 * (Math.log10(many) - 3.3), 1.6, 8);
    this.#scatter.set({
      pointColor: colours,
      pointColorActive: colours,
      pointColorHover: colours,
      opacity: colours.map((_, at) => (at === 0 ? opacity / 2 : opacity)),
      pointSize: colours.map((_, at) => (at === 0 ? size * 0.8 : size)),
    });
  }

  applyScheme() {
    this.#scatter.set({
      backgroundColor: isDark() ? "#16181c" : "#ffffff",
      lassoColor: isDark() ? [0.45, 0.72, 1, 1] : [0.12, 0.42, 0.78, 1],
    });
  }

  /** Draws the items at new positions.  xy: float32 [n 2] in [-1, 1] */
  setPoints(xy) {
    const n = xy.length / 2;
    const before = this.#points.length;
    if (n !== before) {
      this.#order = shuffled(n);
      this.#place = new Uint32Array(n);
      this.#points = Array.from(this.#order, (row, place) => {
        this.#place[row] = place;
        return [xy[2 * row], xy[2 * row + 1], this.#look.codes?.[row] ?? 0, 0];
      });
    } else {
      for (let place = 0; place < n; place++) {
        const row = this.#order[place];
        this.#points[place][0] = xy[2 * row];
        this.#points[place][1] = xy[2 * row + 1];
      }
    }
    const glide = before === n && n > 0 && n <= MOVING;
    return this.#draw({ transition: glide, transitionDuration: 600, preventFilterReset: before === n });
  }

  /** Colours the items.  codes: index into `colours` by row, 0 for those without a value */
  setLook({ codes, colours }) {
    this.#look = { codes, colours };
    for (let place = 0; place < this.#points.length; place++) this.#points[place][2] = codes[this.#order[place]];
    if (!this.#points.length) return this.#queue;
    return this.#draw({ preventFilterReset: true, keepIndex: true });
  }

  #draw({ keepIndex = false, ...options }) {
    this.#queue = this.#queue.then(() =>
      this.#measured(() => {
        this.#restyle();
        const spatialIndex = keepIndex ? this.#scatter.get("spatialIndex") : undefined;
        return this.#scatter.draw(this.#points, { ...options, spatialIndex, zDataType: "categorical" });
      }),
    );
    return this.#queue;
  }

  /** Shows only the rows where `mask`, uint8 [n], is 1; all with null. */
  filter(mask) {
    this.#mask = mask;
    this.#queue = this.#queue.then(() =>
      this.#measured(() => {
        if (!mask) return this.#scatter.unfilter();
        const shown = [];
        for (let place = 0; place < this.#order.length; place++) if (mask[this.#order[place]]) shown.push(place);
        return this.#scatter.filter(shown);
      }),
    );
    return this.#queue;
  }

  isShown = (row) => !this.#mask || this.#mask[row] === 1;

  /** Rows selected. */
  selection() {
    return Array.from(this.#scatter.get("selectedPoints") ?? [], (place) => this.#order[place]);
  }

  /** Selects exactly these rows (those that the filter shows). */
  select(rows) {
    if (rows.length) this.#scatter.select(rows.map((row) => this.#place[row]));
    else this.#scatter.deselect();
  }

  setLasso(on) {
    this.lassoing = on;
    this.#scatter.set({ mouseMode: on ? "lasso" : "panZoom" });
  }

  /** Pans to a row if it is outside the view. */
  goTo(row) {
    this.camera.bring(this.#points[this.#place[row]].slice(0, 2), this.#onCanvas(row));
  }

  /** The visible row nearest to the centre of the view, or null. */
  nearestToMiddle() {
    const [x, y] = this.camera.middle;
    let best = null;
    let least = Number.POSITIVE_INFINITY;
    for (let place = 0; place < this.#points.length; place++) {
      const [px, py] = this.#points[place];
      const away = (px - x) ** 2 + (py - y) ** 2;
      if (away < least && this.isShown(this.#order[place])) [best, least] = [this.#order[place], away];
    }
    return best;
  }

  #onCanvas = (row) => this.#scatter.getScreenPosition(this.#place[row]);

  /** The position of a row on the page, in CSS pixels [x, y]. */
  screenPosition(row) {
    const [x, y] = this.#onCanvas(row);
    const { left, top } = this.#canvas.getBoundingClientRect();
    return [left + x, top + y];
  }

  /** Number of points in the last picture. */
  drawn() {
    return this.#gl.drawn;
  }
}
