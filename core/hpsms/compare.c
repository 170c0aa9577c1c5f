// SPDX-License-Identifier: BSD-3-Clause
// One connection, two lives: two nodes have opened it, neither knowing of the other, and each life has its
// own holders. Or a copy is somewhere, and the writer does not know. Nobody tells either: who would, has
// never heard of the other. But the index sets show it: a node that is no holder has the key.
//
// The writer asks such a node for what it has (a PULL, as of what it makes sure of). The answer is a record
// like any other, and the rules of merging do the rest. A fingerprint that is another key's costs one
// question a second at most.
#include "core/hpsms/repl.h"

#define COMPARE_NS (1000 * MS) // between two walks that compare
#define COMPARES_MAX 8 // records asked for in one tick

void compare_begin(struct shard *s)
{
	if (s->census.at == 0) {
		s->comparing = index_on(s) && s->now_ns >= s->compare_ns;
		if (s->comparing)
			s->compare_ns = s->now_ns + COMPARE_NS;
	}
	s->compares = s->comparing ? COMPARES_MAX : 0;
}

void compare_look(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);

	if (s->compares == 0 || c->state != CONN_LIVE || !(c->flags & CONN_ANSWERED) ||
		r->part[PART_SHARED].writer != s->conf->id)
		return;
	const struct tripod_tuple *key = &c->dir[0].key;
	uint32_t fp = index_print(store_hash(&s->store, key), key->direction);
	uint64_t nodes =
		index_candidates(s, fp) & shard_responsive(s) & ~r->holders & ~shard_self(s);
	if (nodes == 0)
		return;
	s->compares--;
	count(s, C_copies_compared);
	// There is no place for what is there. Who takes it for its own does not forget, and answers.
	if (__builtin_popcountll(r->holders) == HOLDERS_MAX)
		trim_dismiss(s, i, nodes);
	for (; nodes != 0; nodes &= nodes - 1) {
		if (!pull_ask(s, (unsigned)__builtin_ctzll(nodes), key))
			return; // the rest in the next walk
	}
}
