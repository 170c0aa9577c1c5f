// SPDX-License-Identifier: BSD-3-Clause
// The other members' index sets, merged into one table. Changes are applied in the order of their
// numbers; a gap is asked for, and when it is too long, the set is fetched as it is. Rounds: all
// members are asked at once for everything that they have not told yet.
#include "core/defect.h"
#include "core/shard.h"

#define AHEAD 32 // fingerprints whose cache lines are on their way
#define ROUND_NS MS // between two rounds
#define REPEAT_NS (3 * MS) // what is not answered is asked for again
#define COPIES 4 // sets fetched at one time
#define COPY_PIECES 8 // of a set, asked for at one time
#define SWEEP_BUCKETS 2048 // of the table, in one step
#define DEAD_NS (10 * 1000 * MS) // then what a dead member had is taken out
#define OVERFLOW_NS (10 * 1000 * MS) // then there may be room for a set again
#define HISTORY_SAFE                                                                               \
	(INDEX_HISTORY - 32) // changes that far back will still be there when asked for

#define LOAD(at) atomic_load_explicit(&(at), memory_order_relaxed)
#define STORE(at, v) atomic_store_explicit(&(at), (v), memory_order_relaxed)

// ---- What workers ask ----

static uint64_t others(const struct shard *s)
{
	return s->live & ~(1ull << s->conf->id);
}

uint64_t index_candidates(const struct shard *s, uint32_t fp)
{
	const struct index *ix = s->node->index;
	return index_map_find(&ix->map, fp) & LOAD(ix->known) & others(s);
}

uint64_t index_blind(const struct shard *s)
{
	if (!index_on(s))
		return others(s);
	return LOAD(s->node->index->blind) & others(s);
}

bool index_behind(const struct shard *s)
{
	return index_on(s) && (LOAD(s->node->index->behind) & others(s)) != 0;
}

bool index_complete(const struct shard *s)
{
	return !index_on(s) || (index_blind(s) == 0 && !index_behind(s));
}

uint64_t index_unknown(const struct node *n)
{
	uint64_t unknown = 0, left = n->members.live & ~(1ull << n->conf.id);

	for (; left != 0 && index_on(n->shard[0]); left &= left - 1) {
		const struct index_member *m = &n->index->m[__builtin_ctzll(left)];
		if (!m->heard || m->state != INDEX_FOLLOWING)
			unknown |= left & -left;
	}
	return unknown;
}

uint64_t index_lacking(const struct node *n)
{
	if (!index_on(n->shard[0]))
		return 0;
	return (LOAD(n->index->blind) | LOAD(n->index->behind)) & n->members.live;
}

bool index_maybe_used(const struct shard *s, const struct tripod_tuple *key)
{
	return index_candidates(s, index_print(store_hash(&s->store, key), key->direction)) != 0;
}

uint32_t index_round(struct shard *s)
{
	struct index *ix = s->node->index;
	uint32_t wanted = LOAD(ix->round_wanted), round = LOAD(ix->round_begun) + 1;

	while ((int32_t)(round - wanted) > 0 &&
		!atomic_compare_exchange_weak_explicit(&ix->round_wanted, &wanted, round,
			memory_order_relaxed, memory_order_relaxed))
		;
	return round;
}

bool index_round_lost(const struct shard *s, uint32_t round)
{
	return LOAD(s->node->index->round_lost) == round;
}

bool index_round_over(const struct shard *s, uint32_t round)
{
	return (int32_t)(LOAD(s->node->index->round_done) - round) >= 0;
}

bool index_round_whole(const struct shard *s, uint32_t round)
{
	return (int32_t)(LOAD(s->node->index->round_whole) - round) >= 0;
}

// ---- Changes ----

static bool is_behind(const struct shard *s, const struct index_member *m)
{
	uint64_t silent = 3 * s->conf->heartbeat_ms * MS;

	return !m->heard || m->newest != m->applied || s->now_ns - m->current_ns > silent;
}

// What the other workers see of it all.
static void publish(struct shard *s)
{
	struct index *ix = s->node->index;
	uint64_t known = 0, blind = 0, behind = 0;

	for (uint64_t left = s->node->members.configured; left != 0; left &= left - 1) {
		unsigned node = (unsigned)__builtin_ctzll(left);
		const struct index_member *m = &ix->m[node];
		uint64_t bit = left & -left;
		if (node == s->conf->id)
			continue;
		if (m->state != INDEX_SWEPT)
			known |= bit;
		if (m->state != INDEX_FOLLOWING || m->partial || m->overflowed)
			blind |= bit;
		else if (is_behind(s, m))
			behind |= bit;
	}
	STORE(ix->known, known);
	STORE(ix->blind, blind);
	STORE(ix->behind, behind);
}

