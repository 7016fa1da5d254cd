/** The tabs of the panel: arrow keys, Home and End switch between them. */
import { $ } from "./dom.js";
import { emit } from "./state.js";

const WIDE = ["runs"]; // tabs with wide tables

export function createTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const tab of tabs) tab.addEventListener("click", () => showTab(tab.id.slice(4)));
  $("[role=tablist]").addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const tab = tabs.at(next % tabs.length);
    showTab(tab.id.slice(4));
    tab.focus();
  });
}

/** @param {"details"|"search"|"label"|"groups"|"runs"} name */
export function showTab(name) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !chosen;
  }
  document.body.classList.toggle("wide", WIDE.includes(name));
  emit("tab", name);
}

export const shownTab = () => $("[role=tab][aria-selected=true]").id.slice(4);
