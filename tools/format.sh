#!/bin/sh
# tools/format.sh [--check] [FILE...] -- lays code out by clang-format 14 and .clang-format; with --check it only
# names the files that it would change. Default: all of src, tests and bench.
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C.UTF-8
check=
[ "${1-}" != --check ] || { check=yes; shift; }
[ $# -gt 0 ] || set -- $(find src tests bench -name '*.[ch]' | sort)
if [ -z "$check" ]; then exec clang-format-14 -i "$@"; fi
for f in "$@"; do clang-format-14 "$f" | cmp -s - "$f" || echo "$f:1: make format would change it"; done
