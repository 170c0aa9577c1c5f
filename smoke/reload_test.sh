#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Two daemons on the ends of a veth pair: the chain of one is changed while they run, the other fetches it;
# then it is the other's turn. What cannot be changed is refused, and named.
#
#   $id-a [tripodd 1 on veth0] ==== [tripodd 2 on veth1] $id-b
. "$(dirname "$0")/_init.sh"

[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
ip netns add "$id-probe" 2>/dev/null || skip "no network namespaces here"
ip netns del "$id-probe"
command -v python3 >/dev/null || skip "no python3"

netns_add "$id-a"
netns_add "$id-b"
ip -n "$id-a" link add veth0 type veth peer name veth1 netns "$id-b"
ip -n "$id-a" link set veth0 up
ip -n "$id-b" link set veth1 up
write_rack "$tmp/1.yaml"
cp "$tmp/1.yaml" "$tmp/2.yaml"

ctl() { # NODE ARGUMENTS...
	node=$1
	shift
	"$tripodctl" --socket "$tmp/run/$node.sock" "$@"
}

# start NODE NAMESPACE INTERFACE
start() {
	ip netns exec "$2" "$tripodd" --config "$tmp/$1.yaml" --node "$1" --socket "$tmp/run/$1.sock" \
		--port "net_af_packet0,iface=$3" >"$tmp/$1.log" 2>&1 &
	pid=$!
	pids="$pids $pid"
	until_ok "tripodd $1 answers" ctl "$1" status >"$tmp/status.out" 2>&1
}

# chains NODE: "ID STATE" a line.
chains() {
	ctl "$1" --json chain | python3 -c 'import json, sys
for v in json.load(sys.stdin)["versions"]:
    print(v["chain_id"], v["state"])'
}

# state NODE ID STATE: does the node hold the version in that state?
state() {
	chains "$1" | grep "^$2 $3\$" >/dev/null
}

lives() { # NODE OTHER
	ctl "$1" --json nodes | python3 -c 'import json, sys
sys.exit(not any(n["id"] == int(sys.argv[1]) and n["live"] for n in json.load(sys.stdin)["nodes"]))' "$2"
}

start 1 "$id-a" veth0
pid_1=$pid
start 2 "$id-b" veth1
until_ok "node 1 hears node 2" lives 1 2
until_ok "node 2 hears node 1" lives 2 1
old=$(chains 1 | cut -d' ' -f1)
[ "$(chains 2)" = "$old current" ] || fail "the nodes begin with different chains"

# ---- Nothing to do, and what cannot be done ----
ctl 1 reload | grep -q unchanged || fail "a reload of the same file"
sed -i 's/embryonic: 1024/embryonic: 2048/; s/^  name: .*/&\n  backups: 0/' "$tmp/1.yaml"
ctl 1 reload 2>"$tmp/refused.out" && fail "a change of limits was reloaded"
grep -q "restart: rack.backups, limits.embryonic" "$tmp/refused.out" || fail "which keys need a restart"
sed -i 's/embryonic: 2048/embryonic: 1024/; /backups: 0/d' "$tmp/1.yaml"
sed -i 's/firewall: {}/firewall: {colour: red}/' "$tmp/1.yaml"
ctl 1 reload 2>"$tmp/refused.out" && fail "a bad chain was reloaded"
grep -q "1.yaml:.*colour" "$tmp/refused.out" || fail "what is wrong with a chain"
[ "$(chains 1)" = "$old current" ] || fail "a refused reload has changed something"

# ---- Node 1 goes ahead, node 2 fetches ----
sed -i 's/firewall: {colour: red}/firewall: {default: allow}/' "$tmp/1.yaml"
ctl 1 reload --check | grep -q good || fail "--check"
[ "$(chains 1)" = "$old current" ] || fail "--check has changed something"
new=$(ctl 1 --json reload | python3 -c 'import json, sys; print(json.load(sys.stdin)["chain_id"])')
until_ok "the new chain is current" state 1 "$new" current
until_ok "node 2 has fetched it" state 2 "$new" "in use"
state 2 "$old" current || fail "node 2 has changed by itself"
state 1 "$old" "in use" || fail "node 1 has given up what is current at node 2"
grep -q "chain $new fetched from a peer" "$tmp/2.log" || fail "no word of it in the log"
ctl 1 chain | grep "^$new  *current " >/dev/null || fail "no table of versions"
[ "$(ctl 1 --json nodes | grep -c '"same_chain": false')" = 1 ] || fail "same_chain"

# ---- Node 2 follows, by signal ----
cp "$tmp/1.yaml" "$tmp/2.yaml"
kill -HUP "$pid"
until_ok "the new chain is current at node 2" state 2 "$new" current
until_ok "nobody names the old one" state 1 "$old" unused

# ---- A restart: the counts and the identity are another's, the chain is the file's ----
kill -TERM "$pid"
wait "$pid" || fail "exit status $? of node 2"
start 2 "$id-b" veth1
[ "$(chains 2)" = "$new current" ] || fail "the chain after a restart"
kill -TERM "$pid_1" "$pid"
wait "$pid_1" || fail "exit status $? of node 1"
wait "$pid" || fail "exit status $? of node 2 at the end"
echo passed
