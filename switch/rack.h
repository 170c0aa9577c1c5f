// SPDX-License-Identifier: BSD-3-Clause
// The rack that rules are made for: out of a configuration, or of a number of ports.
#pragma once

#include "config/rack.h"
#include "switch/rules.h"

// What the configuration lacks for it goes to its report (rack_report()): -1 then.
int switch_rack_load(struct rack *from, struct switch_rack *out);
// N nodes, of ids 0 to N - 1 at ports 1 to N, and one uplink a side behind them.
void switch_rack_ports(unsigned n, struct switch_rack *out);
