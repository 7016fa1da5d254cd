/** Where the map is looked at: home beside the legend, nearer, farther, aside. Glides unless told otherwise. */

const GLIDE = 220; // ms
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

/**
 * What is in the middle, [x, y], and half the height that is seen.
 * @typedef {{target: number[], distance: number}} View
 */
export class Camera {
  /** px at the left that something else covers */
  inset = 0;
  #scatter;
  #canvas;
  #moved;
  /** the view it glides to @type {View|null} */
  #goal = null;
  #atHome = true; // nobody has moved since everything was shown

  /** @param {(ms: number) => void} moved called with how long a movement takes */
  constructor(scatter, canvas, moved) {
    this.#scatter = scatter;
    this.#canvas = canvas;
    this.#moved = moved;
    new ResizeObserver(() => requestAnimationFrame(() => this.#atHome && this.reset(0))).observe(canvas);
  }

  /** The view that shows everything, beside the legend where there is room. @returns {View} */
  home() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const covered = width > 520 ? this.inset : 0;
    const distance = 1.08 * Math.max(1, height / Math.max(1, width - covered));
    return { target: [(-covered / Math.max(1, height)) * distance, 0], distance };
  }

  /** How many times nearer than home. */
  get nearness() {
    return this.home().distance / this.#scatter.get("cameraDistance");
  }

  /** The view now, or where it will be when it has arrived: keys may come faster than it glides. */
  get #view() {
    return this.#goal ?? { target: [...this.middle], distance: this.#scatter.get("cameraDistance") };
  }

  /** What is in the middle, [x, y]. */
  get middle() {
    return this.#scatter.get("cameraTarget");
  }

  /** The hand moves the map by itself. */
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
    // Cubic easing, the default, because it stays at its end: a late frame would bring the others back to the start.
    const options = glide ? { transition: true, transitionDuration: glide, transitionEasing: "cubicInOut" } : {};
    return this.#scatter.zoomToLocation(target, this.#goal.distance, options);
  }

  reset(glide = GLIDE) {
    const { target, distance } = this.home();
    const seen = this.#lookAt(target, distance, glide);
    this.#atHome = true;
    return seen;
  }

  /** factor > 1 comes nearer */
  zoom(factor) {
    const { target, distance } = this.#view;
    return this.#lookAt(target, distance / factor);
  }

  /** x, y: in halves of the view's height, right and up */
  pan(x, y) {
    const { target, distance } = this.#view;
    return this.#lookAt([target[0] + x * distance, target[1] + y * distance], distance, GLIDE / 2);
  }

  /** Brings a place of the map, [x, y], into view if it is outside.  seen: where it is on the canvas now, in px */
  bring(place, seen) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const inside = seen[0] > 16 && seen[1] > 16 && seen[0] < width - 16 && seen[1] < height - 16;
    if (!inside) this.#lookAt([...place], this.#view.distance);
  }
}
