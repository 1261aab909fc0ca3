#!/bin/sh
# tools/lint.sh [BUILD] -- the project rules that a program can check. Prints each offence as
# file:line: what, and ends with 1 if there was one.
#
#   arrows     "module/header.h" only; from outside a module only its public header; only along `layers`
#   seams      system headers only in base/{os*,team,queue}.c; intrinsics only in kern/<isa>/; malloc only in
#              base/arena.c; no libm on numeric paths but what IEEE fixes; atomics only where threads meet
#   sizes      public headers < 300 lines, files <= 1200, functions <= 150, lines <= 100 columns; nothing unfinished
#   layout     as clang-format 14 has it, where that is installed
#   documents  a file, a function or a link that a document names must exist; mutations must fit the sources
#   objects    no AVX-512 register outside kern/avx512, kern/amx*
#   circles    no files of a module that call each other in a circle
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C.UTF-8
BUILD=${1-}
OFFENCES=$(mktemp)
trap 'rm -f "$OFFENCES"' EXIT

sources() { find "$@" -name '*.[ch]' 2>/dev/null | sort; }

# Reads `layers`, then the #include lines of the files.
includes() {
    awk '
    FILENAME == "layers" {
        if ($0 !~ /^[a-z]+:/) next
        module = $1; sub(":", "", module); modules[module] = 1
        for (i = 2; i <= NF; i++) may[module, $i] = 1
        next
    }
    function offence(text) { print FILENAME ":" FNR ": " text }
    FNR == 1 { split(FILENAME, at, "/"); top = at[1]; module = at[2] }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
        split($0, quoted, "\""); path = quoted[2]
        if (path ~ /^gen\// || top != "src") next
        if (split(path, p, "/") < 2 || !(p[1] in modules)) { offence("write \"module/header.h\", not \"" path "\""); next }
        if (p[1] == module) next
        if (!((module, p[1]) in may)) { offence(module " may not see " p[1]); next }
        if (path != p[1] "/" p[1] ".h") offence("use the public header " p[1] "/" p[1] ".h, not " path)
    }
    /^[ \t]*#[ \t]*include[ \t]*</ && top == "src" {
        sub(/^[^<]*</, ""); sub(/>.*/, "")
        if ($0 ~ /intrin\.h$|^arm_(neon|sve|bf16)\.h$/) {
            if (FILENAME !~ /^src\/kern\/[a-z0-9_]+\//) offence("intrinsics belong into src/kern/<isa>/: <" $0 ">")
        } else if ($0 == "stdatomic.h") {
            if (FILENAME !~ /^src\/base\/(os[a-z_]*|team)\.c$/) offence("atomics belong into base/team.c")
        } else if ($0 ~ /^(unistd|fcntl|dirent|pthread|sched|signal|termios|poll|dlfcn|semaphore)\.h$|^(sys|linux|asm|netinet|arpa)\//) {
            if (FILENAME !~ /^src\/base\/(os[a-z_]*|team|queue)\.c$/) offence("the system is reached through os_*: <" $0 ">")
        }
    }' layers $(sources src tests)
}

