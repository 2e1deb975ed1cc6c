// From Next's static export to one HTML file that asks for nothing: `node inline.mjs out/index.html template.html`.

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const [page, target] = process.argv.slice(2);
let html = readFileSync(page, "utf8");

// Polyfills are for browsers that know no modules, and such browsers cannot show the rest either.
html = html.replace(/<script[^>]*\bnoModule\b[^>]*><\/script>/g, "");
html = html.replace(/<link\b[^>]*\brel="preload"[^>]*>/g, "");

/** A chunk names itself by the element that loads it; written into the page it has none, so its path stands there. */
function chunk(source) {
  const path = source.replace(/^\.\/_next\//, "");
  const code = readFileSync(join(dirname(page), source), "utf8")
    .replace('"object"==typeof document?document.currentScript:void 0', JSON.stringify(path))
    .replace(/\/\/# sourceMappingURL=.*/g, "")
    .replaceAll("</script", "<\\/script")
    .replaceAll("<!--", "<\\!--");
  if (code.includes("document.currentScript") && !code.includes("document?.currentScript")) {
    throw new Error(`${source} asks for its script element in a way that inline.mjs does not know`);
  }
  return code;
}

// In the data that React reads, script elements and the chunks of modules are no more: they are all in the page, and it
// would ask for them again.
html = html.replace(/\[\\"\$\\",\\"script\\",\\"[^"]*\\",\{\\"src\\":[^}]*\}\]/g, "null");
html = html.replace(/\bI\[(\d+),\[[^\]]*\]/g, "I[$1,[]");

const chunks = [];
html = html.replace(/<script src="([^"]+)"[^>]*><\/script>/g, (_, source) => {
  chunks.push({ source, script: `<script>${chunk(source)}</script>` });
  return "";
});
// The runtime comes last: it takes in all chunks that stand before it, and starts the page with every one known.
chunks.sort((a, b) => Number(a.source.includes("/turbopack-")) - Number(b.source.includes("/turbopack-")));

// The run's place: `quantcheck report` fills it. It comes first, so that it is there when the page asks for it.
const run = '<script type="application/json" id="run"></script>';
html = html.replace("</body>", () => `${run}${chunks.map((c) => c.script).join("")}</body>`) + "\n";

const left = html.match(/<(?:script|link|img)\b[^>]*\b(?:src|href)="(?!data:)[^"]*"/);
if (left) throw new Error(`the page still asks for a file: ${left[0]}`);
writeFileSync(target, html);
console.log(`${target}: ${(html.length / 1000).toFixed(0)} kB`);
