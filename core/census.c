// SPDX-License-Identifier: BSD-3-Clause
// What a worker has in its table, by kind and by number of copies: a slow walk, so that no packet pays
// for it.
#include "core/shard.h"

#define CENSUS_SCAN 512 // records looked at in one tick

static void count_mastered(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	uint64_t acked = holders_with(r, HOLDER_ACKED) & shard_takers(s); // not what drains
	unsigned copies = (unsigned)__builtin_popcountll(acked);

	s->census.mastered++;
	trim_look(s, i);
	// Nothing is promised to what is not answered, nor to what is not replicated.
	if (!(c->flags & CONN_ANSWERED) || conn_durability(c) == DURABILITY_NONE)
		return;
	s->census.copies[copies < COPIES_MAX ? copies : COPIES_MAX]++;
	if (copies < s->conf->backups)
		s->census.unprotected++;
}

void census_step(struct shard *s)
{
	trim_begin(s);
	compare_begin(s);
	for (unsigned n = 0; n < CENSUS_SCAN; n++) {
		if (++s->census.at > s->store.highest) {
			s->gauge.mastered = s->census.mastered;
			s->gauge.backup = s->census.backup;
			s->gauge.unprotected = s->census.unprotected;
			s->gauge.tombstones = s->census.tombstones;
			memcpy(s->gauge.copies, s->census.copies, sizeof(s->gauge.copies));
			memset(&s->census, 0, sizeof(s->census));
			break;
		}
		const struct conn *c = store_conn(&s->store, s->census.at);
		if (c->state == CONN_FREE)
			continue;
		kind_review(s, s->census.at); // should anything have gone by unseen
		compare_look(s, s->census.at);
		if (c->state == CONN_TOMBSTONE)
			s->census.tombstones++;
		else if (c->flags & (CONN_MASTER_0 | CONN_MASTER_1))
			count_mastered(s, s->census.at);
		else
			s->census.backup++;
	}
	compare_end(s);
	s->gauge.connections = s->store.used;
	s->gauge.embryonic = s->store.embryonic;
	s->gauge.sync_waiting = s->sync.used;
	s->gauge.predict = (uint8_t)predict_how(s);
}
