#!/bin/sh
# Builds everything and runs the tests.
#
#   tools/test.sh          as the caller
#   tools/test.sh --user   as root: the same test binaries once more as an ordinary user (nobody)
#
# What the tests are told in their environment:
#
#   COLIBRI_BIN_DIR    the suite's binaries and the recorded-stream player, debug build
#   COLIBRI_FIXTURES   tests/fixtures
#   COLIBRI_PI_TRACES  a whole set of recorded streams, if one is found as pi-traces near the tree;
#                      not with --user, who may not be able to read it
#   COLIBRI_PI_ENV     only with --user: the file that tools/get-pi.sh wrote
#
# Root's tests start agents as other users, who can often not reach a tree below /root. So whenever
# root runs this, binaries and fixtures are first copied to a directory that everybody can read.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
mode=${1:-}
case $mode in '' | --user) ;; *) sed -n '2,6s/^# *//p' "$0" >&2; exit 2 ;; esac
# Not root: the caller is the ordinary user already.
[ "$(id -u)" -eq 0 ] || mode=

mkdir -p "${CARGO_TARGET_DIR:-target}"
CARGO_TARGET_DIR=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export CARGO_TARGET_DIR
debug=$CARGO_TARGET_DIR/debug
for traces in "$PWD"/../pi-traces "$PWD"/../*/pi-traces; do
	[ -n "${COLIBRI_PI_TRACES:-}" ] || [ ! -r "$traces/expected.tsv" ] || export COLIBRI_PI_TRACES="$traces"
done

$cargo build --workspace --all-targets

if [ "$(id -u)" -ne 0 ]; then
	export COLIBRI_BIN_DIR="$debug" COLIBRI_FIXTURES="$PWD/tests/fixtures"
	exec $cargo test --workspace --no-fail-fast
fi

# A short name: socket paths below it have to stay under 104 bytes.
stage=$(mktemp -d /tmp/ct.XXXXXX)
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$stage"
mkdir "$stage/bin" "$stage/tests" "$stage/tree"
find "$debug" -maxdepth 1 -type f -perm -100 -exec cp {} "$stage/bin/" \;
# The sources too: tests read the sample config, man pages and fixtures from there.
tar -cf - --exclude ./target --exclude ./.git --exclude ./fuzz . | tar -xf - -C "$stage/tree"
chmod -R a+rX "$stage"
export COLIBRI_BIN_DIR="$stage/bin" COLIBRI_FIXTURES="$stage/tree/tests/fixtures"

# leftovers: fails when a staged program still runs (Linux; elsewhere /proc has no such names).
leftovers() {
	left=$(ls -l /proc/[0-9]*/exe 2>/dev/null | grep -F "$stage/" || true)
	[ -z "$left" ] || { printf 'test: still running:\n%s\n' "$left" >&2; return 1; }
}

if [ -z "$mode" ]; then
	status=0
	$cargo test --workspace --no-fail-fast || status=$?
	leftovers || status=1
	exit "$status"
fi

# as_nobody COMMAND…: without root and without its groups.
as_nobody() {
	case $(uname -s) in
	Linux) setpriv --reuid=nobody --regid="$(id -gn nobody)" --clear-groups "$@" ;;
	*) su -m nobody -c 'exec "$0" "$@"' -- "$@" ;;
	esac
}

mkdir "$stage/home" "$stage/tmp"
chown nobody "$stage/home" "$stage/tmp"
pi=${COLIBRI_PI_HOME:-/var/cache/colibri-pi}/env
[ ! -r "$pi" ] || { cp "$pi" "$stage/pi.env"; chmod 644 "$stage/pi.env"; }

# cargo names each test binary and the package whose directory it runs in; one pair a line.
$cargo test --workspace --no-run --message-format json-render-diagnostics |
	sed -n '/"profile":{[^}]*"test":true/s/.*"manifest_path":"\([^"]*\)\/Cargo.toml".*"executable":"\([^"]*\)".*/\2 \1/p' \
		>"$stage/list"
[ -s "$stage/list" ] || { echo 'test: cargo names no test binary' >&2; exit 1; }

top=$PWD
failed=
while read -r program package; do
	copy=$stage/tests/${program##*/}
	dir=$stage/tree${package#"$top"}
	cp "$program" "$copy"
	chmod 755 "$copy"
	printf '\n     Running %s as nobody\n' "${program##*/}"
	(cd "$dir" && as_nobody env -u XDG_CACHE_HOME -u XDG_RUNTIME_DIR -u COLIBRI_PI_TRACES HOME="$stage/home" TMPDIR="$stage/tmp" \
		USER=nobody LOGNAME=nobody CARGO_MANIFEST_DIR="$dir" COLIBRI_PI_ENV="$stage/pi.env" \
		"$copy" </dev/null) || failed="$failed ${program##*/}"
	rm "$copy"
done <"$stage/list"
leftovers || failed="$failed leftovers"
[ -z "$failed" ] || { echo "test: failed as nobody:$failed" >&2; exit 1; }
