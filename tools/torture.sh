#!/bin/sh
# Builds everything and plays fault-injection rounds against the real binaries, debug build, as the
# caller: SECONDS of them, from SEED on if that is set. A failure prints its seed; with SECONDS=0
# that one round is played again.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
${CARGO:-cargo} build --workspace --bins
bin=$(cd "$target" && pwd)/debug
export COLIBRI_BIN_DIR="$bin"
exec "$bin/colibri-torture" --seconds "${SECONDS:-120}" ${SEED:+--seed "$SEED"} "$@"
