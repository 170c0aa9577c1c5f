// SPDX-License-Identifier: BSD-3-Clause
// Which nodes hold the copies of a connection: those to which the switch would send its packets, now and
// after failures, so that no node has to fetch much then (minchurn.h, odds.h). Where that is not known,
// by rendezvous hashing over the members: every node computes the same from the key alone, and a member
// that comes or goes moves only its own share. A packet that arrives where there is no copy costs one
// PullReplica.
//
// Protection never waits: when a connection is answered, the node to which its packets go if this one
// dies gets its copy. The others are decided a little later, for a batch of connections, and leave with
// the same logs.
#include "core/shard.h"

#define STATE_BYTES 64 // of a record beside the NFs' states, on the wire
#define FADE_SHIFT 7 // of loads, each time that nodes tell each other: by half in about 90 times

// ---- By hashing alone ----

static uint64_t weight(uint64_t key_hash, unsigned node)
{
	struct rng r = {.state = key_hash ^ ((uint64_t)node + 1) * 0xd6e8feb86659fd93ull};
	return rng_next(&r);
}

uint64_t place_rendezvous(
	const struct shard *s, const struct tripod_tuple *key, uint64_t among, unsigned n)
{
	return place_by_hash(store_hash(&s->store, key), among, n);
}

uint64_t place_by_hash(uint64_t hash, uint64_t among, unsigned n)
{
	uint64_t chosen = 0;

	for (unsigned k = 0; k < n && among != 0; k++) {
		unsigned best = 0;
		uint64_t best_weight = 0;
		for (uint64_t left = among; left != 0; left &= left - 1) {
			unsigned node = (unsigned)__builtin_ctzll(left);
			uint64_t w = weight(hash, node);
			if (best_weight == 0 || w > best_weight) {
				best = node;
				best_weight = w;
			}
		}
		chosen |= 1ull << best;
		among &= ~(1ull << best);
	}
	return chosen;
}

// ---- By where packets will go ----

