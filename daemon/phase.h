// SPDX-License-Identifier: BSD-3-Clause
// What the log says of a node's way from its start to its end, and when it may stop. Pure functions.
#pragma once

#include "core/node.h"

struct phase_watch {
	enum node_phase phase;
	uint64_t since_ns; // on the node's clock
	bool told_ports; // that it waits for nothing but its NAT ports
};

// A line for the log, when the node has come to another phase. false: nothing is new.
bool phase_news(struct phase_watch *w, const struct node_status *s, char *line, size_t size);
// Has a node that drains nothing left to wait for?
bool phase_may_stop(const struct node_status *s);
