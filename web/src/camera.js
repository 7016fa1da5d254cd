/** The view of the map: reset, zoom and pan, with animated transitions by default. */

const GLIDE = 220; // ms
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

/**
 * The centre of the view, [x, y], and half the visible height.
 * @typedef {{target: number[], distance: number}} View
 */
export class Camera {
  /** width in px that the legend covers at the left */
  inset = 0;
  #scatter;
  #canvas;
  #moved;
  /** target of the running transition @type {View|null} */
  #goal = null;
  #atHome = true; // the view has not moved since the last reset

  /** @param {(ms: number) => void} moved called with the duration of a movement */
  constructor(scatter, canvas, moved) {
    this.#scatter = scatter;
    this.#canvas = canvas;
    this.#moved = moved;
    new ResizeObserver(() => requestAnimationFrame(() => this.#atHome && this.reset(0))).observe(canvas);
  }

  /** The view that shows all points, beside the legend if there is room. @returns {View} */
  home() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const covered = width > 520 ? this.inset : 0;
    const distance = 1.08 * Math.max(1, height / Math.max(1, width - covered));
    return { target: [(-covered / Math.max(1, height)) * distance, 0], distance };
  }

  /** The zoom factor relative to the reset view. */
  get nearness() {
    return this.home().distance / this.#scatter.get("cameraDistance");
  }

  /** The current view, or the target of the transition, because keys can be pressed during one. */
  get #view() {
    return this.#goal ?? { target: [...this.middle], distance: this.#scatter.get("cameraDistance") };
  }

  /** The centre of the view, [x, y]. */
  get middle() {
    return this.#scatter.get("cameraTarget");
  }

  /** The user drags the map. */
  byHand() {
    this.#atHome = false;
    this.#goal = null;
  }

  arrived() {
    this.#goal = null;
  }

  #lookAt(target, distance, glide = GLIDE) {
    this.#atHome = false;
    this.#goal = { target, distance: clamp(distance, 1e-4, 20) };
    if (glide) this.#moved(glide);
    // Cubic easing, the default, stays at its end value; others would jump back to the start after a late frame.
    const options = glide ? { transition: true, transitionDuration: glide, transitionEasing: "cubicInOut" } : {};
    return this.#scatter.zoomToLocation(target, this.#goal.distance, options);
  }

  reset(glide = GLIDE) {
    const { target, distance } = this.home();
    const seen = this.#lookAt(target, distance, glide);
    this.#atHome = true;
    return seen;
  }

  /** factor > 1 zooms in */
  zoom(factor) {
    const { target, distance } = this.#view;
    return this.#lookAt(target, distance / factor);
  }

  /** x, y: in units of half the visible height, right and up */
  pan(x, y) {
    const { target, distance } = this.#view;
    return this.#lookAt([target[0] + x * distance, target[1] + y * distance], distance, GLIDE / 2);
  }

  /** Pans to a point of the map, [x, y], if it is outside the view.  seen: its position on the canvas, in px */
  bring(place, seen) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const inside = seen[0] > 16 && seen[1] > 16 && seen[0] < width - 16 && seen[1] < height - 16;
    if (!inside) this.#lookAt([...place], this.#view.distance);
  }
}
