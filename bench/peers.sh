#!/usr/bin/env bash
# peers.sh -- llama.cpp, built natively from its Python package, beside build/lisao. Needs a network the first time (python3-venv, cmake).
#   bench/peers.sh [MODEL.gguf] [options of peers.py]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
env=${LISAO_PEERS_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/lisao/peers}
model=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/lisao/models/SmolLM2-135M-Instruct.Q4_1.gguf}
[ $# -eq 0 ] || shift
if ! "$env/bin/python" -c 'import llama_cpp, numpy' 2>/dev/null; then
    python3 -m venv "$env"
    CMAKE_ARGS=-DGGML_NATIVE=ON "$env/bin/pip" install --quiet numpy llama-cpp-python==0.3.36 --no-binary llama-cpp-python
fi
exec "$env/bin/python" bench/peers.py "$model" "$@"
