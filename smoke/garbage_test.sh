#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Every broken frame on every VLAN, while a TCP connection goes through the node: what is broken is
# counted and dropped, the connection does not notice, no buffer is lost.
#
#   $id-client ---- (VLAN 10) +---------+
#                             | $id-peer | veth1 ==== veth0 [tripodd] $id-node
#   $id-server ---- (VLAN 20) +---------+
. "$(dirname "$0")/_init.sh"

[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
ip netns add "$id-probe" 2>/dev/null || skip "no network namespaces here"
ip netns del "$id-probe"
for tool in python3 ethtool; do
	command -v $tool >/dev/null || skip "no $tool"
done
traces=${TRIPOD_TRACES:-$here/../../shared/traces}
seed=${TRIPOD_SEED:-$$}
echo "seed $seed"

node=$id-node
peer=$id-peer
netns_add "$node"
netns_add "$peer"
ip -n "$node" link add veth0 type veth peer name veth1 netns "$peer"
# access HOST ADDRESS PREFIX GATEWAY: a host on an untagged port of the peer.
access() {
	netns_add "$id-$1"
	ip -n "$id-$1" link add eth0 type veth peer name "$1" netns "$peer"
	ip -n "$id-$1" addr add "$2" dev eth0
	ip -n "$id-$1" link set lo up
	ip -n "$id-$1" link set eth0 up
	ip -n "$id-$1" route add default via "$3"
	ip -n "$peer" link set "$1" up
	# The kernel leaves checksums to devices that do not compute them either.
	ip netns exec "$id-$1" ethtool -K eth0 tx off tso off gso off >/dev/null 2>&1 ||
		skip "no offloads to switch off"
}
access client 203.0.113.100/24 203.0.113.1
access server 10.1.0.101/24 10.1.0.1
for link in "$node veth0" "$peer veth1"; do
	ip -n ${link% *} link set ${link#* } mtu 9216
	ip -n ${link% *} link set ${link#* } up
done

write_rack "$tmp/rack.yaml"
sed -i 's/^  - firewall: {}/  - firewall: {rules: [{action: allow, from: outside, proto: [tcp, udp], dport: 8000}]}/' \
	"$tmp/rack.yaml"

garbage() {
	ip netns exec "$peer" python3 "$here/garbage.py" "$@"
}

answers() {
	kill -0 "$pid" 2>/dev/null || fail "tripodd has ended"
	"$tripodctl" --socket "$tmp/run/node.sock" status >/dev/null 2>&1
}

rounds() {
	cat "$tmp/rounds" 2>/dev/null || echo 0
}

goes_on() {
	kill -0 "$pid" 2>/dev/null || fail "tripodd has ended"
	kill -0 "$talk" 2>/dev/null || fail "the TCP connection has ended"
	[ "$(rounds)" -gt "$1" ]
}

# status KEY
status() {
	"$tripodctl" --socket "$tmp/run/node.sock" --json status |
		python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

free_buffers() {
	echo "$(status buffers_data_free) $(status buffers_control_free)"
}

buffers_back() {
	[ "$(free_buffers)" = "$1" ]
}

counted() {
	[ "$(counter "$1")" -ge "$2" ]
}

# Every counter that the last garbage must have raised.
risen() {
	while read -r name n; do
		until_ok "$name has risen by $n" counted "$name" "$n"
	done <"$tmp/during.out"
}

# during WHAT COMMAND...: runs it; the connection has gone on meanwhile, and goes on.
during() {
	task=$1
	shift
	before=$(rounds)
	"$@" >"$tmp/during.out" || fail "$task: $(cat "$tmp/during.out")"
	until_ok "the connection goes on after $task" goes_on "$before"
	echo "$task: $(($(rounds) - before)) rounds of the connection"
}

for workers in 1 2; do
	ip netns exec "$node" "$tripodd" --config "$tmp/rack.yaml" --node 1 --workers $workers \
		--port net_af_packet0,iface=veth0 >"$tmp/$workers.log" 2>&1 &
	pid=$!
	pids="$pids $pid"
	until_ok "tripodd answers" answers
	idle=$(free_buffers)
	garbage bridge veth1 client=10 server=20 >"$tmp/bridge.log" 2>&1 &
	bridge=$!
	ip netns exec "$id-server" python3 "$here/garbage.py" serve 10.1.0.101 8000 >"$tmp/serve.log" 2>&1 &
	serve=$!
	pids="$pids $bridge $serve"
	rm -f "$tmp/rounds"
	until_ok "the server listens" ip netns exec "$id-server" sh -c 'ss -ltn | grep -q :8000'
	ip netns exec "$id-client" python3 "$here/garbage.py" talk 10.1.0.101 8000 "$tmp/rounds" \
		>"$tmp/talk.log" 2>&1 &
	talk=$!
	pids="$pids $talk"
	until_ok "the connection works" goes_on 0

	during "every class of broken frame" garbage classes veth1
	risen
	during "random frames" garbage random veth1 "$seed" 4000
	during "a peer that lies" garbage peer veth1 "$seed" 2000 "$tmp/keys"
	risen
	if [ -d "$traces" ]; then
		during "traces" garbage traces veth1 "$traces"/torture/*.pcap "$traces"/replay/*.pcap
	else
		echo "skipped: no traces"
	fi

	kill "$talk" "$serve" "$bridge"
	# What waits for next hops that nobody has is given up after seconds.
	until_ok "all buffers come back: $idle, now $(free_buffers)" buffers_back "$idle"
	kill -0 "$pid" || fail "tripodd has ended"
	kill -TERM "$pid"
	code=0
	wait "$pid" || code=$?
	[ $code -eq 0 ] || fail "exit status $code"
done
echo passed
