#!/bin/sh
# Writes what is handed over with a package, beside it: handoff.json and handoff.txt say what it was
# built from and with what, and the sums of what came of it. The facts of the build are those that the
# packed colibri-ctl itself has; they must agree with the tree. Run by `make handoff`, which packs first.
set -eu
cd "$(dirname "$0")/.."
. tools/release.sh
tarball=$OUT/$NAME.tar.xz
sbin=$OUT/$NAME/root/usr/local/sbin
[ -f "$tarball" ] || die "cannot find $tarball: make package-freebsd"

# field NAME: of the build's JSON object, which is one line without nesting.
build=$(LC_ALL=C grep -ao '{"version":"[^}]*"tls":"[^"]*"}' "$sbin/colibri-ctl" | head -n 1)
field() { printf '%s\n' "$build" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",]*\).*/\1/p"; }
commit=$(field commit)
dirty=$(field dirty)
[ "$commit" = "${COMMIT:-unknown}" ] || die "colibri-ctl is of commit $commit, not of ${COMMIT:-unknown}"
[ "$(field version)" = "$VERSION" ] || die "colibri-ctl is of version $(field version), not $VERSION"
[ "$(field target)" = "$TARGET" ] || die "colibri-ctl is for $(field target), not for $TARGET"
[ "$dirty" != false ] || [ -z "$DIRTY" ] || die 'the tree has changed since it was packed'

# Every package that is in the programs, as the lock file has it: "name version", sorted.
packages() {
	${CARGO:-cargo} tree --locked --target "$TARGET" -e normal,build --prefix none --no-dedupe \
		$(printf -- '-p %s ' $PROGRAMS) | sed -n 's/^\([^ ][^ ]*\) v\([^ ]*\).*/\1 \2/p' | LC_ALL=C sort -u
}
packages >"$OUT/packages"
[ -s "$OUT/packages" ] || die 'cannot list the packages'

{
	printf '{"schema":"colibri.handoff.v1",\n"build":%s,\n"binaries":{' "$build"
	comma=
	for p in $PROGRAMS; do
		printf '%s\n  "%s":{"sha256":"%s"}' "$comma" "$p" "$(sum "$sbin/$p")"
		comma=,
	done
	printf '},\n"tarball":{"name":"%s","bytes":%d,"sha256":"%s"},\n"packages":[\n' \
		"${tarball##*/}" "$(wc -c <"$tarball")" "$(sum "$tarball")"
	sed 's/\(.*\) \(.*\)/  {"name":"\1","version":"\2"},/;$s/,$//' "$OUT/packages"
	printf ']}\n'
} >"$OUT/handoff.json"

features=$(printf '%s\n' "$build" | sed 's/.*"features":\[\([^]]*\)\].*/\1/' | tr -d '"')
case $dirty in
true) changed=', WITH CHANGES that are not in it' ;;
false) changed= ;;
*) changed=', whether changed is not known' ;;
esac
{
	echo "Colibri $VERSION for FreeBSD 15, amd64"
	echo
	echo "commit    $commit$changed"
	echo "target    $TARGET, profile $(field profile)"
	echo "compiler  rustc $(field rustc)"
	echo "features  ${features:-none}; TLS $(field tls)"
	echo "packages  $(wc -l <"$OUT/packages" | tr -d ' '), listed in handoff.json"
	echo
	echo 'sha256'
	for p in $PROGRAMS; do echo "$(sum "$sbin/$p")  $p"; done
	echo "$(sum "$tarball")  ${tarball##*/}"
	echo
	echo 'To install: unpack, sh install.sh. What an installed program was built from is told'
	echo 'by colibri-ctl version -j.'
} >"$OUT/handoff.txt"
rm "$OUT/packages"
cat "$OUT/handoff.txt"
