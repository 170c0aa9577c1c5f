// SPDX-License-Identifier: BSD-3-Clause
// Copies that differ, and nobody tells. Two nodes have opened one connection, neither knowing of the other, and
// each life has its own holders. Or a copy is somewhere, and the writer does not know; or the writer takes for a
// copy what is there no more. Or nodes have claimed one part in turn, and what each has told went another way.
//
// The index sets show the first three: a node that is no holder has the key, or one that is has not. Of the
// last, records have told that did not fit together; such a record is contested, and when it has been quiet for a
// moment, all its copies are looked at once.
//
// The shared part's writer asks such nodes for what they have (a PULL, as of what it makes sure of). The answer is a
// record like any other, and the rules of merging do the rest. A fingerprint that is another key's costs
// two questions a second at most, and what never was contested costs none.
#include "core/hpsms/repl.h"

#define COMPARE_NS (500 * MS) // between two walks that compare

void compare_begin(struct shard *s)
{
	struct compare *p = &s->compare;

	if (s->census.at == 0) {
		p->walks = s->now_ns >= p->next_ns;
		if (p->walks)
			p->next_ns = s->now_ns + COMPARE_NS;
	}
	p->n = 0;
}

// Members that have told of record i's key: bits.
static uint64_t told_of(const struct shard *s, uint32_t i)
{
	const struct tripod_tuple *key = &store_conn(&s->store, i)->dir[0].key;

	return index_candidates(s, index_print(store_hash(&s->store, key), key->direction));
}

// Holders that have acknowledged record i, and should have told of it since, as this node has.
static uint64_t silent(const struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);

	// Of others, what is quiet need not be told.
	if (c->dir[0].key.proto != IPPROTO_TCP || conn_tcp_at(c, TCP_CLOSED) || !index_on(s) ||
		!(s->index.what[i] & INDEX_ANNOUNCED) || index_behind(s))
		return 0;
	return holders_with(store_repl(&s->store, i), HOLDER_ACKED) & ~index_blind(s);
}

// Whom the writer of record i asks.
static uint64_t as_writer(struct shard *s, uint32_t i)
{
	struct conn_repl *r = store_repl(&s->store, i);
	uint64_t told = index_on(s) ? told_of(s, i) : 0, unlisted = told & ~r->holders;
	uint64_t nodes = unlisted | (silent(s, i) & ~told);

	if (r->contested == 1) // since the last walk nothing new has come of it
		nodes |= r->holders;
	r->contested >>= 1;
	// There is no place for what is there. Who takes it for its own does not forget, and answers.
	if (__builtin_popcountll(r->holders) == HOLDERS_MAX)
		trim_dismiss(s, i, unlisted & shard_responsive(s));
	return nodes;
}

// Who has a copy and no place asks the writer.
static uint64_t as_holder(const struct shard *s, struct conn_repl *r)
{
	if (repl_writers(r) & repl_self(s))
		r->unlisted = 0;
	return r->unlisted ? 1ull << r->part[PART_SHARED].writer : 0;
}

void compare_look(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	struct compare *p = &s->compare;

	if (!p->walks || p->n == COMPARES_MAX || c->state != CONN_LIVE ||
		!(c->flags & CONN_ANSWERED))
		return;
	// Of two openings the initiator says which it has taken; until then both have to be there to be found.
	if (c->dir[0].key.proto == IPPROTO_TCP && !conn_tcp_at(c, TCP_ESTABLISHED))
		return;
	bool writes = r->part[PART_SHARED].writer == s->conf->id;
	uint64_t nodes = writes ? as_writer(s, i) : as_holder(s, r);
	nodes &= shard_responsive(s) & ~shard_self(s);
	if (nodes == 0)
		return;
	count(s, C_copies_compared);
	p->conn[p->n] = i;
	p->nodes[p->n++] = nodes;
}

static bool ask(struct shard *s, unsigned node)
{
	const struct compare *p = &s->compare;
	uint16_t used = WIRE_HEADER_SIZE;
	struct wire_header h;
	struct frame f;

	if (s->step->n_spare <= STEP_SPARE_CONTROL || !shard_has_room(s) || !control_begin(s, &f))
		return false;
	control_header(s, &h, WIRE_PULL, node, WIRE_ANY);
	h.count = 0;
	for (unsigned n = 0; n < p->n; n++) {
		if (!(p->nodes[n] & 1ull << node))
			continue;
		used += (uint16_t)wire_put_question(control_body(&f) + used, WIRE_BODY_MAX - used,
			&store_conn(&s->store, p->conn[n])->dir[0].key, true);
		h.count++;
	}
	control_send(s, &f, &h, used);
	return true;
}

void compare_end(struct shard *s)
{
	struct compare *p = &s->compare;
	uint64_t nodes = 0;

	for (unsigned n = 0; n < p->n; n++)
		nodes |= p->nodes[n];
	for (; nodes != 0 && ask(s, (unsigned)__builtin_ctzll(nodes)); nodes &= nodes - 1)
		;
	// There are no frames for the rest, which is asked in the next walk.
	for (unsigned n = 0; n < p->n && nodes != 0; n++)
		store_repl(&s->store, p->conn[n])->contested |= (p->nodes[n] & nodes) != 0;
}

bool compare_differs(const struct shard *s, uint32_t i, const struct wire_record *w, bool *lacks)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	bool knows = false;

	*lacks = false;
	if (!(w->flags & WIRE_RECORD_ANSWER) || r->part[PART_SHARED].writer != s->conf->id)
		return false;
	for (unsigned p = 0; p < PARTS; p++) {
		*lacks |= repl_newer(&r->part[p], &w->version[p]);
		knows |= repl_newer(&w->version[p], &r->part[p]);
	}
	// Flags that can wait are missing everywhere.
	for (unsigned d = 0; d < 2; d++) {
		uint8_t mine = c->dir[d].tcp.flags & TCP_DIR_DURABLE;
		uint8_t its = w->dir[d].tcp_flags & TCP_DIR_DURABLE;
		*lacks |= (mine & ~its) && !(r->untold & 1u << d);
		knows |= (its & ~mine) != 0;
	}
	return *lacks || knows;
}
