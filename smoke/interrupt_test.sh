#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A demo that is interrupted, at several moments, leaves nothing behind; nor does one that is killed, once the
# next has begun. In a /run and among processes of its own, where whatever is left is the demo's.
# shellcheck source=smoke/_init.sh
. "$(dirname "$0")/_init.sh"

[ "$(id -u)" -eq 0 ] || skip "a rack takes root"
for tool in ovs-vswitchd nginx gnuplot curl unshare; do
	PATH=$PATH:/usr/sbin command -v $tool >/dev/null || skip "no $tool"
done
if [ "${2-}" != inside ]; then
	unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip "no namespaces of processes here"
	code=0
	unshare --mount --pid --fork --mount-proc --kill-child sh "$0" "$build" inside </dev/null || code=$?
	exit $code
fi
mount -t tmpfs tmpfs /run

# others: processes but this shell's own and its searching.
others() {
	for dir in /proc/[0-9]*; do
		pid=${dir#/proc/}
		[ "$pid" != $$ ] && tr '\0' ' ' <"$dir/cmdline" 2>/dev/null | grep -v '^$\|^grep '
	done
}

clean() {
	[ -z "$(ls /run/netns 2>/dev/null)" ] && [ ! -e /run/tripod-lab ] && [ ! -e /run/tripod-demo.lock ] &&
		! others | grep -E 'tripod|ovs|nginx|curl'
}

# demo LOG ARGUMENTS...
demo() {
	log=$1
	shift
	/usr/bin/python3 "$here/../lab/demo.py" --quick --build "$build" --output "$tmp/demo" "$@" >"$log" 2>&1 &
	pid=$!
	pids="$pids $pid"
}

says() {
	kill -0 "$pid" 2>/dev/null || fail "the demo has ended"
	grep -q "$1" "$log"
}

# interrupted WORDS SIGNAL STATUS: when it has said so.
interrupted() {
	demo "$tmp/$2.log" --mode tripod
	until_ok "the demo says \"$1\"" says "$1"
	kill -"$2" "$pid"
	code=0
	wait "$pid" || code=$?
	[ $code -eq "$3" ] || fail "exit status $code of a demo with SIG$2 after \"$1\""
	clean >"$tmp/left.log" || fail "left after \"$1\": $(cat "$tmp/left.log"; ls /run/netns /run/tripod-lab 2>&1)"
}

interrupted "With replication" INT 130
interrupted "connections open" TERM 143
interrupted "is killed" HUP 129

demo "$tmp/killed.log" --mode baseline
until_ok "the demo says \"connections open\"" says "connections open"
kill -KILL "$pid"
wait "$pid" || true
[ -n "$(ls /run/netns)" ] || fail "this test tests nothing: SIGKILL left nothing"
interrupted "connections open" INT 130
echo passed
