#!/bin/sh
# tools/format.sh [FILE...] -- gives the lines of more than 100 columns to clang-format, and only those: tables
# and comments that a person has aligned stay as they are. Default: all of src, tests and bench.
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C.UTF-8
[ $# -gt 0 ] || set -- $(find src tests bench -name '*.[ch]')
for f in "$@"; do
    lines=$(grep -nE '^.{101,}$' "$f" | sed 's/^\([0-9]*\):.*/--lines=\1:\1/')
    [ -z "$lines" ] || clang-format-14 -i $lines "$f"
done
