/** Background jobs of the server: starts them, shows a progress bar, emits `done-NAME`. */
import * as api from "./api.js";
import { $, el, percent, say } from "./dom.js";
import { emit, state } from "./state.js";

const EVERY = 500; // ms between two requests while a job runs
const TITLES = { umap: "UMAP", cluster: "Clusters", anomalies: "Anomalies", duplicates: "Near-duplicates" };
/** the last known state of every job @type {Map<string, {name: string, state: string, share: number, said: string}>} */
export const known = new Map();
let timer = 0;

/** Starts a job; the caller handles errors. */
export async function start(name, body) {
  known.set(name, { name, state: "running", share: 0, said: "starting" });
  bar(known.get(name));
  try {
    await api.startJob(name, body);
  } catch (error) {
    known.set(name, { name, state: "absent" });
    bar(known.get(name));
    throw error;
  }
  watch();
}

/** Polls all jobs while any of them runs. */
export async function watch() {
  clearTimeout(timer);
  let jobs;
  try {
    jobs = await api.jobs();
  } catch (error) {
    say(error.message);
    timer = setTimeout(watch, 10 * EVERY);
    return;
  }
  for (const job of jobs) {
    const before = known.get(job.name);
    known.set(job.name, job);
    bar(job);
    if (before?.state === "running" && job.state !== "running") await ended(job);
  }
  if (jobs.some((job) => job.state === "running")) timer = setTimeout(watch, EVERY);
}

async function ended(job) {
  if (job.state === "done") {
    api.forget();
    state.store = await api.store();
    emit("store");
    say(`${TITLES[job.name]}: done.`);
  }
  emit(`${job.state}-${job.name}`, job);
}

function bar({ name, state: now, share, said }) {
  const box = $(`#job-${name}`);
  box.hidden = !(now === "running" || now === "failed");
  box.classList.toggle("error", now === "failed");
  if (now === "failed") return box.replaceChildren(`${TITLES[name]} failed: ${said}`);
  if (now !== "running") return box.replaceChildren();
  const text = `${TITLES[name]}: ${said || percent(share)}`;
  const progress = box.querySelector("progress");
  if (!progress) {
    return box.replaceChildren(
      el("progress", { max: "1", value: String(share), "aria-label": TITLES[name] }),
      el("span", {}, text),
    );
  }
  progress.value = share;
  progress.nextElementSibling.textContent = text;
  return undefined;
}
