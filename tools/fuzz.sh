#!/bin/sh
# Runs every fuzz target (a binary of the crate in fuzz/) for FUZZ_SECONDS with libFuzzer, on stable
# Rust: the coverage counters are asked of LLVM directly, which is what cargo-fuzz does as well.
#
#   tools/fuzz.sh [TARGET…]      these targets only
#
# fuzz/seeds/TARGET holds inputs to start from, of the binary formats such are made here, and fuzz/dict/TARGET words of the format in libFuzzer's
# syntax (comparisons of whole strings do not give them away); both may be absent. What is found
# interesting is kept in fuzz/corpus/TARGET, an input that crashes in fuzz/artifacts/TARGET; to replay
# one, run the target in fuzz/target/HOST/release with the file as its argument.
set -eu
cd "$(dirname "$0")/../fuzz"
seconds=${FUZZ_SECONDS:-30}
cargo=${CARGO:-cargo}
host=$(${RUSTC:-rustc} -vV | sed -n 's/^host: //p')

# Debug assertions and overflow checks stay on: they are half of what fuzzing finds.
flags='--cfg fuzzing -Cdebug-assertions=yes -Coverflow-checks=yes
	-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'
# --target keeps these flags from build scripts, which could not be linked with them.
RUSTFLAGS=$(echo $flags) $cargo build --release --bins --target "$host" --target-dir target

$cargo run --quiet --example seeds --target-dir target -- corpus

[ $# -gt 0 ] || set -- $($cargo metadata --no-deps --format-version 1 |
	tr '{' '\n' | sed -n 's/^"kind":\["bin"\].*"name":"\([^"]*\)".*/\1/p')
[ $# -gt 0 ] || { echo 'fuzz: no targets' >&2; exit 1; }
for target in "$@"; do
	printf '\n== fuzz %s, %s s\n' "$target" "$seconds"
	mkdir -p "corpus/$target" "artifacts/$target"
	set -- "corpus/$target"
	[ ! -d "seeds/$target" ] || set -- "$@" "seeds/$target"
	[ ! -f "dict/$target" ] || set -- "$@" -dict="dict/$target"
	# A single input may take 10 s and the process 1 GB: past that it is a finding.
	"target/$host/release/$target" "$@" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
		-print_final_stats=1 -artifact_prefix="artifacts/$target/" 2>"target/$target.log" ||
		{ tail -n 60 "target/$target.log"; echo "fuzz: $target failed" >&2; exit 1; }
	grep -E '^(stat::number_of_executed_units|Done)' "target/$target.log"
done
