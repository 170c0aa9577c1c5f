#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Every node of a rack is restarted in turn under a small load, and nothing breaks.
# shellcheck source=smoke/_init.sh
. "$(dirname "$0")/_init.sh"

[ "$(id -u)" -eq 0 ] || skip "a rack takes root"
for tool in ovs-vswitchd nginx curl; do
	PATH=$PATH:/usr/sbin command -v $tool >/dev/null || skip "no $tool"
done

/usr/bin/python3 "$here/../lab/trial.py" rolling-restart --connections 200 --limit 150 \
	--build "$build" --output "$tmp/trial" --json </dev/null
