#!/bin/sh
# Everything that is said about the code without running it. All checks run; one failure fails.
set -u
cd "$(dirname "$0")/.." || exit 1
cargo=${CARGO:-cargo}
status=0

# check NAME COMMAND…
check() {
	printf '== lint: %s\n' "$1"
	shift
	"$@" || status=1
}

sources() { find . -name '*.rs' -not -path './target/*' -not -path './fuzz/target/*' | sort; }

manuals() {
	command -v mandoc >/dev/null || { echo 'lint: mandoc is missing (Debian: apt-get install mandoc)'; return 1; }
	mandoc -T lint -W warning man/*.[0-9]
}

# Files of code stay under 600 lines.
lengths() {
	sources | xargs wc -l |
		awk '$2 != "total" && $1 >= 600 { print $2 ": " $1 " lines, 599 allowed"; bad = 1 } END { exit bad }'
}

# The main.rs of each daemon tells its privilege story on one screen.
stories() {
	wc -l colibrid/src/main.rs colibri-spawnd/src/main.rs colibri-schedd/src/main.rs |
		awk '$2 != "total" && $1 >= 60 { print $2 ": " $1 " lines, 59 allowed"; bad = 1 } END { exit bad }'
}

# Unsafe code only where the system is called. The word in comments and lint names does not count.
unsafe_code() {
	found=$(sources | grep -v '^\./libcolibri/src/sys/' | xargs grep -nw unsafe /dev/null | grep -vE '^[^:]+:[0-9]+: *//' || true)
	[ -z "$found" ] || { printf 'unsafe outside libcolibri/src/sys:\n%s\n' "$found"; return 1; }
}

# Platforms differ in whole functions, never inside one. Relies on rustfmt: a function ends with a
# brace in the column of its first line.
cfg_in_functions() {
	sources | xargs awk '
		FNR == 1 { state = "" }
		state == "" && match($0, /^ *(pub(\([a-z ]+\))? )?(default |const |async |unsafe |extern "[^"]*" )*fn [a-z_]/) {
			match($0, /^ */); margin = RLENGTH; state = "head"
		}
		state == "head" {
			if ($0 ~ /\{$/) state = "body"
			else if ($0 ~ /[;}]$/) state = ""
			next
		}
		state == "body" {
			match($0, /^ */)
			if (RLENGTH == margin && substr($0, margin + 1, 1) == "}") state = ""
			else if ($0 ~ /#!?\[cfg|cfg!\(/ && $0 !~ /^ *\/\//) { print FILENAME ":" FNR ": cfg inside a function"; bad = 1 }
		}
		END { exit bad }'
}

scripts() {
	bad=0
	for f in tools/*.sh tools/*/*.sh tools/freebsd-cross/cargo-freebsd rc.d/* etc/*.in etc/periodic/*/*; do
		[ ! -f "$f" ] || sh -n "$f" || bad=1
	done
	bash -n .ci/run || bad=1
	return $bad
}

check 'formatting' $cargo fmt --all --check
check 'formatting, fuzz targets' $cargo fmt --manifest-path fuzz/Cargo.toml --check
check 'clippy' $cargo clippy --workspace --all-targets -- -D warnings
check 'clippy, fuzz targets' $cargo clippy --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --all-targets -- -D warnings
check 'man pages' manuals
check 'file length' lengths
check 'main.rs of the daemons' stories
check 'unsafe' unsafe_code
check 'cfg' cfg_in_functions
check 'scripts' scripts
exit $status
