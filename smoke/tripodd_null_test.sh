#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A daemon without a NIC, from start to end, as any user; and configurations that are refused.
. "$(dirname "$0")/_init.sh"

rack=$tmp/rack.yaml
socket=$tmp/run/node.sock
write_rack "$rack"

ctl() {
	"$tripodctl" --socket "$socket" "$@"
}

# start LOG ARGUMENTS...: a daemon in the background; sets $pid.
start() {
	log=$1
	shift
	"$tripodd" --config "$rack" --node 1 "$@" >"$log" 2>&1 &
	pid=$!
	pids="$pids $pid"
	until_ok "tripodd answers" answers
}

answers() {
	kill -0 "$pid" 2>/dev/null || fail "tripodd has ended"
	ctl status >/dev/null 2>&1
}

# ends SIGNAL: exit status 0, and no socket left.
ends() {
	[ "$1" = stop ] || kill -"$1" "$pid"
	code=0
	wait "$pid" || code=$?
	[ $code -eq 0 ] || fail "exit status $code after $1"
	[ ! -e "$socket" ] || fail "socket left after $1"
}

# refused WORDS ARGUMENTS...: exit status 1, the words in the message, nothing started.
refused() {
	words=$1
	shift
	code=0
	"$tripodd" "$@" >"$tmp/refused.log" 2>&1 || code=$?
	[ $code -eq 1 ] || fail "exit status $code, not 1, of tripodd $*"
	grep -q "$words" "$tmp/refused.log" || fail "no \"$words\" from tripodd $*"
	[ ! -e "$socket" ] || fail "socket left by tripodd $*"
}

"$tripodd" --config "$rack" --check | grep -q "good: rack $id, 2 nodes, chain firewall" ||
	fail "--check of a good configuration"

# ---- One life, with one worker and with three; both signals, and stop ----
start "$tmp/one.log"
ctl --json status | grep -q '"driver": "net_null"' || fail "status names no driver"
ready() {
	ctl --json status | grep -q '"ready": true'
}
until_ok "the node wants traffic" ready
ctl status | grep -q '^Node  *1$' || fail "status is no table"
[ "$(stat -c %a "$socket")" = 600 ] || fail "the socket is not private"
first_half=$(ctl --json status | grep boot_half)
ctl nodes | grep -q '^2 *no *no ' || fail "node 2 is not listed as dead"
ctl --json connections | python3 -c 'import json, sys
assert json.load(sys.stdin) == {"connections": []}' || fail "connections"
ctl chain | grep -q firewall || fail "chain"
[ "$(counter steps)" -gt 0 ] || fail "no steps"
until_ok "heartbeats go out" test "$(counter control_tx_packets)" -gt 0
code=0
ctl connections --where colour=red 2>/dev/null || code=$?
[ $code -eq 2 ] || fail "exit status $code of a bad condition"
# A second one on the same socket does not start, and leaves the first alone.
code=0
"$tripodd" --config "$rack" --node 1 >"$tmp/second.log" 2>&1 || code=$?
[ $code -eq 1 ] || fail "a second tripodd on the same socket ended with $code"
grep -q "another tripodd" "$tmp/second.log" || fail "a second tripodd does not say why it ends"
ctl status >/dev/null || fail "a second tripodd has taken the socket away"
ends TERM

start "$tmp/two.log" --workers 3
[ "$(ctl --json status | grep boot_half)" != "$first_half" ] || fail "the halves do not alternate"
ctl counters --worker 2 >/dev/null || fail "no worker 2"
ctl counters --worker 3 2>/dev/null && fail "a worker too many"
for _ in 1 2 3 4 5 6 7 8 9 10; do
	ctl keys reload >/dev/null || fail "three workers do not take their keys"
done
ends INT

start "$tmp/three.log"
[ "$(ctl --json status | grep boot_half)" = "$first_half" ] || fail "the halves do not alternate"
ctl stop | grep -q yes || fail "stop is not answered"
ends stop

# ---- Keys: shown by number, read again while the node runs, and never told to anybody ----
# has_keys IDS: of "tripodctl keys", the one that sends first.
has_keys() {
	[ "$(ctl --json keys | python3 -c 'import json, sys
keys = json.load(sys.stdin)["keys"]
assert [k["sends"] for k in keys] == [True] + [False] * (len(keys) - 1)
print(*(k["id"] for k in keys))')" = "$1" ]
}
keys=$tmp/keys
start "$tmp/keys.log"
has_keys 1 || fail "the first key is not in use"
until_ok "messages are sealed" sh -c "[ \"\$('$tripodctl' --socket '$socket' keys |
	awk '\$1 == 1 { print \$3 }')\" -gt 0 ]"
