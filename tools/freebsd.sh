#!/bin/sh
# Checks, lints and links the workspace and all its tests for FreeBSD: natively there, elsewhere
# with the cross toolchain beside this file. Nothing is run.
set -eu
cd "$(dirname "$0")/.."
if [ "$(uname -s)" = FreeBSD ]; then
	cargo=${CARGO:-cargo}
else
	cargo=tools/freebsd-cross/cargo-freebsd
fi
$cargo check --workspace --all-targets
$cargo clippy --workspace --all-targets -- -D warnings
$cargo build --workspace --all-targets
