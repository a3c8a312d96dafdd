#!/bin/sh
# Prepares the cross toolchain for x86_64-unknown-freebsd on Debian (README.md says how it works).
# Idempotent: every step leaves a stamp and is skipped while the stamp fits. All that it makes is
# below COLIBRI_XFBSD_HOME; only the Debian packages are installed for the whole machine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=${COLIBRI_XFBSD_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/colibri-freebsd-cross}
target=x86_64-unknown-freebsd
freebsd=15.0
zig=0.17.1
zig_sum=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54
packages='rustc-web cargo-web libstd-rust-web-dev rust-web-src rust-web-clippy'

say() { printf 'freebsd-cross: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# install PACKAGE…: those of them that are missing.
install() {
	missing=
	for p in "$@"; do
		dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' ||
			missing="$missing $p"
	done
	[ -n "$missing" ] || return 0
	sudo=
	[ "$(id -u)" -eq 0 ] || sudo=$(command -v sudo) || die "as root: apt-get install$missing"
	say "apt-get install$missing"
	$sudo apt-get update -qq
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends $missing >/dev/null
}

# wrapper NAME: an executable in bin/ that starts by finding the toolchain's directory.
wrapper() {
	{ printf '%s\n' '#!/bin/sh' 'me=$(readlink -f "$0"); home=${me%/bin/*}'; cat; } >"$home/bin/$1"
	chmod +x "$home/bin/$1"
}

command -v dpkg-query >/dev/null || die 'this needs Debian; on FreeBSD use cargo itself'
[ "$(dpkg --print-architecture)" = amd64 ] || die 'this needs amd64'
mkdir -p "$home/bin"
# Two runs at a time would build into the same place: the second waits for the first.
if [ -z "${COLIBRI_XFBSD_LOCKED:-}" ]; then
	COLIBRI_XFBSD_LOCKED=1 exec flock "$home/.lock" sh "$0" "$@"
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# 1. Debian's Rust.
# shellcheck disable=SC2086
install $packages

# 2. zig: the wheel is only unpacked, so no Python environment is touched.
if [ "$(cat "$home/zig/.stamp" 2>/dev/null)" != "$zig" ]; then
	python3 -m pip --version >/dev/null 2>&1 || install python3-pip
	say "fetching ziglang $zig"
	printf 'ziglang==%s --hash=%s\n' "$zig" "$zig_sum" >"$tmp/require"
	python3 -m pip download -q --disable-pip-version-check --no-deps --no-cache-dir \
		--only-binary :all: -d "$tmp/wheel" -r "$tmp/require" 2>"$tmp/pip" ||
		{ cat "$tmp/pip" >&2; die "cannot fetch ziglang $zig"; }
	rm -rf "$home/zig"
	python3 -m zipfile -e "$tmp"/wheel/*.whl "$home/zig"
	chmod +x "$home/zig/ziglang/zig"
	rm -rf "$tmp/wheel"
	echo "$zig" >"$home/zig/.stamp"
fi

# 3. The compilers under the names that cargo and build scripts are told.
wrapper cc <<'W'
# cc and c++ for FreeBSD, by the name it is called as.
export ZIG_GLOBAL_CACHE_DIR="$home/zig-cache" ZIG_LOCAL_CACHE_DIR="$home/zig-cache"
# Build scripts pass clang's spelling of the target; zig wants its own, below.
for arg; do
	shift
	case $arg in --target=*) ;; *) set -- "$@" "$arg" ;; esac
done
# zig turns the undefined-behaviour sanitizer on when no -O is given; a plain cc does not.
exec "$home/zig/ziglang/zig" "${0##*/}" -target "x86_64-freebsd.$(cat "$home/freebsd-version")" \
	-fno-sanitize=undefined -L"$home/stubs" "$@"
W
ln -sf cc "$home/bin/c++"
wrapper ar <<'W'
exec "$home/zig/ziglang/zig" "${0##*/}" "$@"
W
ln -sf ar "$home/bin/ranlib"
wrapper rustc <<'W'
exec "/usr/bin/${0##*/}" --sysroot "$home/rust" "$@"
W
ln -sf rustc "$home/bin/rustdoc"
echo "$freebsd" >"$home/freebsd-version"

