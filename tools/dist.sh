#!/bin/sh
# Packs the sources of the last commit: target/package/colibri-VERSION.tar.gz, the port's distfile.
set -eu
cd "$(dirname "$0")/.."
. tools/release.sh
[ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ] || die 'cannot tell what to pack: no git tree'
[ -z "$DIRTY" ] || echo 'dist: changes that are not committed stay out' >&2
mkdir -p "$OUT"
git archive --format=tar --prefix="colibri-$VERSION/" HEAD | gzip -9n >"$OUT/colibri-$VERSION.tar.gz"
echo "$OUT/colibri-$VERSION.tar.gz"
echo "COLIBRI_COMMIT=$COMMIT"
