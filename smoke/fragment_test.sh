#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Packets that are larger than the MTU, through a rack in namespaces: pings and UDP, balanced, straight and
# from inside, before and after the node that gets most fragments is killed.
# shellcheck source=smoke/_init.sh
. "$(dirname "$0")/_init.sh"

[ "$(id -u)" -eq 0 ] || skip "a rack takes root"
for tool in ovs-vswitchd ping; do
	PATH=$PATH:/usr/sbin command -v $tool >/dev/null || skip "no $tool"
done

export TRIPOD_BUILD="$build"
name=fragments$$
lab() {
	verb=$1
	shift
	/usr/bin/python3 "$here/../lab/tripod-lab" "$verb" --name "$name" "$@"
}


end() {
	status=$?
	set +e
	for node in 1 2 3; do
		"$tripodctl" --socket "/run/tripod-lab/$name/node$node/control.sock" counters \
			>"$tmp/node$node.log" 2>&1
	done
	lab down >/dev/null 2>&1
	(exit $status)
	cleanup
}
trap end EXIT

cat >"$tmp/chain.yaml" <<END
chain:
  - firewall:
      default: deny
      rules:
        - {action: allow, from: outside, proto: udp, dst: [198.51.100.1, "fd00:1::/64"], dport: 9000}
        - {action: allow, from: outside, proto: [icmp, icmp6]}
        - {action: allow, from: inside}
  - lb:
      services:
        - {vip: 198.51.100.1, port: 9000, proto: udp, backends: [{address: 10.1.0.101}, {address: 10.1.0.102}]}
  - snat:
      pools:
        - {name: internet, addresses: 192.0.2.0/30}
      rules:
        - {src: 10.1.0.0/24, pool: internet}
END
lab up --nodes 3 --workers 2 --config "$tmp/chain.yaml" </dev/null

for host in client server1 server2; do
	lab exec "$host" -- /usr/bin/python3 "$here/fragments.py" serve 9000 >"$tmp/$host.log" 2>&1 &
	pids="$pids $!"
done
for host in client server1 server2; do
	until_ok "$host serves" grep -q serving "$tmp/$host.log"
done

pings() {
	lab exec "$1" -- ping -q -c 20 -i 0.1 -W 2 -s 4000 "$2" >"$tmp/ping.log" || fail "ping of $2"
	# The first may find no next hop, and one may be lost on a busy machine.
	received=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$tmp/ping.log")
	[ "$received" -ge 18 ] || fail "ping of $2: $received of 20"
}

everything() {
	pings client 10.1.0.101
	pings client fd00:1::101
	pings server1 203.0.113.100
	lab exec client -- /usr/bin/python3 "$here/fragments.py" ask 198.51.100.1 9000
	lab exec client -- /usr/bin/python3 "$here/fragments.py" ask fd00:1::101 9000
	lab exec server1 -- /usr/bin/python3 "$here/fragments.py" ask 203.0.113.100 9000
}

# count_of NODE NAME
count_of() {
	"$tripodctl" --socket "/run/tripod-lab/$name/node$1/control.sock" --json counters |
		/usr/bin/python3 -c 'import json, sys
print(sum(r["value"] for r in json.load(sys.stdin)["counters"] if r["counter"] == sys.argv[1]))' "$2"
}

everything
later=0
most=1
for node in 1 2 3; do
	n=$(count_of $node fragments_later)
	echo "node$node: $(count_of $node fragments_first) first, $n later fragments"
	later=$((later + n))
	[ "$n" -le "$(count_of $most fragments_later)" ] || most=$node
done
[ $later -ge 1600 ] || fail "$later later fragments" # 4 a datagram of UDP, 2 a ping
lab kill "$most"
dead() {
	lab status --json | /usr/bin/python3 -c 'import json, sys
sys.exit(json.load(sys.stdin)["nodes"][int(sys.argv[1]) - 1]["bfd"] != "down")' "$most"
}
until_ok "the switch notices" dead
# Open vSwitch may keep a datapath flow of UDP to the dead port for as long as it is used (lab/README.md).
lab exec switch -- ovs-appctl revalidator/purge
everything
