#!/bin/sh
# tools/deb.sh BUILD VERSION -- BUILD/lisao_VERSION_ARCH.deb of what is built, by dpkg-deb: program, man page, recipes, the
# unit of systemd, settings and documents. dpkg-shlibdeps finds out which libraries it depends on.
set -e
cd "$(dirname "$0")/.."
build=$1 version=$2
for tool in dpkg-deb dpkg-shlibdeps dpkg; do
    command -v $tool >/dev/null || { echo "tools/deb.sh: there is no $tool: apt-get install dpkg-dev" >&2; exit 1; }
done
arch=$(dpkg --print-architecture) work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/root doc=$work/root/usr/share/doc/lisao
${MAKE:-make} -s --no-print-directory B="$build" DESTDIR="$root" PREFIX=/usr install-files
strip --strip-unneeded --remove-section=.comment "$root/usr/bin/lisao"
gzip -9n "$root/usr/share/man/man1/lisao.1"
install -D -m 644 packaging/lisao.service "$root/lib/systemd/system/lisao.service"
install -D -m 644 packaging/lisao.yaml "$root/etc/lisao/lisao.yaml"
install -d "$doc/examples"
install -m 644 packaging/haproxy.cfg "$doc/examples/"
for page in api deploy clients; do gzip -9nc "docs/$page.md" >"$doc/$page.md.gz"; done
gzip -9nc CHANGELOG.md >"$doc/CHANGELOG.md.gz"
cat >"$doc/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: lisao

Files: *
Copyright: the authors of Lisao
License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.
END
mkdir -p "$work/debian" "$root/DEBIAN"
printf 'Source: lisao\n\nPackage: lisao\nArchitecture: %s\n' "$arch" >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info root/usr/bin/lisao | sed -n 's/^shlibs:Depends=//p')
cat >"$root/DEBIAN/control" <<END
Package: lisao
Version: $version
Architecture: $arch
Maintainer: the authors of Lisao
Section: science
Priority: optional
Installed-Size: $(du -sk "$root" | cut -f 1)
Depends: $libraries, adduser, init-system-helpers (>= 1.54)
Recommends: poppler-utils
Description: run, train and serve language models on CPUs
 Lisao runs and trains language models on CPUs and serves them by the APIs of
 OpenAI, DeepSeek and Anthropic. Results are the same bits on every machine.
END
echo /etc/lisao/lisao.yaml >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 packaging/$script "$root/DEBIAN/$script"; done
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -newermt "@${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date +%s)}" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
export SOURCE_DATE_EPOCH
dpkg-deb --root-owner-group -Zxz --build "$root" "$build/lisao_${version}_$arch.deb"
