#!/bin/sh
# e2e.sh -- end to end: each tests/e2e/NAME.case runs the program as a user does. One TAP line a case.
cd "$(dirname "$0")/../.." || exit 1
said=$(mktemp) bad=0 n=0
for file in tests/e2e/*.case; do
    n=$((n + 1)) name=$(basename "$file" .case)
    bash tests/e2e/case.bash "$name" >"$said" 2>&1
    case $? in
        0) echo "ok $n - $name" ;;
        77) tail -n 1 "$said"; echo "ok $n - $name # SKIP" ;;
        *) echo "not ok $n - $name"; sed 's/^/# /' "$said"; bad=1 ;;
    esac
done
rm -f "$said"
echo "1..$n"
exit $bad