"$tripodd" --generate-key=200 >>"$keys"
ctl keys reload | grep -q '^200 ' || fail "keys reload shows no new key"
has_keys "1 200" || fail "the new key is not there, or not the second"
sort -rn -o "$keys" "$keys"
kill -HUP "$pid"
until_ok "SIGHUP reads the keys" has_keys "200 1"
grep -q "read again" "$tmp/keys.log" || fail "the log does not tell of new keys"
echo "7 nonsense" >>"$keys"
code=0
ctl keys reload 2>"$tmp/reload.log" || code=$?
[ $code -eq 1 ] || fail "exit status $code of a reload of a bad file"
grep -q "$keys:3: has no key of 64" "$tmp/reload.log" || fail "no line of the bad key"
kill -HUP "$pid"
until_ok "SIGHUP refuses a bad file" grep -q "$keys:3:.*the keys in use stay" "$tmp/keys.log"
has_keys "200 1" || fail "a bad file has taken the keys away"
sed -i '2,$d' "$keys"
ctl keys reload >/dev/null || fail "keys reload"
has_keys 200 || fail "a removed key is still there"
ctl keys reload nonsense 2>/dev/null && fail "keys reload nonsense"
while read -r _ key; do
	grep -rqi "$key" "$tmp"/*.log && fail "a key in the log"
	ctl --json keys | grep -qi "$key" && fail "a key in an answer"
	ctl --json status | grep -qi "$key" && fail "a key in the status"
done <"$keys"
# Whoever dumps this process finds no key: the pages that hold them are left out.
awk '/^[0-9a-f]+-[0-9a-f]+ / { range = $1 } /^VmFlags:.* dd( |$)/ { print range }' \
	"/proc/$pid/smaps" | grep -q . || fail "the keys would go into a core dump"
ends TERM
chmod 640 "$keys"
refused "chmod 600 $keys" --config "$rack" --node 1
refused "chmod 600 $keys" --config "$rack" --check
mv "$keys" "$keys.away"
refused "tripodd --generate-key >$keys" --config "$rack" --node 1
"$tripodd" --config "$rack" --check >"$tmp/check.log" 2>&1 || fail "--check where no node runs"
grep -q "warning: $keys" "$tmp/check.log" || fail "--check does not tell of the missing keys"
sed 's/^  name:/  authentication: none\n  name:/' "$rack" >"$tmp/open.yaml"
"$tripodd" --config "$tmp/open.yaml" --check 2>&1 | grep -q "warning: .*any connection" ||
	fail "no warning that anybody is believed"
chmod 600 "$keys.away"
mv "$keys.away" "$keys"

# ---- SIGKILL leaves a socket behind, which is no obstacle ----
start "$tmp/four.log"
kill -KILL "$pid"
wait "$pid" || true
[ -e "$socket" ] || fail "this test tests nothing: SIGKILL left no socket"
start "$tmp/five.log"
ends TERM

# ---- What is refused ----
refused "nonexistent" --config "$tmp/nonexistent.yaml" --node 1
refused "9" --config "$rack" --node 9
sed 's/relay_vlan: 11/relay_vlan: 10/' "$rack" >"$tmp/bad.yaml"
refused "bad.yaml:" --config "$tmp/bad.yaml" --node 1
sed 's/firewall: {}/firewall: {colour: red}/' "$rack" >"$tmp/bad.yaml"
refused "bad.yaml:.*colour" --config "$tmp/bad.yaml" --node 1
refused "bad.yaml:.*colour" --config "$tmp/bad.yaml" --check
refused "no interface tripod-none" --config "$rack" --node 1 --port net_af_packet0,iface=tripod-none
refused "DPDK said: " --config "$rack" --node 1 --port net_af_packet0,iface=lo,nonsense=1
refused "net_nonsense0" --config "$rack" --node 1 --port net_nonsense0
sed 's/^node:/node:\n  hugepages: require/' "$rack" >"$tmp/huge.yaml"
if [ "$(cat /sys/kernel/mm/hugepages/*/free_hugepages 2>/dev/null | sort -n | tail -1)" = 0 ]; then
	refused "hugepages: never" --config "$tmp/huge.yaml" --node 1
fi

# ---- Plug-ins, from the file and from the command line ----
plugin=$build/nf/example/pathcount.so
sed "s/- firewall: {}/- pathcount: {}/" "$rack" >"$tmp/plugin.yaml"
refused "plugin.yaml:.*pathcount" --config "$tmp/plugin.yaml" --check
"$tripodd" --config "$tmp/plugin.yaml" --plugin "$plugin" --check | grep -q "chain pathcount" ||
	fail "--plugin"
echo "plugins: $plugin" >>"$tmp/plugin.yaml"
"$tripodd" --config "$tmp/plugin.yaml" --check | grep -q "chain pathcount" || fail "plugins:"
refused "nonexistent.so" --config "$rack" --plugin "$tmp/nonexistent.so" --check
rack=$tmp/plugin.yaml
start "$tmp/six.log"
ctl counters --nf pathcount --all | grep -q pathcount || fail "no counters of the plug-in"
ends TERM

# ---- Usage ----
for arguments in "" "--nonsense" "--config" "--config $rack --node x" "--config $rack extra" "--generate-key=0" "--generate-key=x"; do
	code=0
	# shellcheck disable=SC2086 # words
	"$tripodd" $arguments >/dev/null 2>&1 || code=$?
	[ $code -eq 2 ] || fail "exit status $code of tripodd $arguments"
done
for arguments in "" "nonsense" "status --limit 3" "--node 99 status" "connections --limit x" \
	"status reload" "keys reload reload"; do
	code=0
	# shellcheck disable=SC2086 # words
	"$tripodctl" $arguments >/dev/null 2>&1 || code=$?
	[ $code -eq 2 ] || fail "exit status $code of tripodctl $arguments"
done
code=0
ctl status 2>"$tmp/gone.log" || code=$?
[ $code -eq 1 ] || fail "exit status $code without a daemon"
grep -q "is tripodd running" "$tmp/gone.log" || fail "no advice without a daemon"
for program in "$tripodd" "$tripodctl"; do
	"$program" --help | grep -q '^usage: ' || fail "$program --help"
	"$program" --version | grep -q '[0-9]' || fail "$program --version"
done
"$tripodd" --help-config | grep -q relay_vlan || fail "--help-config"
echo passed
