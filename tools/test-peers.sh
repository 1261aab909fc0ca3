#!/bin/sh
# tools/test-peers.sh BUILD [PART [WORD...]] -- Lisao beside other programs, on models, texts and conversations drawn anew. Not a
# part of ./check. Each PART is tests/peers/PART.py, run for the cases whose names hold the words; without one all run:
#
#   tokenizer    ids of random strings: Hugging Face tokenizers, tiktoken, llama.cpp
#   templates    generated conversations: jinja2
#   families     logits of models of every family, odd shapes: transformers
#   convert      our GGUF files and quantisers: gguf-py, llama.cpp
#   divergence   what quantised types lose, on a real and a trained model: llama.cpp
#   schemas      answers bound to random JSON Schemas: jsonschema with its FormatChecker
#   training     200 steps beside torch, and trained models elsewhere: transformers, llama.cpp
#
# PEERS_VENV names a Python environment that has tests/peers/requirements.txt; else one is made in BUILD/peers, from the package index
# (some GB; llama-cpp-python is compiled for this CPU, as bench/peers.sh does). The last line is "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
build=$1
shift
env=${PEERS_VENV-}
if [ -z "$env" ]; then
    env=$build/peers
    if ! cmp -s tests/peers/requirements.txt "$env/installed"; then
        python3 -m venv "$env" && CMAKE_ARGS=-DGGML_NATIVE=ON "$env/bin/pip" install --quiet -r tests/peers/requirements.txt || exit 1
        cp tests/peers/requirements.txt "$env/installed"
    fi
fi
parts="tokenizer templates schemas families convert divergence training"
[ $# -eq 0 ] || { parts=$1; shift; }
export LISAO="${LISAO:-$build/lisao}" PYTHONDONTWRITEBYTECODE=1
mkdir -p "$build/logs"
passed=0 failed=0
for part in $parts; do
    log=$build/logs/peers-$part.log
    "$env/bin/python" "tests/peers/$part.py" "$@" | tee "$log"
    if sum=$(tail -n 1 "$log" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p') && [ -n "$sum" ]; then
        passed=$((passed + ${sum% *})) failed=$((failed + ${sum#* }))
    else
        echo "not ok - $part ended early" && failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
