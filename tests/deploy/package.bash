#!/usr/bin/env bash
# tests/deploy/package.bash PACKAGE.deb MODEL -- installs the Debian package on this machine, runs the service as its unit
# would, and purges it. For a machine that may be changed, as root; not a part of ./check. Ends with 0 where all was right.
set -euo pipefail
deb=$1 model=$2
[ "$(id -u)" = 0 ] || { echo "to be run as root, on a machine that may be changed" >&2; exit 1; }
! dpkg -s lisao >/dev/null 2>&1 || { echo "lisao is installed here already" >&2; exit 1; }
fail() { echo "not ok - $*" >&2; exit 1; }
log=$(mktemp)
server=
trap '[ -z "$server" ] || kill -KILL "$server"; dpkg -P lisao >/dev/null 2>&1 || true; rm -f "$log"' EXIT

dpkg -i "$deb" >/dev/null
lisao --version | grep -q '^lisao 0' || fail "the program does not run"
man -w lisao >/dev/null 2>&1 || [ -e /usr/share/man/man1/lisao.1.gz ] || fail "there is no manual page"
id lisao >/dev/null || fail "there is no user lisao"
[ "$(stat -c '%U %a' /var/lib/lisao)" = "lisao 700" ] || fail "its folder is not its own"
exposure=$(systemd-analyze security --offline=true /lib/systemd/system/lisao.service | sed -n 's/.*exposure level for lisao.service: \([0-9.]*\).*/\1/p')
awk "BEGIN { exit !($exposure < 2) }" || fail "systemd-analyze counts an exposure of $exposure"
systemd-analyze verify /lib/systemd/system/lisao.service || fail "systemd does not take the unit"
grep -q '^model:' /etc/lisao/lisao.yaml && fail "the settings name a model that is not there"

# As the unit starts it: the user, the environment, the command.
install -D -o lisao -g lisao -m 600 "$model" "/var/lib/lisao/models/$(basename "$model")"
printf 'model: %s\n' "$(basename "$model")" >>/etc/lisao/lisao.yaml
sed -i 's/^port: .*/port: 0/' /etc/lisao/lisao.yaml
command=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/lisao.service)
environment=$(sed -n 's/^Environment=//p' /lib/systemd/system/lisao.service)
as_unit() { (cd / && umask 077 && exec setpriv --reuid lisao --regid lisao --clear-groups --no-new-privs --bounding-set -all env -i PATH=/usr/bin:/bin $environment "$@"); }
as_unit $command >"$log" 2>&1 &
server=$!
until grep -q '^listening on' "$log" || [ ! -e "/proc/$server" ]; do sleep 0.05; done
address=$(sed -n 's/^listening on //p' "$log")
[ -n "$address" ] || { cat "$log" >&2; fail "the service does not start"; }
ask() { python3 -c '
import sys, urllib.request, urllib.error
r = urllib.request.Request(sys.argv[1] + sys.argv[2], data=sys.argv[4].encode() or None, headers={"x-api-key": sys.argv[3], "content-type": "application/json"})
try: print(urllib.request.urlopen(r, timeout=120).status)
except urllib.error.HTTPError as e: print(e.code)' "$address" "$1" "${2-}" "${3-}"; }
[ "$(ask /ready)" = 200 ] || fail "it is not ready"
[ "$(ask /v1/models)" = 401 ] || fail "it lets in whoever comes"
key=$(as_unit lisao keys create test --data /var/lib/lisao --json | grep -o 'lisao-sk-[A-Za-z0-9]*')
[ "$(ask /v1/chat/completions "$key" '{"messages": [{"role": "user", "content": "What is rain?"}], "max_tokens": 8}')" = 200 ] || { cat "$log" >&2; fail "there is no answer"; }
pid=$(pgrep -P "$server" lisao || echo "$server")
kill -HUP "$pid"
for _ in $(seq 1 100); do grep -q 'key 1 (test): new' "$log" && break; sleep 0.05; done
grep -q 'key 1 (test): new' "$log" || { cat "$log" >&2; fail "SIGHUP is not heeded"; }
kill -TERM "$pid" && wait "$server" || fail "it ends with $?"
server=

dpkg -r lisao >/dev/null
[ -e /var/lib/lisao/keys/keys.db ] && [ -e /etc/lisao/lisao.yaml ] || fail "removing it took keys or settings"
[ ! -e /usr/bin/lisao ] || fail "removing it left the program"
dpkg -P lisao >/dev/null 2>&1
for path in /etc/systemd/system/lisao.service /etc/systemd/system/multi-user.target.wants/lisao.service /var/lib/lisao /etc/lisao /usr/share/lisao /lib/systemd/system/lisao.service; do [ ! -e $path ] || fail "purging it left $path"; done
! id lisao >/dev/null 2>&1 || fail "purging it left the user"
echo "ok - installed, served, removed, purged; exposure $exposure"
