// SPDX-License-Identifier: BSD-3-Clause
// When nothing goes wrong any more a drain comes to its end: all is copied, the switch moves the flows, and the
// node says so. What it still waits for, of which it has told nobody, is what the trace is of.
#include "sim/check.h"

#include "core/holders.h"
#include "sim/world.h"

// A connection that node i waits for, if any.
static const struct conn *waits_for(struct world *w, unsigned i)
{
	for (unsigned k = 0; k < w->o.workers; k++) {
		const struct shard *s = node_shard(w->node[i].node, k);
		for (uint32_t r = 1; r <= s->store.highest; r++) {
			const struct conn *c = store_conn(&s->store, r);
			if (c->state == CONN_LIVE &&
				holder_is(store_repl(&s->store, r), HOLDER_QUEUED, i))
				return c;
		}
	}
	return NULL;
}

static void tell(struct world *w, unsigned i, const struct node_status *st)
{
	const struct conn *c = waits_for(w, i);
	struct tripod_tuple key[2] = {};
	char text[TRIPOD_TUPLE_STRLEN] = "";

	if (c != NULL) {
		key[0] = c->dir[0].key;
		key[1] = c->dir[1].key;
		tripod_tuple_format(&key[0], text, sizeof(text));
	}
	check_violation(w, "drain", key, c != NULL ? 2 : 0,
		"node %u is not drained: %s, %llu connections owed, last packet %llu ms ago %s", i,
		node_phase_name(st->phase), (unsigned long long)st->owed,
		(unsigned long long)(st->workload_age_ns / MS), text);
}

bool check_drained(struct world *w, uint64_t nodes, bool report)
{
	bool all = true;

	for (; nodes != 0; nodes &= nodes - 1) {
		unsigned i = (unsigned)__builtin_ctzll(nodes);
		struct node_status st;
		node_status(w->node[i].node, &st);
		if (st.phase == NODE_DRAINED)
			continue;
		all = false;
		if (report)
			tell(w, i, &st);
	}
	return all;
}
