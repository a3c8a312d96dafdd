# What package.sh, handoff.sh and dist.sh know alike; read by them, in the top directory.

PROGRAMS='colibrid colibri-spawnd colibri-schedd colibri-ctl'
TARGET=x86_64-unknown-freebsd
VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
NAME=colibri-$VERSION-freebsd15-amd64

mkdir -p "${CARGO_TARGET_DIR:-target}"
CARGO_TARGET_DIR=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export CARGO_TARGET_DIR
OUT=$CARGO_TARGET_DIR/package

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

sum() {
	if command -v sha256sum >/dev/null 2>&1; then
		sha256sum "$1" | cut -d' ' -f1
	else
		sha256 -q "$1"
	fi
}

# iso SECONDS: as touch -d reads it on every system.
iso() { date -u -d "@$1" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$1" +%Y-%m-%dT%H:%M:%SZ; }

# The commit, whether the tree differs from it ("-dirty"), and its date in seconds since 1970. Without
# git, whoever unpacked the sources says COLIBRI_COMMIT; git archive left the date on every file.
DIRTY=
if [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ]; then
	COMMIT=$(git rev-parse HEAD)
	[ -z "$(git status --porcelain)" ] || DIRTY=-dirty
	EPOCH=$(git log -1 --format=%ct)
else
	COMMIT=${COLIBRI_COMMIT:-}
	COMMIT=${COMMIT%-dirty}
	[ "$COMMIT" = "${COLIBRI_COMMIT:-}" ] || DIRTY=-dirty
	EPOCH=${SOURCE_DATE_EPOCH:-$(date -r Cargo.toml +%s)}
fi
