#!/bin/sh
# Installs Colibri on FreeBSD from this unpacked package, without ports or pkg.
#
#   install.sh              as root: users, files, configuration. Also upgrades; a second run
#                           changes nothing. What you have changed is never touched.
#   install.sh -d DESTDIR   only the files, below DESTDIR, on any system, as anybody
#   install.sh -u           as root: removes the files again. Configuration, state, logs and users
#                           stay. With -d, below DESTDIR.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dest=
remove=

say() { printf '%s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '/^#   /s/^#   //p' "$0" >&2; exit 2; }

while getopts d:u option; do
	case $option in
	d) [ -n "$OPTARG" ] || usage; dest=${OPTARG%/}; dest=${dest:-/.} ;;
	u) remove=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || usage

# Each line of the list: mode, sum, path below / and below root.
list=$here/MANIFEST
[ -r "$list" ] || die "cannot read $list: the package is not complete"
rc=/usr/local/etc/rc.d/colibrid

sum() {
	if command -v sha256sum >/dev/null 2>&1; then
		sha256sum "$1" | cut -d' ' -f1
	else
		sha256 -q "$1"
	fi
}

# status: what the service says, if there is one.
status() {
	[ -n "$dest" ] || [ ! -x "$rc" ] || "$rc" onestatus 2>&1 || true
}

if [ -z "$dest" ]; then
	[ "$(uname -sm)" = 'FreeBSD amd64' ] || die 'this package is for FreeBSD on amd64'
	[ "$(uname -U)" -ge 1500000 ] || die 'this package is for FreeBSD 15 or later'
	[ "$(id -u)" -eq 0 ] || die 'cannot install: not root'
fi

if [ -n "$remove" ]; then
	case $(status) in
	*'is running as'*) die 'cannot uninstall: colibrid runs; service colibrid stop' ;;
	*monitors*) die "cannot uninstall: $(status)" ;;
	esac
	while read -r _ _ path; do
		rm -f "$dest/$path"
	done <"$list"
	for dir in etc/colibri libexec/colibri share/examples/colibri; do
		rmdir "$dest/usr/local/$dir" 2>/dev/null || true
	done
	say 'Colibri is uninstalled. These stay, if they were there:'
	say "  $dest/usr/local/etc/colibri, colibri.conf in syslog.d and newsyslog.conf.d beside it,"
	say "  $dest/var/db/colibri, $dest/var/log/colibri.log, the users _colibri*"
	exit 0
fi

# All of it is there before any of it is used.
while read -r _ sum path; do
	[ -f "$here/root/$path" ] || die "cannot find root/$path: the package is not complete"
	[ "$(sum "$here/root/$path")" = "$sum" ] || die "root/$path is not what was packed"
done <"$list"

# put MODE FROM TO: at once, so that what runs is not disturbed.
put() {
	[ -d "${3%/*}" ] || install -d -m 755 "${3%/*}"
	rm -f "$3.new"
	cp -p "$2" "$3.new"
	chmod "$1" "$3.new"
	[ -n "$dest" ] || chown 0:0 "$3.new"
	mv -f "$3.new" "$3"
}

while read -r mode _ path; do
	put "$mode" "$here/root/$path" "$dest/$path"
	live=${path%.sample}
	if [ "$live" != "$path" ] && [ ! -e "$dest/$live" ]; then
		put "$mode" "$here/root/$path" "$dest/$live"
		say "made $dest/$live"
	fi
done <"$list"
if [ -n "$dest" ]; then
	say "The files are in $dest; no user was made."
	exit 0
fi
/usr/local/libexec/colibri/colibri-setup

say "$(/usr/local/sbin/colibri-ctl --version) is installed."
case $(status) in
*'is running as'*)
	say 'The suite that runs was started before: service colibrid restart takes the'
	say 'installed programs, and the runs go on.' ;;
*)
	say 'What is left to do:'
	say '  a user for the agents          /usr/local/libexec/colibri/colibri-setup -a pi'
	say '  their profile                  /usr/local/etc/colibri/colibri.conf; colibrid -n checks it'
	say '  the log, without a boot        newsyslog -C && service syslogd reload'
	say '  start now and at boot          sysrc colibrid_enable=YES && service colibrid start'
	say '  look                           colibri-ctl status; man colibri' ;;
esac
