// SPDX-License-Identifier: BSD-3-Clause
// Every packet that a node emits: the record that it was made from is found by the tuple of its
// answers. Packets of one life carry one set of write-once fields whichever node emits them, and a
// node whose epoch has been superseded long since emits nothing.
#include <netinet/in.h>

#include "sim/check.h"
#include "sim/world.h"

// So long may an old master not know: its messages cross, or are sent again.
#define GRACE_NS (500 * MS)

uint64_t check_once(const struct shard *s, const struct conn *c)
{
	const struct chain *chain = conn_chain(s, c);
	uint64_t h = check_hash(&c->dir[1].key, sizeof(c->dir[1].key), 1);

	for (unsigned r = 0; r < chain->n_once; r++)
		h = check_hash(c->nf + chain->once[r].offset, chain->once[r].size, h);
	return h;
}

uint64_t check_state(const struct shard *s, const struct conn *c)
{
	const struct chain *chain = conn_chain(s, c);
	uint64_t h = 0;

	for (unsigned r = 0; r < chain->n_runs; r++)
		h = check_hash(c->nf + chain->run[r].offset, chain->run[r].size, h);
	return h;
}

// Was everybody able to hear everybody for a while, and to keep what was said?
static bool calm(struct world *w)
{
	if (w->o.durability == DURABILITY_NONE)
		return false; // nobody is told of anybody's connections
	if (w->o.tiny && check_limits_hit(w))
		return false; // who has no room for a copy does not hear of the newer life
	for (unsigned f = w->check.n_failures; f-- > 0;) {
		const struct check_failure *x = &w->check.failure[f % CHECK_FAILURES];
		// What stood still or lost frames for longer than that hears of it afterwards.
		uint64_t hears_ns = x->kind == FAULT_PARTITION ? 2 * SEC : GRACE_NS;
		if (x->at_ns + 2 * SEC > w->now_ns || x->end_ns + hears_ns > w->now_ns)
			return false;
		// Its node does not count as dead, and what it is told nobody else is.
		if (x->end_ns == 0 && x->kind == FAULT_STALL)
			return false;
		if (x->at_ns + 10 * SEC < w->now_ns)
			break;
	}
	return true;
}

// The highest life of a key that any node has a record of.
static uint64_t highest(const struct world *w, const struct tripod_tuple *key)
{
	unsigned k = toeplitz_worker(toeplitz_tuple(key), w->o.workers);
	uint64_t most = 0;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		if (w->node[i].node == NULL)
			continue;
		const struct store *s = &node_shard(w->node[i].node, k)->store;
		struct store_hit hit = store_find(s, key, store_hash(s, key));
		if (hit.what == STORE_CONN && store_conn(s, hit.index)->incarnation > most)
			most = store_conn(s, hit.index)->incarnation;
	}
	return most;
}

void check_life(struct world *w, struct check_conn *k, uint64_t incarnation)
{
	// Once everybody has forgotten a key, its next life may have any number.
	if (incarnation < k->incarnation && highest(w, &k->key) <= incarnation)
		k->incarnation = 0;
	if (incarnation <= k->incarnation)
		return;
	k->incarnation = incarnation;
	k->older_ns = w->now_ns;
	k->answered_ns = 0;
	k->alone_ns = 0;
	k->log_lost = false;
	k->emitters = 0;
	k->walk = k->seen = 0;
	for (unsigned d = 0; d < 2; d++) {
		k->dir[d].epoch = 0;
		k->dir[d].last = 255;
	}
}

static void check_epoch(
	struct world *w, unsigned i, struct check_conn *k, unsigned d, const struct conn_version *v)
{
	int16_t ahead = (int16_t)(v->epoch - k->dir[d].epoch);

	if (k->dir[d].last == 255 || ahead > 0) {
		k->dir[d].epoch = v->epoch;
		k->dir[d].node = (uint8_t)i;
		k->dir[d].first_ns = w->now_ns;
	} else if (ahead < 0 && i != k->dir[d].node && w->now_ns - k->dir[d].first_ns > GRACE_NS) {
		w->check.stale_emissions++;
		if (calm(w))
			check_violation(w, "stale", &k->key, 1,
				"node %u emits direction %u in epoch %u, node %u has done so in "
				"epoch %u for %llu ms",
				i, d, v->epoch, k->dir[d].node, k->dir[d].epoch,
				(unsigned long long)((w->now_ns - k->dir[d].first_ns) / MS));
	}
	if (k->dir[d].last != i)
		k->dir[d].moved_ns = w->now_ns;
	k->dir[d].last = (uint8_t)i;
}

