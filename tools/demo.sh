#!/bin/sh
# Colibri, seen working: starts a private suite as the caller in a private directory, runs one
# agent through it, shows its states as they change, prints its result and stops the suite.
# Succeeds only if the run ended as done and nothing of the suite is left.
#
# The agent is the real Pi if one is on PATH and knows a model, and otherwise a program that plays a
# stream recorded from the real Pi, in its own timing.
#
#   COLIBRI_DEMO_AGENT=player    the recording even where there is a Pi
#   COLIBRI_DEMO_PROMPT=TEXT     another task for the real Pi
#   COLIBRI_DEMO_KEEP=1          leave the private directory for a look
set -eu
cd "$(dirname "$0")/.."
bin=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)
trace=$PWD/tests/fixtures/pi/1.5.2/demo.jsonl.gz
home=${HOME:-/}
# How long the suite may take to start, and to stop: tenths of a second.
patience=150
# What is made here may hold a key of the caller's.
umask 077

say() { printf '\n%s\n' "==> $*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# await COMMAND…: until it succeeds, for at most `patience`.
await() {
	n=0
	until "$@"; do
		n=$((n + 1))
		[ "$n" -lt "$patience" ] || return 1
		sleep 0.1
	done
}

# toml TEXT: the text as a TOML string.
toml() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"; }

# The suite is asked to stop however this script ends.
daemon=
finish() {
	code=$?
	trap - EXIT
	if [ -n "$daemon" ]; then
		kill -TERM "$daemon" 2>/dev/null || true
		wait "$daemon" 2>/dev/null || true
	fi
	if [ "$code" -ne 0 ] && [ -s "$dir/log" ]; then
		printf '%s\n' 'demo: the last lines of the log:' >&2
		tail -n 20 "$dir/log" >&2
	fi
	if [ -n "${COLIBRI_DEMO_KEEP:-}" ]; then say "Kept: $dir"; else rm -rf "$dir"; fi
	exit "$code"
}

# A short name: the sockets' paths have to stay under 104 bytes.
dir=$(mktemp -d /tmp/colibri.XXXXXX)
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
mkdir "$dir/run" "$dir/state" "$dir/tmp" "$dir/work"
echo 'Colibri was here.' >"$dir/work/hello.txt"

# agent_env: NAME=VALUE lines, the environment that the real Pi gets: its settings, and the
# providers' keys that the caller's shell has.
agent_env() {
	printf 'HOME=%s\nPATH=%s\n' "$home" "$PATH"
	[ -z "${PI_CODING_AGENT_DIR:-}" ] || printf 'PI_CODING_AGENT_DIR=%s\n' "$PI_CODING_AGENT_DIR"
	env | grep -E '^[A-Z0-9_]+_API_KEY=.' || true
}

# find_pi: sets `pi`, if the one on PATH runs and lists a model in the environment that it will get.
find_pi() {
	pi=
	[ "${COLIBRI_DEMO_AGENT:-}" != player ] || return 0
	found=$(command -v pi) || return 0
	agent_env >"$dir/env"
	set --
	while IFS= read -r line; do set -- "$@" "$line"; done <"$dir/env"
	env -i "$@" "$found" --offline --list-models </dev/null 2>&1 | grep -q '^provider  *model' || return 0
	pi=$found
	version=$(env -i "$@" "$pi" --version </dev/null 2>&1 | tail -n 1)
}

find_pi
if [ -n "$pi" ]; then
	say "The agent: the real Pi $version, $pi"
	prompt=${COLIBRI_DEMO_PROMPT:-'In one sentence: which directory are you in, and what is in it?'}
	command="[$(toml "$pi"), \"--no-session\"]"
	variables=$(while IFS= read -r line; do
		printf '%s = %s\n' "${line%%=*}" "$(toml "${line#*=}")"
	done <"$dir/env")
else
	say 'The agent: a recording of the real Pi 1.5.2, played in its own timing'
	echo '(no pi with a model is on PATH, or the recording was asked for)'
	[ -f "$trace" ] || die "cannot find the recording $trace"
	# What was asked when it was recorded.
	prompt='Which of the files here has the most lines? Note its name in a file called longest.'
	command="[$(toml "$bin/colibri-pi-player"), \"--trace\", $(toml "$trace")]"
	variables=
fi

cat >"$dir/colibri.conf" <<CONF
# A private suite: nothing here needs root, and only its owner may talk to it.
[suite]
run_dir = "$dir/run"
state_dir = "$dir/state"
tmp_dir = "$dir/tmp"
separate = false

[roles]
operator = ["uid:$(id -u)"]

[profile.demo]
mode = "rpc"
command = $command
cwd = "$dir/work"
[profile.demo.env]
$variables
CONF
"$bin/colibrid" -n -f "$dir/colibri.conf" >"$dir/log" 2>&1 || die 'the config is refused'

say "Starting a private suite in $dir"
"$bin/colibrid" -d -f "$dir/colibri.conf" >"$dir/log" 2>&1 &
daemon=$!
ctl() { "$bin/colibri-ctl" -s "$dir/run/colibri.sock" "$@"; }

# ready: a sensible answer. A daemon that has died will never give one.
ready() {
	kill -0 "$daemon" 2>/dev/null || die 'colibrid has ended'
	ctl check >/dev/null 2>&1
}
await ready || die 'the suite does not answer'
ctl status

say 'Running the agent; its states as they change'
printf 'The task: %s\n' "$prompt" | fold -s -w 80
result=0
# Its progress is on standard error and belongs here, the answer below.
ctl run demo --wait "$prompt" 2>&1 >"$dir/result" || result=$?

say 'Its answer'
fold -s -w 80 "$dir/result"

say 'The glasspane afterwards'
ctl status

# tree PID: the process and all that descend from it.
tree() {
	ps -axo pid= -o ppid= | awk -v top="$1" '
		{ parent[$1] = $2 }
		END {
			for (pid in parent) {
				for (p = pid; p in parent && p != top && p > 1; p = parent[p]) ;
				if (p == top) print pid
			}
		}'
}
processes=$(tree "$daemon")

say 'Stopping the suite'
kill -TERM "$daemon"
stopped=0
wait "$daemon" || stopped=$?
daemon=
[ "$stopped" -eq 0 ] || die "colibrid ended with status $stopped"

# gone: no socket, no temporary directory and no process may be left.
gone() {
	left=$(find "$dir/run" -type s; find "$dir/tmp" -mindepth 1)
	for pid in $processes; do
		kill -0 "$pid" 2>/dev/null && left="$left process $pid"
	done
	[ -z "$left" ]
}
await gone || die "left behind: $left"
if [ "$result" -ne 0 ]; then
	[ -z "$pi" ] || echo 'demo: the recording needs no model: COLIBRI_DEMO_AGENT=player make run' >&2
	die "the run failed with status $result"
fi
echo "Nothing is left of it: no process of $(printf '%s\n' "$processes" | wc -l | tr -d ' '), no socket, no temporary file."
