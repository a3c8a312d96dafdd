#!/bin/sh
# Colibri, seen working: starts a private suite as the caller in a private directory, runs one
# agent through it, shows its states as they change, prints its result and stops the suite.
# Succeeds only if the run ended as done and nothing of the suite is left.
#
# The agent is the real Pi if one is on PATH and knows a model, and otherwise a program that plays a
# stream recorded from the real Pi, in its own timing.
#
#   COLIBRI_DEMO_AGENT=player    the recording even where there is a Pi
#   COLIBRI_DEMO_PROMPT=TEXT     another task
#   COLIBRI_DEMO_KEEP=1          leave the private directory for a look
set -eu
cd "$(dirname "$0")/.."
bin=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)
prompt=${COLIBRI_DEMO_PROMPT:-'In one sentence: which directory are you in, and what is in it?'}
trace=$PWD/tests/fixtures/pi/1.5.2/rpc_basic.jsonl.gz
# How long the suite may take to start, and to stop: tenths of a second.
patience=150

say() { printf '%s\n' "-- $*"; }
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
daemon= tail=
finish() {
	code=$?
	trap - EXIT
	[ -z "$tail" ] || kill "$tail" 2>/dev/null || true
	if [ -n "$daemon" ]; then
		kill -TERM "$daemon" 2>/dev/null || true
		wait "$daemon" 2>/dev/null || true
	fi
	if [ "$code" -ne 0 ] && [ -s "$dir/log" ]; then
		printf '%s\n' 'demo: the last lines of the log:' >&2
		tail -n 20 "$dir/log" >&2
	fi
	if [ -n "${COLIBRI_DEMO_KEEP:-}" ]; then say "kept: $dir"; else rm -rf "$dir"; fi
	exit "$code"
}

# A short name: the sockets' paths have to stay under 104 bytes.
dir=$(mktemp -d /tmp/colibri.XXXXXX)
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
mkdir "$dir/run" "$dir/state" "$dir/tmp" "$dir/work"
echo 'Colibri was here.' >"$dir/work/hello.txt"

# knows_a_model: whether the Pi on PATH runs and has been given a model.
knows_a_model() {
	[ "${COLIBRI_DEMO_AGENT:-}" != player ] || return 1
	pi=$(command -v pi) && pi --version </dev/null >/dev/null 2>&1 || return 1
	settings=${PI_CODING_AGENT_DIR:-$HOME/.pi/agent}
	[ -e "$settings/models.json" ] || [ -e "$settings/auth.json" ] || [ -e "$settings/settings.json" ]
}

if knows_a_model; then
	say "agent: the real Pi, $pi ($(pi --version </dev/null 2>&1 | tail -n 1))"
	command="[$(toml "$pi"), \"--mode\", \"rpc\", \"--no-session\"]"
	env="{ HOME = $(toml "$HOME"), PATH = $(toml "$PATH"), PI_CODING_AGENT_DIR = $(toml "$settings") }"
else
	say 'agent: a recorded stream of the real Pi 1.5.2, played in its own timing (no Pi with a model here)'
	[ -f "$trace" ] || die "cannot find the recording $trace"
	command="[$(toml "$bin/colibri-pi-player"), \"--mode\", \"rpc\", \"--trace\", $(toml "$trace")"
	timing=${trace%.jsonl.gz}.timing.tsv
	[ ! -f "$timing" ] || command="$command, \"--timing\", $(toml "$timing")"
	command="$command]"
	env='{}'
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
env = $env
CONF
# As root a profile has to name its user; the demonstration's is the caller.
[ "$(id -u)" -ne 0 ] || echo "user = \"$(id -u):$(id -g)\"" >>"$dir/colibri.conf"
"$bin/colibrid" -n -f "$dir/colibri.conf" || die 'the config is refused'

suite_processes() { pgrep '^colibri' 2>/dev/null | sort; }
suite_processes >"$dir/before"

say 'starting the suite'
"$bin/colibrid" -d -f "$dir/colibri.conf" >"$dir/log" 2>&1 &
daemon=$!
sock=$dir/run/colibri.sock
ctl() { "$bin/colibri-ctl" -s "$sock" "$@"; }

# ready: a sensible answer. A daemon that has died will never give one.
ready() {
	kill -0 "$daemon" 2>/dev/null || die 'colibrid has ended'
	ctl check >/dev/null 2>&1
}
await ready || die 'the suite does not answer'
ctl status

say "running the agent: $prompt"
# Not through the function: its process would be a shell, and the tail outlive it.
"$bin/colibri-ctl" -s "$sock" tail &
tail=$!
result=0
ctl run demo --wait "$prompt" >"$dir/result" || result=$?
# The tail shows what the run's end caused before it is stopped.
ctl status >"$dir/status"
kill "$tail" 2>/dev/null || true
wait "$tail" 2>/dev/null || true
tail=

say 'result'
cat "$dir/result"
say 'the glasspane afterwards'
cat "$dir/status"

say 'stopping the suite'
kill -TERM "$daemon"
stopped=0
wait "$daemon" || stopped=$?
daemon=
[ "$stopped" -eq 0 ] || die "colibrid ended with status $stopped"

# Nothing may be left: no socket, and no process that was not there before.
gone() {
	left=$(find "$dir/run" -type s; suite_processes | comm -13 "$dir/before" -)
	[ -z "$left" ]
}
await gone || die "left behind: $left"
[ "$result" -eq 0 ] || die "the run failed with status $result"
say 'done: nothing is left of it'
