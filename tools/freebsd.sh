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
# Without debug information, like tools/freebsd-test.sh: what it needs is built then.
export CARGO_PROFILE_DEV_DEBUG=0
$cargo check --workspace --all-targets
$cargo clippy --workspace --all-targets -- -D warnings
$cargo build --workspace --all-targets
