#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A daemon on one end of a veth pair, and a neighbour on the other who speaks to it with VLAN tags.
#
#   $id-node [tripodd on veth0] ==== [probe.py on veth1] $id-peer
. "$(dirname "$0")/_init.sh"

[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
ip netns add "$id-probe" 2>/dev/null || skip "no network namespaces here"
ip netns del "$id-probe"
command -v python3 >/dev/null || skip "no python3"

node=$id-node
peer=$id-peer
netns_add "$node"
netns_add "$peer"
ip -n "$node" link add veth0 type veth peer name veth1 netns "$peer"
ip -n "$node" link set veth0 up
ip -n "$peer" link set veth1 up
write_rack "$tmp/rack.yaml"

probe() {
	ip netns exec "$peer" python3 "$here/probe.py" veth1 "$@"
}

# expect ANSWER COMMAND...
expect() {
	expected=$1
	shift
	answer=$(probe "$@") || fail "$* has no answer"
	[ "$answer" = "$expected" ] || fail "$*: answer on \"$answer\", not \"$expected\""
}

answers() {
	kill -0 "$pid" 2>/dev/null || fail "tripodd has ended"
	"$tripodctl" --socket "$tmp/run/node.sock" status >/dev/null 2>&1
}

counted() {
	[ "$(counter "$1")" -ge "$2" ]
}

for workers in 1 2; do
	ip netns exec "$node" "$tripodd" --config "$tmp/rack.yaml" --node 1 --workers $workers \
		--port net_af_packet0,iface=veth0 >"$tmp/$workers.log" 2>&1 &
	pid=$!
	pids="$pids $pid"
	until_ok "tripodd answers" answers

	# The gateway's address has the gateway's MAC; the node's own has the node's.
	expect "vlan 10 pcp 6" arp 10 203.0.113.100 203.0.113.1 02:00:5e:00:01:01
	expect "vlan 10 pcp 6" arp 10 203.0.113.100 203.0.113.11 02:00:00:00:00:01
	expect "vlan 20 pcp 6" arp 20 10.1.0.101 10.1.0.1 02:00:5e:00:01:02
	expect "vlan 30 pcp 6" arp 30 10.255.0.2 10.255.0.1 02:00:00:00:00:01
	expect "vlan 10 pcp 6" nd 10 2001:db8:1::100 2001:db8:1::1 02:00:5e:00:01:01
	expect "vlan 20 pcp 6" nd 20 fd00:1::101 fd00:1::1 02:00:5e:00:01:02
	expect "vlan 10 pcp 0" ping 10 203.0.113.100 02:00:5e:00:01:01 203.0.113.1
	expect "vlan 20 pcp 0" ping 20 10.1.0.101 02:00:5e:00:01:02 10.1.0.1

	# Two tags: the second is not taken for anything. A VLAN of another's. Both are counted.
	arp=08060001080006040001020000000c01cb007164000000000000cb007101
	macs=ffffffffffff020000000c01
	pad=000000000000000000000000000000000000
	probe send ${macs}8100000a8100000a$arp$pad ${macs}81000063$arp$pad
	until_ok "stacked tags are counted" counted drop_vlan_stacked 1
	until_ok "unknown VLANs are counted" counted drop_vlan_unknown 1

	kill -TERM "$pid"
	code=0
	wait "$pid" || code=$?
	[ $code -eq 0 ] || fail "exit status $code"
done
echo passed
