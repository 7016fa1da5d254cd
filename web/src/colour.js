/** Colours that are readable on light and dark backgrounds, and distinguishable with colour blindness. */

const darkness = window.matchMedia("(prefers-color-scheme: dark)");
export const isDark = () => darkness.matches;
export const onSchemeChange = (listener) => darkness.addEventListener("change", listener);

// Okabe and Ito 2008 without black; yellow is darker on white and blue is lighter on black than in their palette.
const OKABE = {
  light: ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#c9b400", "#4d4d4d"],
  dark: ["#3d9be0", "#e69f00", "#00b488", "#cc79a7", "#8fd0f7", "#e8681a", "#f0e442", "#c9c9c9"],
};
// For more classes: distant hues, alternately light and dark, so that neighbours in the list also differ in lightness.
const LONG = {
  light: [
    ..."#0072b2 #e69f00 #009e73 #cc79a7 #56b4e9 #d55e00 #c9b400 #4d4d4d #7b3fa0 #8c564b #17a2a8 #e377c2".split(" "),
    ..."#6b8e23 #b30047 #9aa5b1 #1f3b8f #f2a48b #00602f #a88bd4 #7a6200".split(" "),
  ],
  dark: [
    ..."#3d9be0 #e69f00 #00b488 #cc79a7 #8fd0f7 #e8681a #f0e442 #c9c9c9 #b07fe0 #b98a7d #2fd0d6 #f29ad8".split(" "),
    ..."#9fc54d #ff5c8a #7d8794 #6f8bff #ffc0ab #4fa36b #cdb8ff #b39b2e".split(" "),
  ],
};
// Viridis, without the end that is invisible on the background.
const RAMP = {
  light: ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#9fc626", "#cdb800"],
  dark: ["#5b3a9b", "#4a5fb0", "#2f86a8", "#25a08c", "#35b779", "#6ece58", "#b5de2b", "#fde725"],
};
const MISSING = { light: "#b4bac3", dark: "#565e69" };
export const STEPS = 48; // colours of a ramp

const scheme = () => (isDark() ? "dark" : "light");

export const missingColour = () => MISSING[scheme()];

/** The colours of n classes; they repeat if n exceeds the palette. */
export function classColours(n) {
  const list = n <= 8 ? OKABE[scheme()] : LONG[scheme()];
  return Array.from({ length: n }, (_, at) => list[at % list.length]);
}

/** The colours of curves, the same in all charts. */
export const curveColour = (at) => OKABE[scheme()][at % 8];

export const rampStops = () => RAMP[scheme()];

/** `STEPS` colours from low to high. */
export function rampColours() {
  const stops = rampStops().map((hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: STEPS }, (_, at) => {
    const place = (at / (STEPS - 1)) * (stops.length - 1);
    const from = Math.min(Math.floor(place), stops.length - 2);
    const mixed = stops[from].map((low, channel) => low + (stops[from + 1][channel] - low) * (place - from));
    return `#${mixed.map((channel) => Math.round(channel).toString(16).padStart(2, "0")).join("")}`;
  });
}
