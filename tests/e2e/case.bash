# case.bash NAME -- runs tests/e2e/NAME.case in an empty folder with the helpers below, and removes the folder.
# Ends with 0 when all was as it should be, 77 when what the case needs is not on this machine.
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
LISAO=${LISAO_BIN:-$ROOT/build/lisao}
GOLDEN=$ROOT/tests/golden
SMOLLM2=${LISAO_MODEL_SMOLLM2:-${XDG_CACHE_HOME:-$HOME/.cache}/lisao/models/SmolLM2-135M-Instruct.Q4_1.gguf}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
export NO_COLOR=1

# fail MESSAGE: says which expectation was not met. need_smollm2: skips the case where the default model is absent.
fail() { echo "$NAME: $*" >&2; exit 1; }
# need_reference NAME: the same for reference data, as REFERENCE.
need_reference() {
    REFERENCE=${LISAO_SHARED:-$ROOT/../shared}/oracles/$1
    [ -e "$REFERENCE" ] || { echo "# skipped: no-reference"; exit 77; }
}
need_smollm2() { [ -e "$SMOLLM2" ] || { echo "# skipped: no-smollm2"; exit 77; }; }
# need_native: skips it where programs run in an emulator, which a copy of the program would not.
need_native() { [ -z "${LISAO_RUN-}" ] || { echo "# skipped: emulated"; exit 77; }; }
# need_namespaces: skips it where a user may not mount a file system of his own.
need_namespaces() { unshare -rm true 2>/dev/null || { echo "# skipped: no-namespaces"; exit 77; }; }
# limited KB COMMAND...: in an address space of so many KB. need_own_memory: skips the case where a sanitizer's shadow or an
# emulator's reserve is larger than any limit.
limited() { (ulimit -v "$1" && shift && exec "$@"); }
need_own_memory() {
    [ -z "${LISAO_RUN-}" ] && limited 1000000 "$LISAO" --version >/dev/null 2>&1 && return
    echo "# skipped: no-own-memory"
    exit 77
}
# expect CODE COMMAND...: runs it, its output in $WORK/out and $WORK/err, and holds the exit code.
expect() {
    local want=$1 got=0
    shift
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || got=$?
    [ "$got" = "$want" ] || { cat "$WORK/err" >&2; fail "exit code $got, not $want, from: $*"; }
}
# says TEXT: the last command's stderr has it. prints TEXT: its stdout has it.
says() { grep -qF -- "$1" "$WORK/err" || { cat "$WORK/err" >&2; fail "stderr lacks: $1"; }; }
prints() { grep -qF -- "$1" "$WORK/out" || { cat "$WORK/out" >&2; fail "stdout lacks: $1"; }; }

# tiny_model FOLDER: a model made here and now, with ChatML's template; sets TRAIN, the command that makes such models.
tiny_model() {
    mkdir tok && cp "$ROOT/recipes/tokenizer-4k.json" tok/tokenizer.json
    cat >tok/tokenizer_config.json <<'END'
{"chat_template": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"}
END
    for i in $(seq 1 40); do printf 'The river %d runs to the sea, and the sea is wide.\n<|endoftext|>\n' "$i"; done >text.txt
    TRAIN="train $ROOT/recipes/tiny-en.yaml --set tokenizer=tok --set data.train=text.txt --set data.cache=cache
        --set model.num_hidden_layers=2 --set model.hidden_size=32 --set model.intermediate_size=64 --set model.moe_intermediate_size=16
        --set batch.sequence=64 --set batch.tokens=128 --set optim.warmup=0"
    expect 0 "$LISAO" $TRAIN --set optim.steps=1 --set checkpoint.folder="$1"
}
# ask METHOD PATH [BODY [HEADER...]]: the whole answer of the server at PORT, head and body, in $WORK/out, and those of all in answers.
ask() {
    local body=${3-} header
    exec 3<>"/dev/tcp/127.0.0.1/$PORT"
    {
        printf '%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\n' "$1" "$2" "${HOST_NAME-localhost}"
        for header in "${@:4}"; do printf '%s\r\n' "$header"; done
        printf 'Content-Length: %d\r\n\r\n%s' "$(printf %s "$body" | wc -c)" "$body"
    } >&3
    timeout 60 cat <&3 | tee -a "$WORK/answers" >"$WORK/out"
    exec 3>&-
}
# listens PID: waits until it is the program, no shell any more, and catches SIGINT (the second bit of the mask), or is gone.
listens() {
    until [ ! -e "/proc/$1" ] || { ! grep -qs '^bash$' "/proc/$1/comm" && grep -qs '^SigCgt:.*[2367abef]$' "/proc/$1/status"; }; do
        sleep 0.01
    done
}

NAME=$1
. "$ROOT/tests/e2e/$NAME.case"
