// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/phase.h"

#include <inttypes.h>
#include <stdio.h>

static void nodes(uint64_t set, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < NODES_MAX && n < size; i++) {
		if (set >> i & 1)
			n += (size_t)snprintf(out + n, size - n, "%s%u", n > 0 ? ", " : "", i);
	}
}

static void came_up(
	const struct phase_watch *w, const struct node_status *s, char *line, size_t size)
{
	uint64_t ms = (s->uptime_ns - w->since_ns) / 1000000;
	char who[256], unknown[256];

	nodes(s->join_unserved, who, sizeof(who));
	nodes(s->join_unknown, unknown, sizeof(unknown));
	if (w->phase == NODE_JOINING && s->join_unserved != 0)
		snprintf(line, size,
			"warning: takes traffic after join_timeout_ms; not all copies have come "
			"from nodes %s",
			who);
	else if (w->phase == NODE_JOINING && s->join_unknown != 0)
		snprintf(line, size,
			"warning: takes traffic after join_timeout_ms; the index sets of nodes %s "
			"have not come",
			unknown);
	else if (w->phase == NODE_JOINING || w->phase == NODE_STARTING)
		snprintf(line, size, "takes traffic, after %" PRIu64 " ms of joining", ms);
	else
		snprintf(line, size, "takes traffic again");
}

bool phase_news(struct phase_watch *w, const struct node_status *s, char *line, size_t size)
{
	if (s->phase == NODE_JOINING && w->phase == NODE_JOINING && !w->told_ports &&
		s->join_ports && !s->join_hearing && s->join_unserved == 0) {
		char who[256];

		nodes(s->unreported, who, sizeof(who));
		snprintf(line, size,
			"waits: NAT ports that it has handed out before may be in use at nodes %s, "
			"which have not said",
			who);
		w->told_ports = true;
		return true;
	}
	if (s->phase == w->phase)
		return false;
	switch (s->phase) {
	case NODE_STARTING:
		snprintf(line, size, "takes no traffic");
		break;
	case NODE_JOINING:
		snprintf(line, size, "joins: the others send it what it should hold");
		break;
	case NODE_READY:
		came_up(w, s, line, size);
		break;
	case NODE_DRAINING:
		snprintf(line, size, "drains: its %" PRIu64 " connections get copies elsewhere",
			s->mastered);
		break;
	case NODE_MOVING:
		snprintf(line, size, "drains: all is copied, its port is down for the switch");
		break;
	case NODE_DRAINED:
		snprintf(line, size, "is drained: it may be stopped");
		break;
	case NODE_LEAVING:
		snprintf(line, size, "leaves");
		break;
	}
	w->phase = s->phase;
	w->since_ns = s->uptime_ns;
	return true;
}

bool phase_may_stop(const struct node_status *s)
{
	// Without anybody to take its connections, they end with it, sooner or later.
	return s->phase == NODE_DRAINED || (s->phase != NODE_MOVING && s->ports == 0);
}