// What is known of a member is void.
static void sweep(struct shard *s, unsigned node)
{
	struct index *ix = s->node->index;
	struct index_member *m = &ix->m[node];
	uint64_t bit = 1ull << node;

	m->overflowed = m->missing = false;
	m->copy_at = 0;
	m->copy_ns = 0;
	if (m->in_table && !(ix->sweeping & bit))
		ix->sweep_next |= bit;
	m->state = m->in_table ? INDEX_SWEPT : m->fresh ? INDEX_FOLLOWING : INDEX_COPYING;
	ix->next_ns = 0;
}

static void overflow(struct shard *s, struct index_member *m)
{
	if (!m->overflowed)
		m->overflowed_ns = s->now_ns;
	m->overflowed = true;
	count(s, C_index_full);
}

static void put(struct shard *s, unsigned node, const uint32_t *fp, unsigned n)
{
	struct index *ix = s->node->index;
	struct index_member *m = &ix->m[node];

	m->in_table |= n > 0;
	for (unsigned i = 0; i < n; i++) {
		if (i + AHEAD < n)
			index_map_prefetch(&ix->map, fp[i + AHEAD]);
		if (!index_map_set(&ix->map, fp[i], node))
			overflow(s, m);
	}
}

static void apply(struct shard *s, unsigned node, const struct wire_delta *d)
{
	struct index *ix = s->node->index;
	struct index_member *m = &ix->m[node];

	m->in_table |= d->n > 0;
	for (unsigned i = 0; i < AHEAD && i < d->n; i++)
		index_map_prefetch(&ix->map, d->fp[i]);
	for (unsigned i = 0; i < d->n; i++) {
		if (i + AHEAD < d->n)
			index_map_prefetch(&ix->map, d->fp[i + AHEAD]);
		if (i < d->n_removes)
			index_map_clear(&ix->map, d->fp[i], node);
		else if (!index_map_set(&ix->map, d->fp[i], node))
			overflow(s, m);
	}
	m->applied = d->seq;
	m->fresh = false;
	s->counters[C_index_rx_changes] += d->n;
}

static void send_ask(struct shard *s, unsigned node, const struct wire_ask *a)
{
	struct wire_header h;
	struct frame f;

	if (s->step->n_spare < STEP_SPARE_CONTROL / 2 || !control_begin(s, &f))
		return;
	control_header(s, &h, WIRE_ASK, node, 0);
	h.count = 1;
	int size = wire_put_ask(
		control_body(&f) + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, a);
	control_send(s, &f, &h, (uint16_t)(WIRE_HEADER_SIZE + size));
	s->counters[C_index_tx_bytes] += f.len;
}

// Asks for what is missing, or gives it up and fetches the whole.
static void catch_up(struct shard *s, unsigned node)
{
	struct index_member *m = &s->node->index->m[node];
	uint32_t lacks = m->newest - m->applied;

	if (lacks == 0) {
		m->missing = false;
		return;
	}
	if (!m->missing)
		count(s, C_index_gaps);
	m->missing = true;
	if (lacks >= HISTORY_SAFE) {
		m->fresh = false;
		sweep(s, node);
		return;
	}
	if (m->missed_ns != 0 && s->now_ns - m->missed_ns < REPEAT_NS)
		return;
	m->missed_ns = s->now_ns;
	send_ask(s, node, &(struct wire_ask){.what = WIRE_ASK_DELTAS, .from = m->applied + 1});
}

static bool follows(const struct index_member *m)
{
	return m->state == INDEX_FOLLOWING || (m->state == INDEX_COPYING && m->copy_at > 0);
}

// A member's answer to the round counts when all that came before it is here.
static void settle(struct shard *s, unsigned node)
{
	struct index *ix = s->node->index;
	struct index_member *m = &ix->m[node];

	if (m->newest == m->applied) {
		m->current_ns = s->now_ns;
		m->missed_ns = 0;
	}
	if (m->answering && (int32_t)(m->applied - m->answer) >= 0) {
		m->answering = false;
		ix->awaited &= ~(1ull << node);
		ix->next_ns = 0;
	}
}

