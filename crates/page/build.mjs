// Makes what is embedded of what is written: the modules of `web/` joined and minified, so that the page is
// there in a few requests and 150 KB. What comes out is checked in, and a test makes it anew and compares:
// who builds matou needs none of this.
//
// Usage: node build.mjs TARGET, where `npm install esbuild@0.28.2 terser@5.51.4` was run in this folder or above.

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const web = process.argv[3] ?? fileURLToPath(new URL("web/", import.meta.url));
const target = process.argv[2];
if (!target) throw new Error("Usage: node build.mjs TARGET [WEB]");
const read = (path) => readFileSync(join(web, path), "utf8");
const put = (path, text) => writeFileSync(join(target, path), text);

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
for (const path of ["icons", "lang", "manifest.webmanifest"]) cpSync(join(web, path), join(target, path), { recursive: true });
// Licences ask for their text beside the code.
cpSync(join(web, "vendor/LICENSES"), join(target, "licenses.txt"));
for (const name of readdirSync(join(target, "lang"))) put(`lang/${name}`, JSON.stringify(JSON.parse(read(`lang/${name}`))));

// Names of pieces are digests of their contents, and not of where they were made.
const common = { absWorkingDir: web, bundle: true, minify: true, charset: "utf8", target: "es2022", legalComments: "none", external: ["/page/*"], logLevel: "warning" };
const script = (path, more) => build({ ...common, entryPoints: [join(web, path)], outbase: web, outdir: target, format: "esm", ...more });
await script("js/theme.js");
await script("js/main.js");
// What formulas and colours take is loaded when there are any.
await script("js/content/worker.js", { splitting: true, chunkNames: "js/content/[name]-[hash]" });
// What is left to shorten after that is some three kilobytes of the whole, compressed.
for (const path of readdirSync(target, { recursive: true }).filter((path) => path.endsWith(".js"))) {
  const { code } = await minify(readFileSync(join(target, path), "utf8"), { module: path !== "js/theme.js", ecma: 2022, compress: { passes: 3 }, format: { ascii_only: false } });
  put(path, code);
}
const sheets = [...read("index.html").matchAll(/<link rel="stylesheet" href="\/page\/(.+?)">\n/g)];
await build({
  ...common,
  stdin: { contents: sheets.map(([, path]) => `@import "./${path}";`).join("\n"), resolveDir: web, loader: "css" },
  outfile: join(target, "css/page.css"),
});
let index = read("index.html");
for (const [line] of sheets.slice(1)) index = index.replace(line, "");
put("index.html", index.replace(sheets[0][1], "css/page.css"));

const files = readdirSync(target, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(target, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
  .sort();
const digest = createHash("sha256");
for (const path of files) digest.update(path).update(readFileSync(join(target, path)));
const shell = ["/", "/manifest.webmanifest", "/favicon.ico", ...files.filter((path) => /^(css|js|lang|icons)\//.test(path)).map((path) => `/page/${path}`)];
const worker = read("sw.js")
  .replace(/const SHELL = \[.*?\];/s, () => `const SHELL = ${JSON.stringify(shell)};`)
  .replace(/'matou-shell-[^']*';/, () => `'matou-shell-${digest.digest("hex").slice(0, 12)}';`);
put("sw.js", (await minify(worker, { ecma: 2022 })).code);
