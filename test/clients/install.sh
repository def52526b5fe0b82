#!/bin/sh
# Installs what `make test-clients` and `make test-openapi` need, from PyPI and
# npm, pinned: the official OpenAI clients for Python and JavaScript, and
# schemathesis:
#
#   test/clients/install.sh [FOLDER]
#
# into FOLDER, ~/.cache/penstock/clients by default. The last line that it prints
# is the folder. What can not be installed is left out, and its cases are skipped.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/penstock/clients}
mkdir -p "$folder/node"

want=$(cat "$here/requirements.txt" | sha256sum)
if [ "$(cat "$folder/python.installed" 2>/dev/null)" != "$want" ]; then
	rm -f "$folder/python.installed"
	if python3 -m venv --clear "$folder/python" >&2 && "$folder/python/bin/pip" install --quiet --disable-pip-version-check \
		--no-input --only-binary :all: --require-hashes --requirement "$here/requirements.txt" >&2; then
		echo "$want" >"$folder/python.installed"
	else
		rm -rf "$folder/python"
		echo "the packages of Python could not be installed: their cases will be skipped" >&2
	fi
fi

want=$(cat "$here/package-lock.json" | sha256sum)
if [ "$(cat "$folder/node.installed" 2>/dev/null)" != "$want" ]; then
	rm -f "$folder/node.installed"
	cp "$here/package.json" "$here/package-lock.json" "$folder/node/"
	if command -v npm >/dev/null && (cd "$folder/node" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2); then
		echo "$want" >"$folder/node.installed"
	else
		rm -rf "$folder/node/node_modules"
		echo "the packages of npm could not be installed: their cases will be skipped" >&2
	fi
fi
cp "$here/client.mjs" "$folder/node/" # beside its node_modules
echo "$folder"
