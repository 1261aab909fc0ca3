#!/bin/sh
# tools/test-clients.sh BUILD [PART] -- the clients that people use, against `lisao serve` with the default model, and its
# answers against its own description. Not a part of ./check. Without a PART all run:
#
#   sdks      Python: openai, anthropic
#   js        JavaScript: openai, Anthropic's, the AI SDK with six providers, LangChain with three
#   schemas   every answer of all routes is what /openapi.json says, by other validators (needs no default model)
#   bits      the same request gives the same bits: alone, in company, cached, from disk, after a restart
#   faults    nothing that was acknowledged is lost by kills, damaged files and a full disk
#   mass      thousands of clients that wait, and some that mean no good: memory, time, and what others notice
#   soak      random arrivals, cancels, long and short prompts: nothing leaks, nothing fails
#
# The last four need Python's standard library alone, and are short as they are; docs/testing.md says what sets their full form.
#
# CLIENTS_VENV names a Python environment that has tests/clients/requirements.txt, CLIENTS_NODE a folder with a
# node_modules of tests/clients/package.json; else they are made in BUILD/clients (400 MB). The last line is
# "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
build=$1
shift
env=${CLIENTS_VENV:-$build/clients/python} node=${CLIENTS_NODE:-$build/clients/node}
parts=${1:-sdks js schemas bits faults mass soak}
python=$env/bin/python
case $parts in
bits | faults | mass | soak) python=python3 CLIENTS_VENV=none CLIENTS_NODE=none ;;
esac
if [ -z "${CLIENTS_VENV-}" ] && ! cmp -s tests/clients/requirements.txt "$env/installed"; then
    python3 -m venv "$env" && "$env/bin/pip" install --quiet -r tests/clients/requirements.txt || exit 1
    cp tests/clients/requirements.txt "$env/installed"
fi
if [ "${1:-js}" = js ] && [ -z "${CLIENTS_NODE-}" ] && ! cmp -s tests/clients/package.json "$node/installed"; then
    mkdir -p "$node" && cp tests/clients/package.json "$node/" || exit 1
    # The package `node` is a newer Node than Debian's, which its own install script unpacks.
    (cd "$node" && npm install --no-audit --no-fund --ignore-scripts --silent && npm rebuild node --silent) || exit 1
    cp tests/clients/package.json "$node/installed"
fi
export LISAO="${LISAO:-$build/lisao}" PYTHONDONTWRITEBYTECODE=1 CLIENTS_NODE="$node"
mkdir -p "$build/logs"
passed=0 failed=0
for part in $parts; do
    log=$build/logs/clients-$part.log
    "$python" "tests/clients/$part.py" | tee "$log"
    if sum=$(tail -n 1 "$log" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p') && [ -n "$sum" ]; then
        passed=$((passed + ${sum% *})) failed=$((failed + ${sum#* }))
    else
        echo "not ok - $part ended early" && failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