void index_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	struct index *ix = s->node->index;
	struct index_member *m = &ix->m[h->from_node];
	struct wire_delta *d = &ix->rx;
	bool was_behind = is_behind(s, m), was_partial = m->partial;

	if (!index_on(s))
		return;
	if (wire_get_delta(body, len, h->count, d) != len) {
		count(s, C_drop_control_bad);
		return;
	}
	s->counters[C_index_rx_bytes] += h->length;
	m->partial = d->flags & WIRE_INDEX_PARTIAL;
	m->heard = true;
	if ((int32_t)(d->seq - m->newest) > 0)
		m->newest = d->seq;
	if (DEFECT(index) && (int32_t)(d->seq - m->applied) > 0)
		m->applied = d->seq - 1;
	if (d->n > 0 && follows(m) && d->seq == m->applied + 1) {
		apply(s, h->from_node, d);
		STORE(ix->serial, LOAD(ix->serial) + 1);
	}
	for (unsigned i = 0; i < d->n_answers; i++) {
		if (d->answer[i].node != s->conf->id || !ix->round_open ||
			d->answer[i].round != (uint8_t)LOAD(ix->round_begun))
			continue;
		m->answering = true;
		m->answer = d->seq;
	}
	if (follows(m)) {
		settle(s, h->from_node);
		catch_up(s, h->from_node);
	}
	if (was_behind != is_behind(s, m) || was_partial != m->partial || m->overflowed)
		publish(s);
}

// ---- Fetching a set ----

void index_copy_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	struct index *ix = s->node->index;
	struct index_member *m = &ix->m[h->from_node];
	struct wire_snapshot w;

	if (wire_get_snapshot(body, len, h->count, &w) != len) {
		count(s, C_drop_control_bad);
		return;
	}
	s->counters[C_index_rx_bytes] += h->length;
	if (m->state != INDEX_COPYING || w.first != m->copy_at)
		return;
	if (w.first == 0) {
		m->applied = m->newest = w.seq;
		m->copy_total = w.total;
		m->heard = true;
	} else if (w.total != m->copy_total || (int32_t)(w.seq - m->applied) < 0) {
		// Overtaken by a change: what that took out would come back. It is asked for again.
		return;
	} else if ((int32_t)(w.seq - m->newest) > 0) {
		m->newest = w.seq;
	}
	put(s, h->from_node, w.fp, w.n);
	m->copy_at += w.places;
	m->copy_left -= m->copy_left > 0;
	STORE(ix->serial, LOAD(ix->serial) + 1);
	if (m->copy_at == m->copy_total) {
		m->state = INDEX_FOLLOWING;
		count(s, C_index_snapshots);
		settle(s, h->from_node);
		publish(s);
	} else if (m->copy_left == 0) {
		m->copy_ns = 0; // the next at once
	}
	ix->next_ns = 0;
}

static void swept(struct shard *s)
{
	struct index *ix = s->node->index;

	for (uint64_t left = ix->sweeping; left != 0; left &= left - 1) {
		struct index_member *m = &ix->m[__builtin_ctzll(left)];
		m->in_table = false;
		if (m->state == INDEX_SWEPT)
			m->state = m->fresh ? INDEX_FOLLOWING : INDEX_COPYING;
	}
	ix->sweeping = 0;
	publish(s);
}

// A little at a time.
static void sweep_on(struct shard *s)
{
	struct index *ix = s->node->index;

	if (ix->sweeping == 0) {
		ix->sweeping = ix->sweep_next;
		ix->sweep_next = 0;
		ix->sweep_at = 0;
	}
	if (ix->sweeping == 0)
		return;
	index_map_sweep(&ix->map, ix->sweep_at, SWEEP_BUCKETS, ix->sweeping);
	ix->sweep_at += SWEEP_BUCKETS;
	if (ix->sweep_at >= ix->map.n_buckets)
		swept(s);
	s->step->more = true;
}

// What is to be done about one member. true: something is under way.
static bool look_after(struct shard *s, unsigned node, unsigned *copies)
{
	struct index_member *m = &s->node->index->m[node];
	const struct index_map *map = &s->node->index->map;

	if (!(s->live & 1ull << node)) {
		if (m->died_ns != 0 && s->now_ns - m->died_ns >= DEAD_NS && m->in_table &&
			m->state != INDEX_SWEPT) {
			m->fresh = false;
			sweep(s, node);
		}
		return false;
	}
	if (m->overflowed && s->now_ns - m->overflowed_ns >= OVERFLOW_NS &&
		map->used < map->keys - map->keys / 8) {
		m->fresh = false;
		sweep(s, node);
	}
	if (m->state == INDEX_COPYING && ++*copies <= COPIES &&
		(m->copy_ns == 0 || s->now_ns - m->copy_ns >= REPEAT_NS)) {
		m->copy_ns = s->now_ns;
		m->copy_left = COPY_PIECES;
		send_ask(
			s, node, &(struct wire_ask){.what = WIRE_ASK_SNAPSHOT, .from = m->copy_at});
	}
	if (follows(m) && m->newest != m->applied)
		catch_up(s, node);
	return m->state != INDEX_FOLLOWING || m->newest != m->applied;
}

