#!/bin/sh
# Holds the figures of `penstock load` against those of an independent load
# generator, aiperf, on the same load by turns: one gateway, two replicas of
# llama.cpp's server. Prints both, and exits with 1 where they differ by more than
# 5 %. It takes some five minutes and wants a machine with nothing else to do; as
# root, `chrt --rr 1` before it puts it ahead of what else there is.
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