# 4. Link stubs.
stamp="$zig $freebsd $(cksum <"$here/stubs.list")"
if [ "$(cat "$home/stubs/.stamp" 2>/dev/null)" != "$stamp" ]; then
	say 'making link stubs'
	rm -rf "$home/stubs"
	mkdir "$home/stubs"
	grep -v '^#' "$here/stubs.list" | while read -r name major symbols; do
		for s in $symbols; do
			case $s in
			*=data) s=${s%=data}; echo "char ${s%@*}[1024];" ;;
			*) echo "void ${s%@*}(void) {}" ;;
			esac
		done >"$tmp/stub.c"
		for v in $(printf '%s\n' $symbols | sed -n 's/=data$//; s/.*@//p' | sort -u); do
			echo "$v { global:"
			printf '%s\n' $symbols | sed -n "s/=data\$//; s/@$v\$/;/p"
			echo '};'
		done >"$tmp/stub.map"
		set -- -Wl,-soname,"lib$name.so.$major"
		[ ! -s "$tmp/stub.map" ] || set -- "$@" -Wl,--version-script="$tmp/stub.map"
		"$home/bin/cc" -w -O1 -shared -nostdlib -fPIC "$@" -o "$home/stubs/lib$name.so" "$tmp/stub.c"
	done
	echo "$stamp" >"$home/stubs/.stamp"
fi

# 5. Rust's standard library for FreeBSD, from Debian's sources, with their own vendored crates.
stamp=$(/usr/bin/rustc -vV | sed -n 's/^commit-hash: //p')-$(dpkg-query -W -f='${Version}' rust-web-src)
if [ "$(cat "$home/rust/.stamp" 2>/dev/null)" != "$stamp" ]; then
	say "building Rust's standard library for $target"
	hostlib=$(/usr/bin/rustc --print sysroot)/lib/rustlib
	mkdir -p "$tmp/std/src"
	echo '#![no_std]' >"$tmp/std/src/lib.rs"
	cat >"$tmp/std/Cargo.toml" <<'M'
cargo-features = ["profile-rustflags"]
[package]
name = "seed"
version = "0.0.0"
edition = "2021"
[profile.release]
codegen-units = 1
debug = 0
# As in the library's own workspace: programs with panic = "abort" need it so.
[profile.release.package.panic_abort]
rustflags = ["-Cpanic=abort"]
[workspace]
M
	# -Zbuild-std is not stable; RUSTC_BOOTSTRAP allows it for this one build only.
	(cd "$tmp/std" && env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_RUSTFLAGS \
		-u RUSTC_WRAPPER -u RUSTUP_TOOLCHAIN RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
		CARGO_HOME="$tmp/cargo" CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_RUSTFLAGS=-Cembed-bitcode=yes \
		/usr/bin/cargo build -q --release --offline --target "$target" --target-dir "$tmp/out" \
		-Zbuild-std=std,test,panic_abort,panic_unwind \
		-Zbuild-std-features=panic-unwind,backtrace \
		--config 'source.crates-io.replace-with="debian"' \
		--config "source.debian.directory='$hostlib/src/rust/library/vendor'")
	rm -rf "$home/rust"
	mkdir -p "$home/rust/lib/rustlib/$target/lib"
	rm -f "$tmp/out/$target/release/deps/"libseed-*
	cp "$tmp/out/$target/release/deps/"*.rlib "$home/rust/lib/rustlib/$target/lib/"
	# Build scripts and macros run on this machine and link against its own library.
	ln -s "$hostlib/x86_64-unknown-linux-gnu" "$hostlib/src" "$home/rust/lib/rustlib/"
	echo "$stamp" >"$home/rust/.stamp"
fi

# 6. zig compiles FreeBSD's start code and libc stubs at the first link: here, not in the middle of a build.
stamp="$zig $freebsd"
if [ "$(cat "$home/.linked" 2>/dev/null)" != "$stamp" ]; then
	say 'linking a first program'
	echo 'int main(void) { return 0; }' >"$tmp/main.c"
	"$home/bin/cc" -O1 -pie -o "$tmp/main" "$tmp/main.c" -lgcc_s -lm -lpthread -lutil -lexecinfo -lrt
	echo "$stamp" >"$home/.linked"
fi
# Written last: what cargo-freebsd looks for, and compares with its own sources.
cksum "$here/setup.sh" "$here/stubs.list" | cut -d' ' -f1,2 >"$home/.ready"
say "ready: $(/usr/bin/rustc -V), zig $zig, FreeBSD $freebsd"
