// SPDX-License-Identifier: BSD-3-Clause
// Repair: after a change of membership, who came back is sent what it should have, and connections
// that lost a copy are given another, at a bounded rate.
#include "core/hpsms/repl.h"

#define REPAIR_SCAN 256 // records looked at in one call

// The one who gives record i a new copy: its master, or while that is dead the lowest holder alive.
static bool responsible(struct shard *s, uint32_t i)
{
	struct conn_repl *r = store_repl(&s->store, i);
	unsigned writer = r->part[PART_SHARED].writer;
	uint64_t holders = r->holders & s->live;

	if (writer == s->conf->id)
		return true;
	if ((s->live & 1ull << writer) || (unsigned)__builtin_ctzll(holders) != s->conf->id)
		return false;
	r->part[PART_SHARED] = (struct conn_version){
		.epoch = (uint16_t)(r->part[PART_SHARED].epoch + 1),
		.writer = s->conf->id,
		.handed = (uint8_t)store_conn(&s->store, i)->stamp,
	};
	return true;
}

// Looks at some records after a change of membership: who came back is sent what it should have, and
// what lost a copy gets another. Bounded in time and rate; packets go first.
bool repl_repair(struct shard *s)
{
	uint64_t cost = s->conf->repair_cost_ns;

	for (unsigned n = 0; n < REPAIR_SCAN; n++) {
		if (s->repair_at > s->store.capacity) {
			s->repair_nodes = s->repair_next;
			s->repair_reboot = 0;
			s->repair_at = s->repair_next != 0;
			s->repair_next = 0;
			return s->repair_at != 0;
		}
		uint32_t i = s->repair_at;
		const struct conn *c = store_conn(&s->store, i);
		struct conn_repl *r = store_repl(&s->store, i);
		s->repair_at++;
		if (c->state != CONN_LIVE || !(c->flags & CONN_ANSWERED))
			continue;
		r->acked &= ~s->repair_reboot;
		r->known &= ~s->repair_reboot;
		if (!responsible(s, i))
			continue;
		uint64_t others = s->live & s->chain_nodes[c->chain] & ~repl_self(s);
		uint64_t again = r->holders & s->repair_nodes & others & ~r->acked;
		if (again == 0 && place_missing(s, i, others, s->conf->backups) == 0)
			continue;
		if (s->repair_tokens_ns > s->now_ns) {
			s->repair_at = i; // the rest when there is budget again
			return true;
		}
		if (s->repair_tokens_ns + 20 * MS < s->now_ns)
			s->repair_tokens_ns = s->now_ns - 20 * MS;
		s->repair_tokens_ns += cost;
		count(s, C_repairs);
		repl_protect(s, i);
	}
	return true;
}
