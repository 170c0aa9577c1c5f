// SPDX-License-Identifier: BSD-3-Clause
// In the end, when all ports are up and nothing has happened for a while: what nodes say of where a
// connection's packets would go after failures is what the switch would do.
#include "sim/check.h"

#include "sim/world.h"

// The answers of a time when the switch did what no node could know of are not held against them.
static bool honest(const struct world *w)
{
	return !options_fault(&w->o, FAULT_FLAP) && !options_fault(&w->o, FAULT_FLUTTER) &&
	       w->o.prediction != PREDICTION_MISTAKEN;
}

static void check_key(
	struct world *w, unsigned i, const struct shard *s, const struct tripod_tuple *key)
{
	uint64_t up = w->o.ecmp.ports;
	// Of `resilient`, an answer of the switch is about one failure.
	unsigned most = w->o.ecmp.model == ECMP_RESILIENT && w->o.k > 1 ? 1 : w->o.k;
	char text[TRIPOD_TUPLE_STRLEN];

	for (unsigned failed = 0; failed <= most && up != 0; failed++) {
		int said = predict_next(s, key, up), is = ecmp_next(&w->o.ecmp, key, up);
		if (said == NEXT_HOP_UNKNOWN) {
			w->check.unpredicted++;
			return;
		}
		w->check.predicted++;
		if (said != is) {
			w->check.mispredicted++;
			if (honest(w))
				check_violation(w, "prediction", key, 1,
					"node %u sends %s to %d after %u failures, the switch to "
					"%d",
					i, tripod_tuple_format(key, text, sizeof(text)), said,
					failed, is);
			return;
		}
		up &= ~(1ull << is);
	}
}

void check_predictions(struct world *w)
{
	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++) {
			const struct shard *s = node_shard(w->node[i].node, k);
			for (uint32_t r = 1; r <= s->store.highest; r++) {
				const struct conn *c = store_conn(&s->store, r);
				if (c->state != CONN_LIVE || !(c->flags & CONN_ANSWERED) ||
					store_repl(&s->store, r)->part[PART_SHARED].writer != i)
					continue;
				check_key(w, i, s, &c->dir[0].key);
				check_key(w, i, s, &c->dir[1].key);
			}
		}
	}
}
