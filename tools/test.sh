#!/bin/sh
# tools/test.sh BUILD PROGRAM... -- runs the test programs (cmocka's, and shell scripts) from the root of the
# repository and adds up their TAP lines. The last line is
# "N passed, N failed" and ", N skipped" where there were any. A program that dies or ends badly without
# naming a failed test counts as one failure; its log is shown.
#
# The programs see LISAO_BUILD (absolute), LISAO_BIN (the program), LISAO_SHARED (reference data, if there).
cd "$(dirname "$0")/.." || exit 1
case $1 in /*) LISAO_BUILD=$1 ;; *) LISAO_BUILD=$PWD/$1 ;; esac
shift
: "${LISAO_SHARED:=../shared}"
export LISAO_BUILD LISAO_SHARED LISAO_BIN="$LISAO_BUILD/lisao" CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}" UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

passed=0 failed=0 skipped=0
mkdir -p "$LISAO_BUILD/logs"
for program in "$@"; do
    name=$(basename "$program") log=$LISAO_BUILD/logs/$(basename "$program").log
    begin=$(date +%s)
    case $program in
        *.sh) timeout "${LISAO_TEST_TIMEOUT:-1200}" sh "$program" > "$log" 2>&1 ;;
        *) timeout "${LISAO_TEST_TIMEOUT:-1200}" "$program" > "$log" 2>&1 ;;
    esac
    status=$?
    set -- $(awk '/^(not )?ok .*# SKIP/ { s++; next } /^ok / { p++ } /^not ok / { f++ }
                  /^1\.\.[0-9]+$/ { plan += substr($0, 4) }
                  END { print p + 0, f + 0, s + 0, plan - p - f - s }' "$log")
    p=$1 f=$2 s=$3 missing=$4
    # It died: tests that were planned did not report, or it ended badly without a failed test.
    if [ "$missing" -gt 0 ] || { [ $status -ne 0 ] && [ "$f" -eq 0 ]; }; then
        f=$((f + 1))
        echo "not ok - $name ended with status $status"
        tail -n 30 "$log"
    fi
    printf '%-16s %4d passed, %d failed, %d skipped, %d s\n' "$name" "$p" "$f" "$s" $(($(date +%s) - begin))
    # The failed tests, with what they say and where
    [ "$f" -eq 0 ] || awk '/^not ok / && !/# SKIP/ { print "    " $0; on = 1; next } /^#/ && on { print "    " $0; next }
                           { on = 0 }' "$log"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done

line="$passed passed, $failed failed"
[ $skipped -eq 0 ] || line="$line, $skipped skipped"
echo "$line"
[ $failed -eq 0 ]
