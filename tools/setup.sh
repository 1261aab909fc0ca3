# setup.sh -- what ./start and ./check share; sourced, not run. Messages go to stderr.

say() { printf '%s\n' "$*" >&2; }
die() { say "$0: $*"; exit 1; }

# need_packages PACKAGE...: installs the Debian packages that are missing, and names them.
need_packages() {
    command -v dpkg-query >/dev/null 2>&1 || {
        say "This is not a Debian-like system: please see that these (or their like) are installed: $*"
        return 0
    }
    local missing=() p
    for p in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "Installing Debian packages: ${missing[*]}"
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "not root and no sudo. Please run as root: apt-get install ${missing[*]}"
        sudo=(sudo)
        [ -t 0 ] || sudo=(sudo -n)
    fi
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    local install=(apt-get install -y -q --no-install-recommends "${missing[@]}")
    if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" >"$log" 2>&1 </dev/null; then
        # A fresh machine has no package lists yet, or old ones.
        "${sudo[@]}" apt-get update -q >>"$log" 2>&1 </dev/null || true
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" >>"$log" 2>&1 </dev/null || {
            tail -n 5 "$log" >&2
            rm -f "$log"
            die "could not install them. By hand, as root: apt-get update && apt-get install ${missing[*]}"
        }
    fi
    rm -f "$log"
}

# build TARGET...: make, one at a time in this folder; quiet unless it fails or takes long.
build() {
    mkdir -p build
    exec 9>build/.lock
    flock 9
    if ! make -q "$@" >/dev/null 2>&1; then
        say "Building ($(nproc) jobs; a minute or so the first time) ..."
        local log=build/make.log
        make -j"$(nproc)" "$@" >"$log" 2>&1 9>&- || {
            tail -n 30 "$log" >&2
            die "the build failed; the whole output is in $log"
        }
    fi
    exec 9>&-
}

BUILD_PACKAGES=(gcc libc6-dev make pkg-config libjansson-dev libpcre2-dev libutf8proc-dev libcyaml-dev libedit-dev
    libcurl4-openssl-dev ca-certificates libarchive-dev libmicrohttpd-dev libgnutls28-dev libsodium-dev
    libsqlite3-dev libseccomp-dev libxml2-dev)
