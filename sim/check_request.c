// SPDX-License-Identifier: BSD-3-Clause
// Requests of network functions: what one node has asked another to write is written once. The book is
// kept by ledger.c in the connections' own state, which tells of what the protocol made of it, and knows
// nothing of how.
#include "sim/check.h"

#include "sim/ledger.h"
#include "sim/world.h"

#define SETTLED_WALKS 8 // so many in a row without what was asked for are a violation

static const struct ledger_state *book_of(const struct shard *s, const struct conn *c)
{
	const struct chain *chain = conn_chain(s, c);

	for (unsigned n = 0; n < chain->n; n++) {
		if (chain->nf[n].nf == &ledger)
			return (const struct ledger_state *)(c->nf + chain->nf[n].state_offset);
	}
	return NULL;
}

// Were nodes cut off from each other since then? Both sides may have written, and one of them has lost.
static bool cut_off(const struct world *w, uint64_t since_ns)
{
	for (unsigned f = 0; f < w->check.n_failures && f < CHECK_FAILURES; f++) {
		const struct check_failure *x = &w->check.failure[f];
		if (x->kind == FAULT_PARTITION && (x->end_ns == 0 || x->end_ns >= since_ns))
			return true;
	}
	return false;
}

void check_requests(
	struct world *w, unsigned i, struct shard *s, uint32_t record, struct check_conn *known)
{
	const struct conn *c = store_conn(&s->store, record);
	const struct ledger_state *b = book_of(s, c);
	struct tripod_tuple keys[2] = {c->dir[0].key, c->dir[1].key};
	char text[TRIPOD_TUPLE_STRLEN];

	if (b == NULL)
		return;
	tripod_tuple_format(&keys[0], text, sizeof(text));
	// Of the fifth node that asks at about one time, the record keeps no mark.
	bool crowd = b->line[CHAIN_MARKS] != 0;
	bool may_lose = w->o.beyond || cut_off(w, known->answered_ns);
	bool wrong = (b->twice != 0 && !crowd) || (b->lost != 0 && !may_lose);
	if (wrong && known->book_of != c->incarnation) {
		known->book_of = c->incarnation; // told once
		check_violation(w, "requests", keys, 2,
			"node %u: of %s, %u requests applied twice, %u never", i, text, b->twice,
			b->lost);
	}
	bool crossed_out = b->line[LEDGER_LINES - 1] != 0 && ledger_last(b, b->asker) == 0;
	bool open = w->check.quiet && ledger_last(b, b->asker) < b->elsewhere && !crossed_out &&
		    !may_lose && !request_under_way(s, record);
	if (!open || known->open_walk == w->check.walk)
		return;
	known->open_requests = known->open_walk + 1 == w->check.walk ? known->open_requests + 1 : 1;
	known->open_walk = w->check.walk;
	if (known->open_requests == SETTLED_WALKS)
		check_violation(w, "requests", keys, 2,
			"node %u: of %s, what it has asked for is not applied", i, text);
}
