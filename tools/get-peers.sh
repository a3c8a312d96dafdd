#!/bin/sh
# Gets what bench-peers, bench-board-peers and bench-crons compare with: s6 from Debian's archive, which
# has its own path built in and starts nothing when it is installed; runit, supervisor, cron, bcron and
# task-spooler from there too, only unpacked below a directory (default /var/cache/colibri-peers), so that
# nothing of them is started either; pueue and pitchfork by cargo into the same place, which takes a
# while. What cannot be had is said and left out.
#
#   sh tools/get-peers.sh [DIRECTORY]
set -eu
dir=${1:-${COLIBRI_PEERS:-/var/cache/colibri-peers}}
mkdir -p "$dir/deb"
cd "$dir/deb"
command -v s6-svscan >/dev/null || apt-get install -y -qq --no-install-recommends s6 >/dev/null 2>&1 ||
	echo 'peers: s6 cannot be installed' >&2
for package in runit supervisor python3-pkg-resources cron bcron libbg2 task-spooler; do
	ls "$package"_*.deb >/dev/null 2>&1 || apt-get download "$package" >/dev/null 2>&1 ||
		{ echo "peers: $package cannot be downloaded" >&2; continue; }
	for deb in "$package"_*.deb; do dpkg -x "$deb" "$dir"; done
done
# built PROGRAM CRATE VERSION
built() {
	[ -x "$dir/bin/$1" ] ||
		"${CARGO:-cargo}" install --quiet --locked --root "$dir" --version "$3" "$2" ||
		echo "peers: $2 cannot be built" >&2
}
built pueued pueue '^4'
built pitchfork pitchfork-cli '^2'