// A life that nobody has answered is known to its node alone, and may be begun anew elsewhere. One that
// has been answered is known to others soon: what is opened then is the next.
static void opened(struct world *w, unsigned i, struct check_conn *k, uint64_t once)
{
	bool known =
		k->answered_ns > k->opening_ns && w->now_ns > k->answered_ns + check_window_ns(w);

	if (k->opening != 0 && k->opening != once && k->opener != i && !known)
		k->twice_ns = w->now_ns;
	k->opening = once;
	k->opener = (uint8_t)i;
	k->opening_ns = w->now_ns;
}

static void emitted(struct world *w, unsigned i, const struct shard *s, uint32_t record, unsigned d)
{
	const struct conn *c = store_conn(&s->store, record);
	struct check_conn *k = check_conn_of(w, &c->dir[0].key);
	char text[TRIPOD_TUPLE_STRLEN];

	if (c->state != CONN_LIVE || c->dir[1].key.proto == 0)
		return;
	if (!(c->flags & CONN_ANSWERED)) {
		opened(w, i, k, check_once(s, c));
		return;
	}
	if (w->check.watch != NULL && w->check.watched.proto == 0 &&
		strstr(tripod_tuple_format(&k->key, text, sizeof(text)), w->check.watch) != NULL)
		w->check.watched = k->key;
	check_life(w, k, c->incarnation);
	if (c->incarnation < k->incarnation) {
		if (w->now_ns - k->older_ns > GRACE_NS && calm(w))
			check_violation(w, "stale", &k->key, 1,
				"node %u emits packets of an older life of %s", i,
				tripod_tuple_format(&k->key, text, sizeof(text)));
		return;
	}
	check_pull_ends(w, i, c, d, k->answered_ns);
	uint64_t once = check_once(s, c);
	if (k->once_of == c->incarnation && k->once != once) {
		struct tripod_tuple keys[2] = {c->dir[0].key, c->dir[1].key};
		check_violation(w, "write-once", keys, 2,
			"node %u emits other write-once fields than before for %s", i,
			tripod_tuple_format(&k->key, text, sizeof(text)));
	}
	k->once_of = c->incarnation;
	k->once = once;
	k->emitters |= 1ull << i;
	if (d == 1 && k->answered_ns == 0)
		k->answered_ns = w->now_ns;
	check_epoch(w, i, k, d, &store_repl(&s->store, record)->part[d]);
}

// Of the gateway itself: IPv6 neighbours.
static bool is_discovery(const struct peek *p)
{
	return p->tuple.proto == IPPROTO_ICMPV6 && p->tuple.sport == 0 && p->tuple.dport == 0;
}

void check_step(struct world *w, unsigned i, unsigned worker, const struct step *step)
{
	const struct shard *s = node_shard(w->node[i].node, worker);

	for (unsigned f = 0; f < step->n_tx; f++) {
		const struct frame *frame = &step->tx[f];
		enum tripod_direction side = frame->vlan == 10 ? TRIPOD_INCOMING : TRIPOD_OUTGOING;
		struct peek p;
		if ((frame->vlan != 10 && frame->vlan != 20) ||
			!peek(frame->data, frame->len, side, &p) || p.icmp_error || p.later ||
			is_discovery(&p) || flood_owns(&p.tuple))
			continue;
		// The answer's tuple, as it would arrive from where this packet goes.
		struct tripod_tuple back = tripod_tuple_reverse(&p.tuple);
		back.direction = side;
		struct store_hit hit = store_find(&s->store, &back, store_hash(&s->store, &back));
		w->check.emitted++;
		if (hit.what == STORE_CONN)
			emitted(w, i, s, hit.index, !hit.dir);
		else
			w->check.untied++;
	}
	check_kind_step(w, i, worker);
	check_watch(w, i);
}
