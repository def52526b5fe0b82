#!/bin/sh
# Copies what pages draw with — Preact and htm in the console, uPlot in it and in
# HTML reports — from npm: `tools/vendor.sh`. Versions and the hashes that npm
# holds them against are those of test/console/package-lock.json; to take newer
# ones, run `npm install --save-exact NAME@VERSION` there and then this.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$here/test/console/package.json" "$here/test/console/package-lock.json" "$dir/"
(cd "$dir" && npm ci --silent --ignore-scripts --omit=dev --no-audit --no-fund)
from=$dir/node_modules
console=$here/internal/console/web/vendor
report=$here/internal/report/assets
mkdir -p "$console"

# Browsers know no bare names and npm's files no others; source maps stay out.
local_names() {
	sed -e 's|from"preact"|from"./preact.js"|g' -e '/^\/\/# sourceMappingURL=/d' "$1"
}
local_names "$from/preact/dist/preact.mjs" >"$console/preact.js"
local_names "$from/preact/hooks/dist/hooks.mjs" >"$console/hooks.js"
local_names "$from/htm/dist/htm.module.js" >"$console/htm.js"
# npm has the module of uPlot only three times as large.
{
	cat "$from/uplot/dist/uPlot.iife.min.js"
	echo 'export default uPlot;'
} >"$console/uplot.js"
cp "$from/uplot/dist/uPlot.min.css" "$console/uplot.css"
cp "$from/preact/LICENSE" "$console/preact.LICENSE.txt"
cp "$from/htm/LICENSE" "$console/htm.LICENSE.txt"
cp "$from/uplot/LICENSE" "$console/uplot.LICENSE.txt"

cp "$from/uplot/dist/uPlot.iife.min.js" "$report/uplot.iife.min.js"
cp "$from/uplot/dist/uPlot.min.css" "$report/uplot.min.css"
cp "$from/uplot/LICENSE" "$report/uplot.LICENSE"
for name in preact htm uplot; do
	echo "$name $(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$from/$name/package.json" | head -n 1)"
done
