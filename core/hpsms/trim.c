// SPDX-License-Identifier: BSD-3-Clause
// Copies that nobody needs any more are given up. Connections move, prediction changes, nodes come and go: each
// time somebody gets a copy, and none would ever be dropped before its connection ends.
//
// Who writes all of a connection asks a holder to forget it (FORGET) while nothing moves, when enough others have
// acknowledged the newest state at the right places (place_keep()). It keeps the holder up to date until that
// says that it has forgotten (FORGOT), and then only if nothing has changed since it asked: otherwise there may
// be a copy again, which would be kept up to date by nobody. A holder that has taken anything over, or heard of
// another writer, does not forget.
//
// Nor can a connection have more holders than are listed (HOLDERS_MAX). Who writes a part has a place, and
// takes that of one who writes none; whoever has a copy and no place is asked to forget it.
#include <netinet/in.h>

#include "core/hpsms/repl.h"

#define TRIMS_MAX 32 // asked for in one tick

// Nothing moves, and nothing has for a while: what is surplus now will be in a moment, too.
static bool calm(const struct shard *s)
{
	return s->now_ns >= s->unsettled_ns && s->live == s->ports && s->draining == 0 &&
	       s->joining == 0 && s->drain == 0 && s->repair_at == 0 && s->refusing == 0 &&
	       shard_responsive(s) == s->live;
}

// This node writes every part of it, and it is in no state that others are about to hear of.
static bool in_hand(const struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	const uint8_t all = CONN_MASTER_0 | CONN_MASTER_1 | CONN_ANSWERED | CONN_REPLICATED;

	for (unsigned p = 0; p < PARTS; p++) {
		if (r->part[p].writer != s->conf->id)
			return false;
	}
	return c->state == CONN_LIVE && (c->flags & all) == all && !(c->flags & CONN_SYNCING) &&
	       r->former == 0 && !conn_uncertain(s, c, 0) && !conn_uncertain(s, c, 1) &&
	       !conn_tcp_at(c, TCP_CLOSING);
}

static void tell(struct shard *s, enum wire_type type, unsigned node,
	const struct tripod_tuple *key, const struct wire_forget *w)
{
	struct wire_header h;
	struct frame f;

	if (s->step->n_spare <= STEP_SPARE_CONTROL || !shard_has_room(s) || !control_begin(s, &f))
		return; // again in the next round
	control_header(s, &h, type, node, repl_worker(s, node, key));
	h.count = 1;
	int size = wire_put_forget(
		control_body(&f) + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, w);
	control_send(s, &f, &h, (uint16_t)(WIRE_HEADER_SIZE + size));
}

// A message about what record i is here now, to a node.
static void ask(struct shard *s, uint32_t i, unsigned node)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	struct wire_forget w = {
		.hash = store_hash(&s->store, &c->dir[0].key),
		.incarnation = c->incarnation,
		.stamp = c->stamp,
	};

	for (unsigned p = 0; p < PARTS; p++)
		w.epoch[p] = r->part[p].epoch;
	tell(s, WIRE_FORGET, node, &c->dir[0].key, &w);
}

void trim_begin(struct shard *s)
{
	s->trims = calm(s) ? TRIMS_MAX : 0;
}

void trim_look(struct shard *s, uint32_t i)
{
	const struct conn_repl *r = store_repl(&s->store, i);
	unsigned k = s->conf->backups;

	if (s->trims == 0 || (unsigned)__builtin_popcountll(r->holders) <= k + 1 || !in_hand(s, i))
		return;
	uint64_t acked = holders_with(r, HOLDER_ACKED) & holders_with(r, HOLDER_KNOWN);
	uint64_t keep = place_keep(s, i, 0);
	uint64_t surplus = r->holders & s->live & acked & ~keep & ~repl_self(s);
	if (surplus == 0 || (keep & ~acked) != 0 || (unsigned)__builtin_popcountll(keep) < k)
		return;
	s->trims--;
	ask(s, i, (unsigned)__builtin_ctzll(surplus));
}

void trim_dismiss(struct shard *s, uint32_t i, uint64_t nodes)
{
	for (nodes &= s->live & ~repl_self(s); nodes != 0; nodes &= nodes - 1)
		ask(s, i, (unsigned)__builtin_ctzll(nodes));
}

