#!/bin/sh
# tools/test-web.sh BUILD [WORD...] -- the page of `lisao serve`: that web/dist is what web/ builds, and what it does in
# Debian's Chromium before a server with a tiny model. Not a part of ./check: without Node, its packages or Chromium
# there is nothing to run. With WORDs only the cases run whose names hold one of them.
#
# The packages (100 MB) go into BUILD/web; CHROMIUM names another browser. The last line is "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
build=$1
shift
work=$build/web
skip() { echo "# skipped: $1" && echo "0 passed, 0 failed, 1 skipped" && exit 0; }
command -v npm >/dev/null || skip no-node
[ -x "${CHROMIUM:=$(command -v chromium || command -v chromium-browser)}" ] || skip no-chromium
export CHROMIUM

# The sources, copied: what is built must not depend on where.
mkdir -p "$work" && rm -rf "$work/src" "$work/dist"
cp -r web/src web/*.json web/*.js web/*.html "$work/" || exit 1
if ! cmp -s web/package-lock.json "$work/installed"; then
    (cd "$work" && npm ci --no-audit --no-fund --ignore-scripts --silent) || skip no-packages
    cp web/package-lock.json "$work/installed"
fi
(cd "$work" && npm run --silent build >build.log 2>&1) || { cat "$work/build.log"; exit 1; }
passed=0 failed=0
if cmp "$work/dist/page.html" web/dist/page.html && cmp "$work/dist/page.csp" web/dist/page.csp; then
    echo "ok - web/dist is what web/ builds" && passed=1
else
    echo "not ok - web/dist is not what web/ builds: make web" && failed=1
fi
size=$(gzip -9nc web/dist/page.html | wc -c)
if [ "$size" -le 256000 ]; then
    echo "ok - the page has $size bytes by gzip" && passed=$((passed + 1))
else
    echo "not ok - the page has $size bytes by gzip, more than 250 KB" && failed=$((failed + 1))
fi

# A model that thinks, made here and now: its words are random.
export LISAO="$PWD/$build/lisao" LISAO_MODEL="$PWD/$work/model" WEB_NODE="$PWD/$work"
if [ ! -d "$LISAO_MODEL" ]; then
    mkdir -p "$work/tokenizer" && cp recipes/tokenizer-4k.json "$work/tokenizer/tokenizer.json"
    cp tests/web/tokenizer_config.json "$work/tokenizer/"
    for i in $(seq 1 40); do printf 'The river %d runs to the sea, and the sea is wide.\n<|endoftext|>\n' "$i"; done >"$work/text.txt"
    "$LISAO" train recipes/tiny-en.yaml --set "tokenizer=$work/tokenizer" --set "data.train=$work/text.txt" \
        --set "data.cache=$work/cache" --set model.num_hidden_layers=2 --set model.hidden_size=32 \
        --set model.intermediate_size=64 --set model.max_position_embeddings=16384 --set model.moe_intermediate_size=16 --set batch.sequence=64 \
        --set batch.tokens=128 --set optim.warmup=0 --set optim.steps=1 --set "checkpoint.folder=$LISAO_MODEL" \
        >"$work/model.log" 2>&1 || { cat "$work/model.log"; exit 1; }
fi
node tests/web/page.mjs "$@" | tee "$work/page.log"
sum=$(tail -n 1 "$work/page.log" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
[ -n "$sum" ] || sum="0 1"
echo "$((passed + ${sum% *})) passed, $((failed + ${sum#* })) failed"
[ $((failed + ${sum#* })) -eq 0 ]
