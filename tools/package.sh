#!/bin/sh
# Builds the suite for FreeBSD 15 on amd64 and packs it: target/package/NAME.tar.xz, which its
# install.sh installs without ports. On FreeBSD with the native toolchain, elsewhere with the cross
# toolchain beside this file. The same commit gives the same tarball: sorted names, root's files, the
# commit's date.
#
#   tools/package.sh              builds and packs
#   tools/package.sh --bin DIR    packs the programs that are in DIR
set -eu
cd "$(dirname "$0")/.."
. tools/release.sh

build() {
	if [ "$(uname -s)" = FreeBSD ]; then
		[ "$(uname -p)" = amd64 ] && [ "$(uname -U)" -ge 1500000 ] || die 'cannot build for FreeBSD 15 on amd64 here'
		cargo=${CARGO:-cargo}
		bin=$CARGO_TARGET_DIR/release
	else
		cargo=tools/freebsd-cross/cargo-freebsd
		bin=$CARGO_TARGET_DIR/freebsd/$TARGET/release
	fi
	COLIBRI_COMMIT=$COMMIT$DIRTY
	# No names of the builder's directories in the programs.
	RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=/colibri"
	export COLIBRI_COMMIT RUSTFLAGS
	$cargo build --release --locked $(printf -- '-p %s ' $PROGRAMS)
}

case ${1:-} in
'') build ;;
--bin) bin=${2:?} ;;
*) sed -n '/^#   /s/^#   //p' "$0" >&2; exit 2 ;;
esac

umask 022
stage=$OUT/$NAME
rm -rf "$stage" "$stage.tar.xz" "$OUT"/handoff.*
mkdir -p "$stage/root"
${MAKE:-make} install SYSTEM=FreeBSD DESTDIR="$stage/root" PREFIX=/usr/local SYSCONFDIR=/usr/local/etc \
	MANDIR=/usr/local/share/man BIN_DIR="$bin" >/dev/null
install -m 755 tools/package/install.sh "$stage/install.sh"

# mode FILE: three digits.
mode() {
	if [ -x "$1" ]; then echo 755; elif [ -n "$(find "$1" -perm -004)" ]; then echo 644; else echo 600; fi
}
(cd "$stage/root" && find . -type f | sed 's|^\./||' | LC_ALL=C sort) | while read -r path; do
	echo "$(mode "$stage/root/$path") $(sum "$stage/root/$path") $path"
done >"$stage/MANIFEST"

chmod -R go-w "$stage"
find "$stage" -exec touch -h -d "$(iso "$EPOCH")" {} +
case $(uname -s) in
FreeBSD) owner='--uid 0 --gid 0 --uname root --gname wheel' ;;
*) owner='--owner=root:0 --group=wheel:0' ;;
esac
(cd "$OUT" && find "$NAME" | LC_ALL=C sort |
	tar -cf - --format=ustar --no-recursion $owner -T -) | xz -9 -T 1 >"$OUT/$NAME.tar.xz"
echo "$OUT/$NAME.tar.xz"
