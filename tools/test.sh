#!/bin/sh
# tools/test.sh BUILD PROGRAM... -- runs the test programs (cmocka's, and shell scripts) from the root of the
# repository and adds up their TAP lines. The last line is "N passed, N failed" and ", N skipped" where there
# were any. A program that dies or ends badly without naming a failed test counts as one failure; its log is shown.
#
# As many programs run at a time as there are CPUs, or LISAO_TEST_JOBS: no test compares times, and what one
# measures is its own.
#
# A skipped test names its reason ("# skipped: REASON" before its line). tests/skips.txt says how many tests of a
# program a reason may take away; more than that, another reason, or one that does not hold here is a failure.
#
# The programs see LISAO_BUILD (absolute), LISAO_BIN (the program), LISAO_SHARED (reference data, if there).
# LISAO_RUN, where it is set, stands before each program: an emulator of another architecture.
cd "$(dirname "$0")/.." || exit 1

# cpu_lacks FLAG...: this CPU has not all of them, or the programs run on another one.
cpu_lacks() {
    [ -z "${LISAO_RUN-}" ] || return 0
    for flag in "$@"; do grep -qw "$flag" /proc/cpuinfo || return 0; done
    return 1
}

# holds REASON: whether a reason to skip holds; what the tests themselves found is not believed.
holds() {
    case $1 in
        quick) [ -z "${LISAO_TEST_FULL-}" ] ;;
        no-reference) [ ! -d "$LISAO_SHARED/oracles" ] ;;
        no-smollm2) [ ! -e "${LISAO_MODEL_SMOLLM2:-${XDG_CACHE_HOME:-$HOME/.cache}/lisao/models/SmolLM2-135M-Instruct.Q4_1.gguf}" ] ;;
        emulated) [ -n "${LISAO_RUN-}" ] ;;
        no-own-memory) [ -n "${LISAO_RUN-}" ] || grep -q '__[at]san_init' "$LISAO_BIN" ;;
        no-own-speed) [ -n "${LISAO_RUN-}" ] || grep -q '__tsan_init' "$LISAO_BIN" ;;
        no-sandbox) grep -q '__[at]san_init' "$LISAO_BIN" || ! grep -q landlock /proc/kallsyms ;;
        no-namespaces) ! unshare -rm true 2> /dev/null ;;
        no-avx2) cpu_lacks avx2 fma f16c bmi2 ;;
        no-avx512) cpu_lacks avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 ;;
        no-amx) cpu_lacks amx_tile amx_bf16 amx_int8 ;;
        *) false ;;
    esac
}

# skips_refused PROGRAM LOG: what skips.txt does not allow, one line each.
skips_refused() {
    name=$(basename "$1")
    awk '/^# skipped: / { why = $3 } / # SKIP/ || /^ok .*# SKIP/ { n[why == "" ? "no-reason" : why]++ } / # SKIP|^(not )?ok / { why = "" }
         END { for (w in n) print w, n[w] }' "$2" | while read -r why n; do
        most=$(awk -v p="$name" -v w="$why" '$1 == p && $2 == w { print $3 }' tests/skips.txt)
        if ! holds "$why"; then echo "not ok - $name skipped $n: $why, which does not hold here"
        elif [ "$n" -gt "${most:-0}" ]; then echo "not ok - $name skipped $n: $why, and tests/skips.txt allows ${most:-0}"; fi
    done
}

# test_one PROGRAM: runs it, says how it went, and leaves "PASSED FAILED SKIPPED" in its log's .sum.
test_one() {
    program=$1 name=$(basename "$1") log=$LISAO_BUILD/logs/$(basename "$1").log
    begin=$(date +%s)
    case $program in
        *.sh) timeout "${LISAO_TEST_TIMEOUT:-1200}" sh "$program" > "$log" 2>&1 ;;
        *) timeout "${LISAO_TEST_TIMEOUT:-1200}" ${LISAO_RUN-} "$program" > "$log" 2>&1 ;;
    esac
    status=$?
    set -- $(awk '/^(not )?ok .*# SKIP/ { s++; next } /^ok / { p++ } /^not ok / { f++ }
                  /^1\.\.[0-9]+$/ { plan += substr($0, 4) }
                  END { print p + 0, f + 0, s + 0, plan - p - f - s }' "$log")
    p=$1 f=$2 s=$3 missing=$4 died=
    # It died: tests that were planned did not report, or it ended badly without a failed test.
    if [ "$missing" -gt 0 ] || { [ $status -ne 0 ] && [ "$f" -eq 0 ]; }; then died=yes f=$((f + 1)); fi
    skips_refused "$program" "$log" > "$log.skips"
    f=$((f + $(wc -l < "$log.skips")))
    {
        [ -z "$died" ] || { echo "not ok - $name ended with status $status"; tail -n 30 "$log"; }
        cat "$log.skips"
        printf '%-16s %4d passed, %d failed, %d skipped, %d s\n' "$name" "$p" "$f" "$s" $(($(date +%s) - begin))
        # The failed tests, with what they say and where
        [ "$f" -eq 0 ] || awk '/^not ok / && !/# SKIP/ { print "    " $0; on = 1; next } /^(#|ERROR)/ && on { print "    " $0; next }
                               { on = 0 }' "$log"
    } > "$log.said"
    cat "$log.said" # in one piece: another one may be speaking
    rm "$log.skips" "$log.said"
    echo "$p $f $s" > "$log.sum"
}
[ "$1" != --one ] || { test_one "$2"; exit 0; }

# ---- all of them ---------------------------------------------------------------------------------------------

case $1 in /*) LISAO_BUILD=$1 ;; *) LISAO_BUILD=$PWD/$1 ;; esac
shift
: "${LISAO_SHARED:=../shared}"
export LISAO_BUILD LISAO_SHARED LISAO_BIN="${LISAO_BIN:-$LISAO_BUILD/lisao}" CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}" UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

mkdir -p "$LISAO_BUILD/logs"
for program in "$@"; do rm -f "$LISAO_BUILD/logs/$(basename "$program").log.sum"; done
# The longest first, so that the last to end is a short one.
LONG='prop train e2e.sh kern model infer bundle data'
{ for name in $LONG; do printf '%s\n' "$@" | grep "/$name\$"; done
  printf '%s\n' "$@" | grep -vE "/($(echo "$LONG" | tr ' ' '|'))\$"; } |
    xargs -d '\n' -n 1 -P "${LISAO_TEST_JOBS:-$(nproc)}" tools/test.sh --one

passed=0 failed=0 skipped=0
for program in "$@"; do
    sum=$LISAO_BUILD/logs/$(basename "$program").log.sum
    if read -r p f s 2> /dev/null < "$sum"; then passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    else failed=$((failed + 1)); echo "not ok - $program was not run to its end"; fi
done
line="$passed passed, $failed failed"
[ $skipped -eq 0 ] || line="$line, $skipped skipped"
echo "$line"
[ $failed -eq 0 ]