void trim_list(struct shard *s, uint32_t i, uint64_t nodes)
{
	struct conn_repl *r = store_repl(&s->store, i);
	uint64_t writers = repl_self(s) | ((repl_writers(r) | nodes) & s->live), gone = 0;

	if ((writers & ~r->holders) == 0)
		return;
	conn_hold(s, r, writers);
	for (uint64_t left = writers & ~r->holders; left != 0; left &= left - 1) {
		uint64_t others = r->holders & ~writers,
			 surplus = others & ~place_keep(s, i, nodes);
		others = surplus != 0 ? surplus : others;
		gone |= others & -others;
		holders_remove(r, others & -others);
		holders_add(r, left & -left);
	}
	if (gone == 0 || r->part[PART_SHARED].writer != s->conf->id)
		return;
	trim_dismiss(s, i, gone);
	repl_changed(s, i, 1u << PART_SHARED | REPL_QUIET); // this list is what counts
}

void trim_admit(struct shard *s, uint32_t i, uint64_t nodes)
{
	struct conn_repl *r = store_repl(&s->store, i);

	conn_hold(s, r, nodes);
	if ((nodes & ~r->holders) != 0)
		trim_list(s, i, nodes);
}

// Is what is here a copy of what the sender writes, or of what has gone on elsewhere, and nothing else?
static bool plain_copy(
	const struct shard *s, uint32_t i, const struct wire_forget *w, unsigned from)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);

	for (unsigned p = 0; p < PARTS; p++) {
		int16_t above = (int16_t)(w->epoch[p] - r->part[p].epoch);
		unsigned writer = r->part[p].writer;
		bool its = p == PART_SHARED ? writer == from : writer != s->conf->id;
		if (above < 0 || (above == 0 && !its))
			return false;
	}
	return c->state == CONN_LIVE && c->incarnation == w->incarnation &&
	       !(c->flags & (CONN_SYNCING | CONN_HELD));
}

static void forget(struct shard *s, const struct wire_forget *w, unsigned from)
{
	uint32_t i = store_find_hash(&s->store, w->hash);

	if (i == STORE_NONE || !plain_copy(s, i, w, from))
		return;
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	struct tripod_tuple key = c->dir[0].key;
	// Others list this node as well, and would give it a copy again when they take over.
	uint64_t others = (r->holders | 1ull << from) & s->live & ~repl_self(s);
	// Packets may wait for it, or have waited until now, that are about to take it over. If they do not, nobody else may
	// know of it.
	bool wanted = pull_waits(s, &key) || pull_waits(s, &c->dir[1].key) || s->again_first != 0;
	if (wanted || !conn_free(s, i)) {
		r->unlisted = 1;
		return;
	}
	count(s, C_copies_forgotten);
	for (; others != 0; others &= others - 1)
		tell(s, WIRE_FORGOT, (unsigned)__builtin_ctzll(others), &key, w);
}

static void forgot(struct shard *s, const struct wire_forget *w, unsigned from)
{
	uint32_t i = store_find_hash(&s->store, w->hash);
	const struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	bool writes = false;

	if (i == STORE_NONE || c->state != CONN_LIVE || c->incarnation != w->incarnation ||
		!(r->holders & 1ull << from))
		return;
	for (unsigned p = 0; p < PARTS; p++)
		writes |= r->part[p].writer == s->conf->id;
	// What has changed since it was asked is on its way there, or will be wanted.
	if (writes && (!in_hand(s, i) || c->stamp != w->stamp || !holder_is(r, HOLDER_ACKED, from)))
		return;
	holders_remove(r, 1ull << from);
	if (writes && place_missing(s, i) != 0)
		repl_protect(s, i);
}

void trim_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	uint16_t at = 0;

	for (unsigned n = 0; n < h->count; n++) {
		struct wire_forget w;
		int size = wire_get_forget(body + at, len - at, &w);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		if (h->type == WIRE_FORGET)
			forget(s, &w, h->from_node);
		else
			forgot(s, &w, h->from_node);
	}
}
