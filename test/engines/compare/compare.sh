#!/bin/sh
# Holds the figures of `penstock load` against those of an independent load
# generator, aiperf, on the same load at the same time: one gateway, two replicas
# of llama.cpp's server, and prints both. It takes some three minutes and wants a
# machine with little else to do. Exits with 1 where they differ by more than 5 %.
#
#   test/engines/compare/compare.sh [--requests N] [--rate N] …    # --help has all
#
# Needs Python 3.11 on Linux x86-64. aiperf (139 packages, 600 MB) is installed
# from PyPI into the folder that test/engines/install.sh uses.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=$("$here/../../../examples/llama-cpp/install.sh" | tail -n 1)
want=$(sha256sum <"$here/requirements.txt")
if [ "$(cat "$folder/aiperf.installed" 2>/dev/null)" != "$want" ]; then
	rm -f "$folder/aiperf.installed"
	python3 -m venv --clear "$folder/aiperf"
	"$folder/aiperf/bin/pip" install --quiet --disable-pip-version-check --no-input \
		--only-binary :all: --no-deps --require-hashes --requirement "$here/requirements.txt" >&2
	echo "$want" >"$folder/aiperf.installed"
fi
exec "$folder/venv/bin/python" "$here/compare.py" "$folder" "$@"
