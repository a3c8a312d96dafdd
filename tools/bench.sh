#!/bin/sh
# Builds the release binaries and runs every bench-* among them, one after the other, on an
# otherwise idle machine if the figures are to mean anything. Each prints its own conditions.
#
#   tools/bench.sh [WORD…]      the words are given to each
#   tools/bench.sh --small      one small turn of those that need no other supervisor: do they work?
set -eu
cd "$(dirname "$0")/.."
bin=$(cd "${CARGO_TARGET_DIR:-target}" 2>/dev/null && pwd || echo "$PWD/target")/release
${CARGO:-cargo} build --release --workspace --bins
# Agents are other users, who can often not reach a tree below /root.
stage=$(mktemp -d /tmp/cb.XXXXXX)
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$stage"
find "$bin" -maxdepth 1 -type f -perm -100 -exec cp {} "$stage/" \;
cp -R tests/fixtures "$stage/fixtures"
chmod -R a+rX "$stage"
export COLIBRI_BIN_DIR="$stage" COLIBRI_FIXTURES="$stage/fixtures"

# small NAME: the words for a small turn.
small() {
	case $1 in
	bench-board) echo 200 10 20 ;;
	bench-events) echo 1 20 ;;
	bench-fanout) echo 4 50 ;;
	bench-ingest) echo 2 1 ;;
	bench-looks) echo 100 3 ;;
	bench-monitor) echo 2 ;;
	bench-recovery) echo 1 5 ;;
	bench-schedules) echo 500 20 1 ;;
	bench-start) echo 5 10 ;;
	*) return 1 ;;
	esac
}

found=0
for program in "$stage"/bench-*; do
	[ -x "$program" ] || continue
	name=${program##*/}
	found=1
	case ${1:-} in
	--small)
		words=$(small "$name") || continue
		printf '\n== %s %s\n' "$name" "$words"
		"$program" $words
		;;
	*)
		printf '\n== %s\n' "$name"
		"$program" "$@"
		;;
	esac
done
[ "$found" = 1 ] || { echo "bench: no bench-* in $bin" >&2; exit 1; }
