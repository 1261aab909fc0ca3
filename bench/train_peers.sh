#!/bin/sh
# train_peers.sh -- training steps beside PyTorch's, interleaved, on this machine: bench/train_peers.py --help says how.
# PYTHON names an interpreter that has torch and transformers; without it they are installed into a virtual environment
# of some gigabytes under $XDG_CACHE_HOME/lisao.
set -e
cd "$(dirname "$0")/.."
venv=${XDG_CACHE_HOME:-$HOME/.cache}/lisao/train-peers
if [ -z "$PYTHON" ]; then
    PYTHON=$venv/bin/python
    if ! "$PYTHON" -c 'import torch, transformers' 2>/dev/null; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q torch transformers
    fi
fi
make -s build/bench/step
exec "$PYTHON" bench/train_peers.py "$@"
