/** Client of the HTTP API; only this file sends requests. Errors are `Failure`s whose message is one plain line. */

export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not respond. Check that salience explore is still running.", 0);
  }
  if (answer.ok) return answer;
  throw new Failure(await complaint(answer), answer.status);
}

async function complaint(answer) {
  try {
    const { error } = await answer.json();
    if (error) return error;
  } catch {
    // not JSON: use the status
  }
  const plain = {
    401: "The server requires its token: open the address that salience explore printed.",
    413: "The request is too large for the server.",
  };
  return plain[answer.status] ?? `The server answered with status ${answer.status}.`;
}

const get = async (path, options) => (await ask(path, options)).json();
const bytes = async (path) => (await ask(path)).arrayBuffer();
const post = async (path, body) =>
  (
    await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })
  ).json();
const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== "" && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};
const part = encodeURIComponent;

export const store = () => get("/store");
export const points = async (map) => new Float32Array(await bytes(`/points${query({ map })}`));
export const column = (name) => get(`/columns/${part(name)}`);
/** Uint16Array of codes (65535: missing) or Float32Array (NaN: missing), depending on the kind of the column. */
export const values = async (name, kind) => {
  const raw = await bytes(`/columns/${part(name)}/values`);
  return kind === "number" ? new Float32Array(raw) : new Uint16Array(raw);
};

export const image = (row) => `/items/${row}/image`;
export const media = (row) => `/items/${row}/media`;
export const neighbours = (row, k = 12) => get(`/items/${row}/neighbours${query({ k })}`);
const items = new Map();
/** An item with its columns; cached until `forget`. */
export async function item(row, options) {
  if (!items.has(row)) {
    const found = await get(`/items/${row}`, options);
    if (items.size > 500) items.clear();
    items.set(row, found);
  }
  return items.get(row);
}
export const forget = () => items.clear();

export const search = (body) => post("/search", body);
export const searchImage = async (file, { k, where }) =>
  (
    await ask(`/search${query({ k, where })}`, {
      method: "POST",
      headers: { "Content-Type": file.type || "image/png" },
      body: file,
    })
  ).json();
export const rows = async (where) => new Int32Array(await bytes(`/rows${query({ where })}`));

export const labels = () => get("/labels");
export const label = (given, name) => post("/labels", { rows: given, label: name });
export const undo = () => post("/labels/undo", {});
export const exportLink = (what, format) => `/labels/export${query({ what, format })}`;
export const classifier = () => get("/classifier");

export const jobs = () => get("/jobs");
export const startJob = (name, body = {}) => post(`/jobs/${name}`, body);
export const clusters = () => get("/clusters");
export const outliers = () => get("/outliers");

export const runs = () => get("/runs");
export const curves = (name) => get(`/runs/curves${query({ name })}`);
export const reconstruct = (given) => get(`/reconstruct${query({ rows: given.join(",") })}`);
export const sample = (n, seed) => get(`/sample${query({ n, seed })}`);
export const interpolation = (from, to, steps = 9) => get(`/interpolation${query({ from, to, steps })}`);
