#!/usr/bin/env bash
# tools/ci.sh [STAGE...] -- all that a change must pass, from a fresh Debian (root or sudo); the last line is
# "N passed, N failed" and ", N skipped" where there were any, summed over the stages. Stages, in order; named ones
# alone otherwise (docs/testing.md says what each covers and costs):
#
#   check     ./check: gcc, lint, every test, the slow ones too
#   clang     the quick tests built by clang
#   asan      the quick tests under the address and undefined-behaviour sanitizers
#   tsan      under the thread sanitizer, where threads meet
#   aarch64   cross-compiled, level ref, under qemu's user emulation, on Debian's arm64 libraries; all but the trainer
#
# A stage whose compiler or libraries cannot be had, for want of a network, is one skipped test and says so.
# What a stage said is kept in build/ci/STAGE.log, what it built in build/ci/STAGE.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
CI=build/ci
mkdir -p $CI
ln -sfn ../../recipes ../../models $CI/ # which a program looks for beside the folder that it was built into

# tests STAGE [NAME...]: builds everything with the variables of make in MAKE_WITH; runs these test programs, else all
# but LEFT_OUT.
tests() {
    local to=$CI/$1 programs=("${@:2}")
    local GLOBIGNORE=$to/tests/$LEFT_OUT
    make -j"$(nproc)" B="$to" "${MAKE_WITH[@]}" all tests >"$to.make" 2>&1 || {
        tail -n 30 "$to.make"
        return 1
    }
    # Sanitizers mislead gcc into seeing variables without a value; elsewhere a warning is a failure.
    [[ ${MAKE_WITH[*]} == *SAN=* ]] || ! grep 'warning:' "$to.make" || return 1
    if [ ${#programs[@]} = 0 ]; then set -- "$to"/tests/* tests/e2e/e2e.sh; else set -- "${programs[@]/#/$to/tests/}"; fi
    "${TEST[@]}" "$to" "$@"
}
TEST=(tools/test.sh) LEFT_OUT=
export LISAO_TEST_TIMEOUT=2400 # seconds of a program: sanitizers and emulators are slow

# left_out REASON: what the stage needs cannot be had here.
left_out() {
    echo "# skipped: $1"
    exit 77
}
can_have() { (need_packages "$@") || left_out "these packages cannot be had: $*"; }

check() { ./check; }

clang() {
    can_have clang-14
    MAKE_WITH=(CC=clang-14)
    tests clang
}

asan() {
    MAKE_WITH=(SAN=address,undefined OPT=-O1) # at -O2 gcc takes minutes for the unrolled kernels
    tests asan
}

# The modules in which threads meet.
tsan() {
    MAKE_WITH=(SAN=thread)
    # Some kernels spread addresses wider than the sanitizer can follow; not every container lets this be turned off.
    setarch -R true 2>/dev/null && TEST=(setarch -R tools/test.sh)
    TSAN_OPTIONS=halt_on_error=1 tests tsan base data infer kern model prop serve train
}

# The arm64 libraries, unpacked into a folder: this system's own packages stay as they are.
arm64_libraries() {
    local root=$PWD/$CI/arm64 apt
    local packages=(libjansson-dev libpcre2-dev libutf8proc-dev libcyaml-dev libyaml-dev libedit-dev libcurl4-openssl-dev
        libarchive-dev libmicrohttpd-dev libsodium-dev libsqlite3-dev libseccomp-dev libxml2-dev libcmocka-dev)
    [ "$(cat "$root/whole" 2>/dev/null)" != "${packages[*]}" ] || return 0
    rm -rf "$root"
    mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial"
    : >"$root/status"
    apt=(apt-get -q -o Dir::State="$root/state" -o Dir::State::status="$root/status" -o Dir::Cache="$root/cache"
        -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User="$(id -un)")
    "${apt[@]}" update || true # other sources than Debian's may have no arm64
    "${apt[@]}" install -y --no-install-recommends --download-only "${packages[@]}" || return 1
    for p in "$root"/cache/archives/*.deb; do dpkg-deb -x "$p" "$root" || return 1; done
    # A linker looks behind absolute links (libm.so) on this system, and without them takes the static library.
    find "$root" -lname '/*' | while read -r l; do ln -sfn "$root$(readlink "$l")" "$l"; done
    echo "${packages[*]}" >"$root/whole"
}

aarch64() {
    can_have gcc-aarch64-linux-gnu qemu-user
    arm64_libraries >$CI/arm64.log 2>&1 </dev/null || {
        tail -n 5 $CI/arm64.log
        left_out "Debian's arm64 libraries cannot be had"
    }
    local root=$PWD/$CI/arm64
    export PKG_CONFIG_LIBDIR=$root/usr/lib/aarch64-linux-gnu/pkgconfig
    export LISAO_RUN="qemu-aarch64 -L $root" LISAO_BIN=$PWD/$CI/lisao-aarch64
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$LISAO_RUN" "$PWD/$CI/aarch64/lisao" >"$LISAO_BIN"
    chmod +x "$LISAO_BIN"
    export LISAO_MODEL_SMOLLM2=/none # hours, at level ref in an emulator
    MAKE_WITH=(CC="aarch64-linux-gnu-gcc --sysroot=$root") LEFT_OUT=train # a training step takes seconds
    tests aarch64
}

# ---- running them ---------------------------------------------------------------------------------------------

passed=0 failed=0 skipped=0
# Adds the last line of a stage's log to the totals; a stage that ended badly without one is one failure, one that was
# left out is one skipped test.
count() {
    local status=$1 line
    line=$(tail -n 1 "$2")
    if [ "$status" = 77 ]; then
        skipped=$((skipped + 1))
    elif [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
        [ "$status" = 0 ] || [ "${BASH_REMATCH[2]}" != 0 ] || failed=$((failed + 1))
    else
        failed=$((failed + 1))
    fi
}

TIMEFORMAT='%R s (%U + %S s of CPU)'
[ $# -gt 0 ] || set -- check clang asan tsan aarch64
for stage in "$@"; do
    echo "== $stage"
    time ( "$stage" ) 2>&1 | tee "$CI/$stage.log"
    count "${PIPESTATUS[0]}" "$CI/$stage.log"
done
line="$passed passed, $failed failed"
[ $skipped = 0 ] || line="$line, $skipped skipped"
echo "== all"
echo "$line"
[ $failed = 0 ]
