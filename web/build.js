// Bundles src/ into the package's static folder. The same sources and lock file give the same bytes.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../src/salience/explorer/static");

/** The licences of all runtime packages in package-lock.json, except regl, which is not in the bundle. */
function licences() {
  const { packages } = JSON.parse(readFileSync(join(here, "package-lock.json"), "utf8"));
  return Object.keys(packages)
    .filter((path) => path && !packages[path].dev && path !== "node_modules/regl")
    .sort()
    .map((path) => {
      const folder = join(here, path);
      const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
      if (!file) throw new Error(`${name}: expected a licence file in its package, found none`);
      const text = readFileSync(join(folder, file), "utf8").replaceAll("\r\n", "\n").trim();
      return `${name} ${version} (${license})\n\n${text}\n`;
    })
    .join(`\n${"-".repeat(80)}\n\n`);
}

/** A hash of the sources and the lock file. A test compares it, so that the committed page matches its sources. */
function fingerprint() {
  const hash = createHash("sha256");
  const sources = readdirSync(join(here, "src")).map((name) => `src/${name}`);
  for (const name of ["package-lock.json", ...sources].sort()) hash.update(`${name}\n`).update(readFileSync(join(here, name)));
  return hash.digest("hex");
}

mkdirSync(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: ["src/main.js"],
  outfile: join(out, "app.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  alias: { regl: "./src/gl.js" }, // see src/gl.js for the reason
});
await build({
  absWorkingDir: here,
  entryPoints: ["src/style.css"],
  outfile: join(out, "style.css"),
  minify: true,
  target: ["chrome111", "firefox113", "safari16.4"],
});
copyFileSync(join(here, "src/index.html"), join(out, "index.html"));
writeFileSync(join(out, "LICENSES.txt"), licences());
writeFileSync(join(out, "BUILT-FROM"), `${fingerprint()}\n`);