static unsigned count_of(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

static uint64_t highest_of(uint64_t set)
{
	return set != 0 ? 1ull << (63 - __builtin_clzll(set)) : 0;
}

// Two-stage: packets that are where they are by the second choice, or may be, move when any other node dies.
static bool by_second(
	const struct shard *s, const struct tripod_tuple *key, uint64_t ports, int now)
{
	uint64_t others = ports & ~(1ull << now);

	return s->conf->switch_model == SWITCH_TWO_STAGE && others != 0 &&
	       (predict_next(s, key, ports & ~(others & -others)) != now ||
		       predict_next(s, key, ports & ~highest_of(others)) != now);
}

// Where packets of a key go while the ports of `ports` are up, and after up to n failures. false: it is
// not known.
static bool route_of(const struct shard *s, const struct tripod_tuple *key, uint64_t ports,
	unsigned n, struct odds_route *r)
{
	enum switch_model model = s->conf->switch_model;
	int now = predict_next(s, key, ports);

	if (now < 0 || now >= NODES_MAX || !(ports & 1ull << now))
		return false;
	*r = (struct odds_route){
		.now = (uint8_t)now, .model = model == SWITCH_RESILIENT ? ODDS_CHAIN : ODDS_MODULO};
	if (model == SWITCH_TWO_STAGE && !by_second(s, key, ports, now))
		r->model = ODDS_TWO_STAGE;
	uint64_t up = model == SWITCH_MODULO ? ports : ports & ~(1ull << now);
	while (r->n < n && r->n < ODDS_FAILURES) {
		// A place says the same whichever ports are down: here, the highest ones.
		if (model == SWITCH_MODULO || (r->n > 0 && model == SWITCH_TWO_STAGE))
			up &= ~highest_of(up);
		int node = up != 0 ? predict_next(s, key, up) : NEXT_HOP_UNKNOWN;
		if (node < 0 || node >= NODES_MAX || !(up & 1ull << node))
			break;
		bool place = model != SWITCH_RESILIENT;
		r->then[r->n++] =
			(uint8_t)(place ? count_of(up & ((1ull << node) - 1)) : (unsigned)node);
		if (!place)
			up &= ~(1ull << node);
	}
	return true;
}

// A connection that is looked at.
struct look {
	uint64_t takers, answer, among; // that may have a copy; that answer; and have room
	uint64_t must; // nodes where its packets arrive now, or when those join that are joining
	unsigned least, wanted; // copies: k, and what makes failures of both directions harmless
	struct minchurn_item item; // its targets; n == 0: nothing is known
};

static void look_at(const struct shard *s, uint32_t i, struct look *l)
{
	const struct conn *c = store_conn(&s->store, i);
	struct placing *p = s->placing;
	uint64_t coming = s->live & ~s->draining & ~s->ports, now = 0;
	struct odds_route route[2];
	unsigned routes = 0;
	uint32_t bytes = STATE_BYTES + conn_chain(s, c)->wire_size;

	// Who has not this connection's chain is no backup for it. Who misses heartbeats is none as long as
	// there are others.
	l->takers = shard_takers(s) & s->chain_nodes[c->chain];
	l->answer = l->takers & shard_responsive(s);
	l->among = l->answer & ~s->refusing;
	l->must = 0;
	// The copy that leaves with this node makes one more necessary.
	l->least = l->wanted = s->conf->backups + (s->draining & shard_self(s) ? 1u : 0u);
	l->item = (struct minchurn_item){.allowed = l->among};
	if (s->conf->placement == PLACEMENT_RANDOM || l->least == 0)
		return;
	if (p->ports != s->ports || p->failures != l->least) {
		uint32_t dies[MINCHURN_NODES];
		for (unsigned j = 0; j < MINCHURN_NODES; j++) {
			uint64_t ppm = atomic_load_explicit(
				&s->node->failure_ppm[j], memory_order_relaxed);
			dies[j] = (uint32_t)(ODDS_ONE * ppm / 1000000);
		}
		odds_init(&p->odds, s->ports, dies, l->least);
		p->ports = s->ports;
		p->failures = l->least;
	}
	for (unsigned d = 0; d < 2; d++) {
		const struct tripod_tuple *key = &c->dir[d].key;
		struct odds_route *r = &route[d];
		if (key->proto == 0)
			continue;
		if (route_of(s, key, s->ports, l->least, r)) {
			now |= 1ull << r->now;
			odds_add(&p->odds, r, bytes, &l->item);
			routes++;
		}
		if (coming != 0) // ... and when the ports of those who join come up
			l->must |= predict_arrivals(s, key, s->ports | coming, 0);
	}
	l->must |= now;
	// Where the directions go different ways, failures of both are to be harmless.
	if (routes == 2 && memcmp(&route[0], &route[1], sizeof(route[0])) != 0)
		l->wanted = 2 * l->least + (count_of(now) == 2);
	if (l->wanted > HOLDERS_MAX - 2)
		l->wanted = HOLDERS_MAX - 2;
}

// Bytes that need not be fetched, on average, when these nodes have copies.
static uint64_t saved_by(const struct minchurn_item *item, uint64_t nodes)
{
	uint64_t bytes = 0;

	for (unsigned t = 0; t < item->n; t++)
		bytes += nodes >> item->node[t] & 1 ? item->bytes[t] : 0;
	return bytes;
}

// Of `among`, up to n nodes that save most.
static uint64_t best_of(const struct minchurn_item *item, uint64_t among, unsigned n)
{
	uint64_t chosen = 0;

	for (unsigned k = 0; k < n; k++) {
		unsigned top = item->n;
		for (unsigned t = 0; t < item->n; t++) {
			if ((among & ~chosen) >> item->node[t] & 1 &&
				(top == item->n || item->bytes[t] > item->bytes[top]))
				top = t;
		}
		if (top == item->n)
			break;
		chosen |= 1ull << item->node[top];
	}
	return chosen;
}

// What record i lacks when these nodes hold it.
static uint64_t missing_of(
	const struct shard *s, uint32_t i, const struct look *l, uint64_t holders)
{
	const struct conn *c = store_conn(&s->store, i);
	uint64_t has = holders | shard_self(s);
	uint64_t missing = l->must | (1ull << conn_opener(c) & s->joining);

	missing &= l->among & ~holders;
	unsigned copies = count_of((holders | missing) & l->answer);
	uint64_t best = best_of(&l->item, l->among & ~l->must, l->wanted);
	uint64_t useful = saved_by(&l->item, (holders | missing) & l->answer & ~l->must);
	// Copies stay where they are. When ports have changed and they have lost a good part of their use
	// there, others come to them.
	if (copies >= l->wanted && useful < saved_by(&l->item, best) / 3 * 2)
		missing |= best & ~has;
	else if (copies < l->wanted)
		missing |= best_of(&l->item, l->among & ~has & ~missing, l->wanted - copies);
	for (unsigned late = 0; late < 2; late++) {
		uint64_t counted = late ? l->takers : l->answer, free = counted & ~s->refusing;
		copies = count_of((holders | missing) & counted);
		if (copies < l->least)
			missing |= place_rendezvous(
				s, &c->dir[0].key, free & ~(holders | missing), l->least - copies);
	}
	return missing;
}

uint64_t place_missing(const struct shard *s, uint32_t i)
{
	struct look l;

	look_at(s, i, &l);
	return missing_of(s, i, &l, store_repl(&s->store, i)->holders);
}

uint64_t place_keep(const struct shard *s, uint32_t i, uint64_t more)
{
	const struct conn *c = store_conn(&s->store, i);
	uint64_t holders = store_repl(&s->store, i)->holders & ~shard_self(s);
	struct look l;

	look_at(s, i, &l);
	uint64_t among = holders & l.answer;
	uint64_t keep = (l.must & among) | best_of(&l.item, among & ~l.must, l.wanted);
	unsigned copies = count_of(keep);
	if (copies < l.least)
		keep |= place_rendezvous(s, &c->dir[0].key, among & ~keep, l.least - copies);
	// Not what would be wanted again at once.
	return missing_of(s, i, &l, keep | more | shard_self(s)) != 0 ? holders : keep;
}

// ---- Batches ----

void place_init(struct shard *s, struct arena *a)
{
	s->placing = arena_take(a, sizeof(*s->placing));
}

static bool waits(const struct placing *p, uint32_t i)
{
	for (unsigned n = 0; n < p->n; n++) {
		if (p->conn[n] == i)
			return true;
	}
	return false;
}

uint64_t place_now(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	struct placing *p = s->placing;
	struct look l;

	look_at(s, i, &l);
	uint64_t missing = missing_of(s, i, &l, store_repl(&s->store, i)->holders);
	// Both masters of a connection of sync choose, and must choose the same.
	if (count_of(missing & ~l.must) < 2 || l.item.n == 0 ||
		conn_durability(c) != DURABILITY_ASYNC || s->drain != 0)
		return missing;
	if (!waits(p, i)) {
		if (p->n == MINCHURN_BATCH)
			return missing;
		if (p->n == 0)
			p->since_ns = s->now_ns;
		p->conn[p->n++] = i;
	}
	uint64_t first = best_of(&l.item, missing & ~l.must, 1);
	return (missing & l.must) | (first != 0 ? first : missing);
}

// The loads to place on: this worker's share of what all have told, and what it has placed since.
static void take_loads(struct shard *s, struct minchurn *m)
{
	const struct placing_told *told = &s->node->told;
	struct placing *p = s->placing;
	uint32_t tells = atomic_load_explicit(&told->tells, memory_order_acquire);
	unsigned workers = count_of(s->live) * s->conf->workers;

	for (unsigned j = 0; j < MINCHURN_NODES; j++) {
		uint64_t placed = atomic_load_explicit(&p->placed[j], memory_order_relaxed);
		if (tells != p->tells) {
			placed -= placed >> FADE_SHIFT;
			atomic_store_explicit(&p->placed[j], placed, memory_order_relaxed);
			p->at_tell[j] = placed;
		}
		m->load[j] =
			minchurn_share(atomic_load_explicit(&told->load[j], memory_order_relaxed),
				workers) +
			placed - p->at_tell[j];
	}
	p->tells = tells;
}

// Adds what a batch makes to this worker's loads, and lets them fade.
static void keep_loads(struct shard *s, const struct minchurn *m)
{
	for (unsigned j = 0; j < MINCHURN_NODES; j++) {
		uint64_t placed =
			atomic_load_explicit(&s->placing->placed[j], memory_order_relaxed);
		placed += m->mine[j];
		if (placed > MINCHURN_LOAD_MAX)
			placed = MINCHURN_LOAD_MAX;
		atomic_store_explicit(&s->placing->placed[j], placed, memory_order_relaxed);
	}
}

// The records of the batch that still lack copies become its items.
static void fill_batch(struct shard *s)
{
	struct placing *p = s->placing;
	unsigned kept = 0;

	p->batch.n = 0;
	for (unsigned n = 0; n < p->n; n++) {
		uint32_t i = p->conn[n];
		const struct conn *c = store_conn(&s->store, i);
		const struct conn_repl *r = store_repl(&s->store, i);
		struct look l;
		// The record may be another's by now: that one lacks copies, or it does not.
		if (c->state != CONN_LIVE || !(c->flags & CONN_ANSWERED) ||
			conn_durability(c) == DURABILITY_NONE ||
			r->part[PART_SHARED].writer != s->conf->id)
			continue;
		look_at(s, i, &l);
		unsigned copies = count_of(r->holders & l.answer);
		if (copies >= l.wanted)
			continue;
		l.item.fixed = r->holders | shard_self(s);
		l.item.add = (uint8_t)(l.wanted - copies);
		l.item.any = (uint32_t)store_hash(&s->store, &c->dir[0].key);
		p->batch.item[p->batch.n++] = l.item;
		p->conn[kept++] = i;
	}
	p->n = kept;
}

static void close_batch(struct shard *s)
{
	struct placing *p = s->placing;

	fill_batch(s);
	if (p->n == 0)
		return;
	take_loads(s, &p->batch);
	minchurn_solve(&p->batch);
	keep_loads(s, &p->batch);
	s->counters[C_placed] += p->n;
	count(s, C_placements);
	p->closing = true;
	for (unsigned n = 0; n < p->n; n++) {
		const struct minchurn_item *item = &p->batch.item[n];
		uint32_t i = p->conn[n];
		uint64_t chosen = item->chosen;
		// Who misses heartbeats is not chosen, but better than nobody.
		if (count_of(chosen) < item->add)
			chosen |= place_missing(s, i);
		if (chosen == 0)
			continue;
		trim_admit(s, i, chosen);
		store_conn(&s->store, i)->flags |= CONN_REPLICATED;
		repl_changed(s, i, 1u << PART_SHARED | REPL_QUIET);
	}
	p->closing = false;
	p->n = 0;
}

// A batch waits for a part of what logs wait for others.
static uint64_t closes_ns(const struct shard *s)
{
	return s->placing->since_ns + s->conf->flush_us * 250ull;
}

void place_step(struct shard *s)
{
	struct placing *p = s->placing;

	if (p->n > 0 && (p->n == MINCHURN_BATCH || s->now_ns >= closes_ns(s)))
		close_batch(s);
}

uint64_t place_next_ns(const struct shard *s)
{
	return s->placing->n > 0 ? closes_ns(s) : UINT64_MAX;
}

// ---- What nodes tell each other: worker 0 ----

void place_heard(struct shard *s, unsigned node, const struct wire_hello *h)
{
	memcpy(s->node->told.by[node], h->load, sizeof(h->load));
}

void place_tell(struct shard *s, struct wire_hello *h)
{
	struct placing_told *told = &s->node->told;

	for (unsigned j = 0; j < MINCHURN_NODES; j++) {
		uint64_t mine = 0, all = 0;
		for (unsigned w = 0; w < s->conf->workers; w++)
			mine += atomic_load_explicit(
				&s->node->shard[w]->placing->placed[j], memory_order_relaxed);
		h->load[j] = minchurn_pack(mine);
		told->by[s->conf->id][j] = h->load[j];
		for (uint64_t left = s->live; left != 0; left &= left - 1)
			all += minchurn_unpack(told->by[__builtin_ctzll(left)][j]);
		atomic_store_explicit(&told->load[j], all, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&told->tells, 1, memory_order_release);
}