// ---- Rounds ----

static void ask_round(struct shard *s)
{
	struct index *ix = s->node->index;

	ix->asked_ns = s->now_ns;
	send_ask(s, WIRE_ANY,
		&(struct wire_ask){
			.what = WIRE_ASK_ROUND, .round = (uint8_t)LOAD(ix->round_begun)});
}

// Those whose set is not here are asked themselves, and not waited for.
static void leave_out_blind(struct shard *s, uint64_t among)
{
	struct index *ix = s->node->index;
	uint64_t blind = LOAD(ix->blind);

	ix->round_blind |= (among & blind) != 0;
	ix->awaited = among & ~blind;
}

static void round_end(struct index *ix)
{
	ix->round_open = false;
	if (!ix->round_blind)
		STORE(ix->round_whole, LOAD(ix->round_begun));
	STORE(ix->round_done, LOAD(ix->round_begun));
}

// Begins a round, or ends it; returns when it is to be looked at again.
static uint64_t rounds(struct shard *s)
{
	struct index *ix = s->node->index;
	uint64_t timeout = s->conf->pull_timeout_ms * MS;

	if (ix->round_open) {
		leave_out_blind(s, ix->awaited & others(s));
		if (ix->awaited == 0) {
			round_end(ix);
		} else if (s->now_ns - ix->round_ns >= timeout) {
			count(s, C_index_ask_timeouts);
			// Of one that misses heartbeats, too, its backups have told.
			if (ix->awaited & shard_responsive(s))
				STORE(ix->round_lost, LOAD(ix->round_begun));
			round_end(ix);
		} else if (s->now_ns - ix->asked_ns >= REPEAT_NS) {
			ask_round(s);
		}
	}
	uint32_t begun = LOAD(ix->round_begun);
	bool wanted = (int32_t)(LOAD(ix->round_wanted) - begun) > 0;
	if (!ix->round_open && wanted && s->now_ns - ix->round_ns >= ROUND_NS) {
		STORE(ix->round_begun, begun + 1);
		ix->round_ns = s->now_ns;
		ix->round_blind = false;
		leave_out_blind(s, others(s));
		for (unsigned n = 0; n < NODES_MAX; n++)
			ix->m[n].answering = false;
		if (ix->awaited == 0) {
			round_end(ix);
		} else {
			ix->round_open = true;
			count(s, C_index_asks);
			ask_round(s);
		}
		wanted = false;
	}
	if (ix->round_open)
		return ix->asked_ns + REPEAT_NS;
	return wanted ? ix->round_ns + ROUND_NS : UINT64_MAX;
}

// ---- Members ----

void index_peer(struct shard *s, unsigned node, bool live, bool rebooted)
{
	struct index_member *m = &s->node->index->m[node];

	if (rebooted) {
		*m = (struct index_member){
			.in_table = m->in_table,
			.state = m->state,
			.fresh = true,
			.current_ns = s->now_ns,
		};
		sweep(s, node);
	}
	m->died_ns = live ? 0 : s->now_ns;
	publish(s);
	s->node->index->next_ns = 0;
}

uint64_t index_peers(struct shard *s)
{
	uint64_t next = s->now_ns + s->conf->heartbeat_ms * MS, round;
	unsigned copies = 0;

	if ((s->node->index->sweeping | s->node->index->sweep_next) != 0)
		sweep_on(s);
	for (uint64_t left = s->node->members.configured; left != 0; left &= left - 1) {
		unsigned node = (unsigned)__builtin_ctzll(left);
		if (node != s->conf->id && look_after(s, node, &copies))
			next = s->now_ns + MS;
	}
	publish(s); // time alone makes a silent member one that may be behind
	if ((s->node->index->sweeping | s->node->index->sweep_next) != 0)
		next = s->now_ns;
	round = rounds(s);
	return round < next ? round : next;
}
