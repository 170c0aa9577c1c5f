#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The demo, small: a node dies, nothing breaks with replication, something does without.
# shellcheck source=smoke/_init.sh
. "$(dirname "$0")/_init.sh"

[ "$(id -u)" -eq 0 ] || skip "a rack takes root"
for tool in ovs-vswitchd nginx gnuplot curl; do
	PATH=$PATH:/usr/sbin command -v $tool >/dev/null || skip "no $tool"
done

/usr/bin/python3 "$here/../lab/demo.py" --quick --build "$build" --output "$tmp/demo" </dev/null

# Exactly these keys: others read the file.
/usr/bin/python3 - "$tmp/demo/report.json" <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
assert set(report) == {"tripod", "baseline"}, report
for mode in report.values():
    assert set(mode) == {"connections", "on_dead_node", "broken", "stall_ms", "http_errors",
                         "packets_lost", "control_ratio"}, mode
    assert set(mode["stall_ms"]) == {"p50", "p99", "max"}, mode
    assert mode["connections"] == 200 and 0 < mode["on_dead_node"] < 200, mode
assert report["tripod"]["broken"] == 0 < report["baseline"]["broken"], report
END
[ -s "$tmp/demo/throughput.png" ] || fail "no picture"
