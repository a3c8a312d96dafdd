# In the guest: runs each test program of the list as each of the users.
set -u
mkdir tree home tmp
tar -xf tree.tar -C tree
chmod 755 /job
chmod -R a+rX bin tests tree
chown nobody home tmp
echo "guest: $(uname -sr) $(uname -m), $(sysctl -n hw.ncpu) CPUs, racct $(sysctl -n kern.racct.enable 2>/dev/null || echo absent)"
export COLIBRI_BIN_DIR=/job/bin COLIBRI_FIXTURES=/job/tree/tests/fixtures
export RUST_TEST_THREADS=2
users=$(cat users) failed= count=0

# as USER COMMAND…
as() {
	user=$1
	shift
	case $user in
	root) "$@" ;;
	*) su -m "$user" -c 'exec "$0" "$@"' -- "$@" ;;
	esac
}

while read -r name package args; do
	for user in $users; do
		printf '\n     Running %s as %s\n' "$name" "$user"
		case $user in
		root) home=/root tmp=/tmp ;;
		*) home=/job/home tmp=/job/tmp ;;
		esac
		cd "/job/tree/$package" || exit 1
		as "$user" env HOME="$home" TMPDIR="$tmp" USER="$user" LOGNAME="$user" CARGO_MANIFEST_DIR="$PWD" \
			timeout -f -k 10 1800 "/job/tests/$name" $args </dev/null || failed="$failed $name($user)"
		count=$((count + 1))
	done
	cd /job || exit 1
done <list

left=$(ps -axww -o pid= -o args= | grep -E '/job/(bin|tests)/' | grep -v grep)
[ -z "$left" ] || { printf 'guest: still running:\n%s\n' "$left"; failed="$failed leftovers"; }
jails=$(jls -d name 2>/dev/null | grep colibri)
[ -z "$jails" ] || { printf 'guest: jails are left: %s\n' "$jails"; failed="$failed jails"; }
if [ -n "$failed" ]; then
	echo "guest: $count runs of test programs, failed:$failed"
	exit 1
fi
echo "guest: $count runs of test programs, all passed"
