#!/bin/sh
# Builds the release binaries and runs every bench-* among them, one after the other, on an
# otherwise idle machine if the figures are to mean anything. Each prints its own conditions.
set -eu
cd "$(dirname "$0")/.."
bin=$(cd "${CARGO_TARGET_DIR:-target}" 2>/dev/null && pwd || echo "$PWD/target")/release
${CARGO:-cargo} build --release --workspace --bins
export COLIBRI_BIN_DIR="$bin" COLIBRI_FIXTURES="$PWD/tests/fixtures"
found=0
for program in "$bin"/bench-*; do
	case $program in *.d) continue ;; esac
	[ -x "$program" ] || continue
	found=1
	printf '\n== %s\n' "${program##*/}"
	"$program" "$@"
done
[ "$found" = 1 ] || { echo "bench: no bench-* in $bin" >&2; exit 1; }
