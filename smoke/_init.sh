# shellcheck shell=sh disable=SC2034 # variables are the sourcing test's
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by every smoke test: a folder of its own, names of its own, and everything gone at the end.
#
# usage of a test: NAME_test.sh [BUILD_DIR]; exit 0 passed, 77 skipped, anything else failed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-$here/../build}" && pwd)
tripodd=$build/daemon/tripodd
tripodctl=$build/ctl/tripodctl
tmp=$(mktemp -d)
id=smoke-$$
pids=""
namespaces=""

cleanup() {
	status=$?
	trap - EXIT
	trap '' INT TERM HUP # nothing ends the cleaning
	for pid in $pids; do
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	for ns in $namespaces; do
		ip netns del "$ns" 2>/dev/null || true
	done
	if [ $status -ne 0 ] && [ $status -ne 77 ]; then
		for log in "$tmp"/*.log "$tmp"/*/*/node*.log; do
			[ -e "$log" ] && echo "---- $log" && cat "$log"
		done
	fi
	rm -rf "$tmp"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# What programs say is looked for as it is in English.
export LC_ALL=C

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

skip() {
	echo "skipped: $*"
	exit 77
}

# until_ok WHAT COMMAND...: runs it until it succeeds, at most 30 s.
until_ok() {
	what=$1
	shift
	tries=600
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "$what"
		sleep 0.05
	done
}

netns_add() {
	ip netns add "$1"
	namespaces="$namespaces $1"
}

# write_rack FILE: two nodes, a chain of one firewall, files below $tmp; with a key of their own.
write_rack() {
	(umask 077 && "$tripodd" --generate-key=1 >"$tmp/keys")
	cat >"$1" <<-END
	rack:
	  name: $id
	  key_file: $tmp/keys
	  nodes:
	    - {id: 1, mac: "02:00:00:00:00:01", outside: [203.0.113.11, "2001:db8:1::11"], inside: [10.1.0.11, "fd00:1::11"], fabric: 10.255.0.1}
	    - {id: 2, mac: "02:00:00:00:00:02", outside: [203.0.113.12, "2001:db8:1::12"], inside: [10.1.0.12, "fd00:1::12"], fabric: 10.255.0.2}
	network:
	  outside: {vlan: 10, relay_vlan: 11, gateway: [203.0.113.1/24, "2001:db8:1::1/64"], gateway_mac: "02:00:5e:00:01:01"}
	  inside: {vlan: 20, relay_vlan: 21, gateway: [10.1.0.1/24, "fd00:1::1/64"], gateway_mac: "02:00:5e:00:01:02"}
	  fabric: {vlan: 30}
	node:
	  port: "net_null0,no-rx=1"
	  state_dir: $tmp/state
	  control_socket: $tmp/run/node.sock
	limits: {connections: 4096, embryonic: 1024}
	chain:
	  - firewall: {}
	END
}

# counter NAME: of the daemon at $tmp/run/node.sock.
counter() {
	"$tripodctl" --socket "$tmp/run/node.sock" --json counters |
		python3 -c 'import json, sys
for row in json.load(sys.stdin)["counters"]:
    if row["counter"] == sys.argv[1]:
        print(row["value"])' "$1"
}