# Words that may not be called: comments and strings are blanked first.
words() {
    awk '
    function offence(text) { print FILENAME ":" FNR ": " text }
    FNR == 1 { comment = 0 }
    {
        line = $0
        gsub(/\\./, "", line); gsub(/"[^"]*"/, "\"\"", line); gsub(/\/\*[^*]*\*+([^\/*][^*]*\*+)*\//, " ", line); sub(/\/\/.*/, "", line)
        if (comment) { if (!sub(/^.*\*\//, "", line)) next; comment = 0 }
        if (sub(/\/\*.*/, "", line)) comment = 1
        line = " " line
        if (FILENAME !~ /^src\/base\/arena\.c$/ && line ~ /[^a-z_A-Z0-9.>](malloc|calloc|realloc|aligned_alloc|posix_memalign|strdup|strndup|asprintf|alloca)[ ]*\(/)
            offence("memory comes from arenas (base/arena.c)")
        if (line ~ /[^a-z_A-Z0-9.>](exp|exp2|expm1|log|log2|log10|log1p|pow|sin|cos|tan|tanh|sinh|cosh|erf|cbrt|hypot|sincos|ldexp|scalbn)[fl]?[ ]*\(/)
            offence("no libm on numeric paths: kern/kern.h has exp, log, pow, sincos of its own")
        if (FILENAME !~ /^src\/(cli|base)\// && line ~ /[^a-z_A-Z0-9.>](exit|_exit|assert|printf|puts|system|popen)[ ]*\(/)
            offence("errors are returned; output is the business of cli/")
    }' $(sources src)
}

sizes() {
    awk '
    function offence(line, text) { print FILENAME ":" line ": " text }
    FNR == 1 { if (last) ends(); split(FILENAME, at, "/"); start = 0 }
    { last = FILENAME; lines[FILENAME] = FNR }
    function ends() { }
    /^[A-Za-z_].*\{$/ && !/^(typedef|struct|enum|static const|union|extern)/ { start = FNR }
    /^\}/ && start { if (FNR - start >= 150) offence(start, "a function of " FNR - start + 1 " lines (150)"); start = 0 }
    END {
        for (f in lines) {
            if (lines[f] > 1200) print f ":" lines[f] ": the file is too long (1200)"
            n = split(f, p, "/")
            if (n == 3 && p[1] == "src" && p[3] == p[2] ".h" && lines[f] >= 300) print f ":" lines[f] ": a public header has fewer than 300 lines"
        }
    }' $(sources src tests bench)
    grep -nE '^.{101,}$' $(sources src tests bench) /dev/null | sed 's/:\([0-9]*\):.*/:\1: longer than 100 columns/'
    grep -nE '[[:space:]]+$|	' $(sources src tests bench) /dev/null | sed 's/:\([0-9]*\):.*/:\1: a tab, or white space at the end/'
    grep -nE '\b(TODO|FIXME|XXX)\b' $(sources src tests bench) /dev/null | sed 's/:\([0-9]*\):.*/:\1: unfinished/'
    grep -rnE '(^|[^a-z.])/(work|tmp/dl)/' src tests bench tools docs ./*.md Makefile start check 2>/dev/null \
        | grep -v '^tools/lint.sh' | sed 's/:\([0-9]*\):.*/:\1: the path of one machine/'
}

objects() {
    command -v objdump > /dev/null && [ -d "$BUILD/obj/src" ] || return 0
    find "$BUILD/obj/src" -name '*.o' ! -path '*/kern/avx512/*' ! -path '*/kern/amx*/*' | sort | while read -r o; do
        objdump -d --no-show-raw-insn "$o" 2>/dev/null | grep -qE '%(zmm|k[0-7]|tmm)' && echo "$o: uses AVX-512 or AMX"
    done
}

# The pages of today; docs/log.md and docs/decisions/ tell history. A name in `backquotes` is a path (of the repository,
# of src/ or of the page's own folder) when it has a slash and an ending of ours, an identifier when it has a _ inside.
documents() {
    known=$(mktemp)
    cat $(sources src tests bench) tools/*.sh Makefile layers tests/golden/models/*/config*.json | grep -oE '[A-Za-z0-9_]+' | sort -u > "$known"
    for page in ./*.md docs/*.md docs/math/*.md recipes/*.md tests/golden/*.md; do
        [ "$page" = docs/log.md ] && continue
        page=${page#./}
        grep -noE '`[^` ]+`' "$page" | tr -d '`' | while IFS=: read -r line name; do
            case $name in
                runs/* | *[{*]* | *MODULE* | *NAME* | noun_verb | x_*) ;; # of a user, or a pattern
                */*.c | */*.h | */*.md | */*.sh | */*.yaml)
                    [ -e "$name" ] || [ -e "src/$name" ] || [ -e "$(dirname "$page")/$name" ] || echo "$page:$line: there is no $name" ;;
                *[!a-z0-9_]* | _* | *_) ;;
                *_*) grep -qx "$name" "$known" || echo "$page:$line: nothing in the sources is called $name" ;;
            esac
        done
        grep -noE '\]\([^)#]+' "$page" | sed 's/](//' | while IFS=: read -r line to; do
            case $to in *://*) ;; *) [ -e "$(dirname "$page")/$to" ] || echo "$page:$line: a link to $to, which is not there" ;; esac
        done
    done
    rm -f "$known"
}

# Files of a module that call each other in a circle, by the symbols of their objects. model and cli have one each: a
# Config's readers check what they read where its table stands, and main.c has the commands and their messages.
circles() {
    command -v nm > /dev/null && [ -d "$BUILD/obj/src" ] || return 0
    for module in $(awk -F: '/^[a-z]+:/ && $1 != "model" && $1 != "cli" { print $1 }' layers); do
        for o in "$BUILD/obj/src/$module"/*.o; do
            [ -e "src/$module/$(basename "$o" .o).c" ] && nm -g "$o" | awk -v file="$(basename "$o" .o)" '{ print file, $(NF - 1), $NF }'
        done | awk '$2 == "U" { used[++n] = $3; by[n] = $1; next } { home[$3] = $1 }
                    END { for (i = 1; i <= n; i++) if (used[i] in home && home[used[i]] != by[i]) print by[i], home[used[i]] }' \
            | sort -u | tsort 2>&1 > /dev/null | sed -n '/loop/d; s/^tsort: //p' | tr '\n' ' ' \
            | sed "s/ \$//; s/\\(..*\\)/src\\/$module: these files call each other in a circle: \\1\\n/"
    done
}

layout() { command -v clang-format-14 > /dev/null && tools/format.sh --check; }

{ includes; words; sizes; documents; layout; objects; circles; tools/mutations.sh --check; } > "$OFFENCES"
cat "$OFFENCES"
n=$(wc -l < "$OFFENCES")
[ "$n" -eq 0 ] && echo "lint: clean" || { echo "lint: $n offences"; exit 1; }
