#!/bin/sh
# Runs the tests on FreeBSD 15: natively there, elsewhere in a throw-away guest under QEMU with
# binaries that were cross-built here.
#
#   tools/freebsd-test.sh [NAME…]    only test programs whose names begin with one of these;
#                                    torture: random faults, for SECONDS (120) from SEED (1) on
#
# COLIBRI_FREEBSD_IMAGE names the disk image, see freebsd-guest.py; without it nothing is run, and
# this says so. COLIBRI_FREEBSD_SECONDS limits the whole run (default 5400), COLIBRI_FREEBSD_USERS
# says as whom the programs are run (default: root nobody).
set -eu
cd "$(dirname "$0")/.."
if [ "$(uname -s)" = FreeBSD ]; then
	exec sh tools/test.sh
fi
if [ -z "${COLIBRI_FREEBSD_IMAGE:-}" ]; then
	echo 'freebsd-test: SKIPPED, nothing was run: COLIBRI_FREEBSD_IMAGE names no disk image'
	exit 0
fi
for program in "${COLIBRI_FREEBSD_QEMU:-qemu-system-x86_64}" python3; do
	command -v "$program" >/dev/null || { echo "freebsd-test: $program is missing" >&2; exit 1; }
done

# Without debug information: the guest gets every test program.
export CARGO_PROFILE_DEV_DEBUG=0
top=$PWD
cargo=tools/freebsd-cross/cargo-freebsd
work=$(mktemp -d "${TMPDIR:-/tmp}/freebsd-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/bin" "$work/tests"

$cargo build --workspace --all-targets
# cargo names each program; a test with the package whose directory it runs in.
$cargo test --workspace --message-format json-render-diagnostics >"$work/messages"
programs() {
	sed -n '/"profile":{[^}]*"test":'"$1"'/s/.*"manifest_path":"\([^"]*\)\/Cargo.toml".*"executable":"\([^"]*\)".*/\2 \1/p' \
		"$work/messages"
}
programs true >"$work/found"
[ -s "$work/found" ] || { echo 'freebsd-test: cargo names no test program' >&2; exit 1; }
while read -r program package; do
	name=${program##*/}
	wanted=$#
	for prefix; do case $name in "$prefix"*) wanted=0 ;; esac; done
	[ "$wanted" -eq 0 ] || continue
	cp "$program" "$work/tests/"
	echo "$name .${package#"$top"}" >>"$work/list"
done <"$work/found"
$cargo build --workspace --bins --message-format json-render-diagnostics >"$work/messages"
programs false | while read -r program _; do
	case ${program##*/} in bench-*) ;; *) cp "$program" "$work/bin/" ;; esac
done
for name; do
	[ "$name" = torture ] || continue
	ln "$work/bin/colibri-torture" "$work/tests/"
	echo "colibri-torture ./tests --seconds ${SECONDS:-120} --seed ${SEED:-1}" >>"$work/list"
done
[ -s "$work/list" ] || { echo "freebsd-test: no test program is called $*" >&2; exit 1; }
echo "${COLIBRI_FREEBSD_USERS:-root nobody}" >"$work/users"

tar -cf "$work/tree.tar" --exclude ./target --exclude ./.git --exclude ./fuzz .
python3 tools/freebsd-guest.py -t "${COLIBRI_FREEBSD_SECONDS:-5400}" tools/freebsd-job.sh \
	"$work/users" "$work/list" "$work/bin" "$work/tests" "$work/tree.tar"
