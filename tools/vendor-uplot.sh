#!/bin/sh
# Copies uPlot, which draws the charts of HTML reports, from npm into
# internal/report/assets: `tools/vendor-uplot.sh`. To take a newer one, change
# both lines below; `npm view uplot@VERSION dist.integrity` prints the second.
set -eu
version=1.6.32
integrity='KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=='

here=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm pack --silent "uplot@$version" >/dev/null
got=$(openssl dgst -sha512 -binary "uplot-$version.tgz" | openssl base64 -A)
if [ "$got" != "$integrity" ]; then
	echo "uplot $version has sha512 $got, want $integrity" >&2
	exit 1
fi
tar -xzf "uplot-$version.tgz"
to=$here/internal/report/assets
cp package/dist/uPlot.iife.min.js "$to/uplot.iife.min.js"
cp package/dist/uPlot.min.css "$to/uplot.min.css"
cp package/LICENSE "$to/uplot.LICENSE"
echo "uplot $version is in $to"
