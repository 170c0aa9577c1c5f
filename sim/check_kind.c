// SPDX-License-Identifier: BSD-3-Clause
// What connections of one source share on all nodes: nf/limit on the kinds of the core. How many a source
// has is counted here from the tables of connections, and compared with what nodes have written down.
#include <netinet/in.h>
#include <stdlib.h>

#include "core/hpsms/kinds.h"
#include "sim/check.h"
#include "sim/world.h"

// So many in a row without a change are a violation: what is wrong is said again.
#define SETTLED_WALKS 12
// Nodes have heard of each other's ports, and what they gave meanwhile opened.
#define AGREE_NS (1000 * MS)
#define REFUSED_NS (2500 * MS) // a claim is said again after two seconds
#define FORGOTTEN_NS (13 * SEC) // ... and forgotten after ten

// ---- Sources ----

// Of what this packet's side and address are a part; false: the rack does not limit it.
static bool source_of(
	const struct world *w, const struct tripod_tuple *key, struct check_source *out)
{
	unsigned bits = 96 + w->o.limit_per;

	if (flood_owns(key))
		return false;
	*out = (struct check_source){.src = key->src, .direction = key->direction};
	for (unsigned bit = bits; bit < 128; bit++)
		out->src.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return true;
}

static struct check_source *slot(const struct check_kinds *c, const struct check_source *want)
{
	uint64_t hash = check_hash(&want->src, sizeof(want->src), want->direction);
	uint32_t at = (uint32_t)hash & (c->room - 1);

	while (c->source[at].used && (c->source[at].direction != want->direction ||
					     !tripod_addr_equal(&c->source[at].src, &want->src)))
		at = (at + 1) & (c->room - 1);
	return &c->source[at];
}

static void grow(struct check_kinds *c)
{
	struct check_source *old = c->source;
	uint32_t room = c->room;

	c->room = room == 0 ? 256 : 2 * room;
	c->source = calloc(c->room, sizeof(*c->source));
	if (c->source == NULL)
		abort();
	for (uint32_t i = 0; i < room; i++) {
		if (old[i].used)
			*slot(c, &old[i]) = old[i];
	}
	free(old);
}

static struct check_source *of_key(struct world *w, const struct tripod_tuple *key)
{
	struct check_kinds *c = &w->check.kinds;
	struct check_source want;

	if (!source_of(w, key, &want))
		return NULL;
	if (2 * c->n >= c->room)
		grow(c);
	struct check_source *s = slot(c, &want);
	if (!s->used) {
		*s = want;
		s->used = true;
		c->n++;
	}
	if (s->walk != w->check.walk) {
		s->walk = w->check.walk;
		s->live = s->open = s->held = s->occupied = s->writers = s->copies = 0;
		s->written = NULL;
	}
	return s;
}

static const char *text_of(const struct check_source *s)
{
	static char text[TRIPOD_ADDR_STRLEN + 16];
	char addr[TRIPOD_ADDR_STRLEN];

	snprintf(text, sizeof(text), "%s %s", tripod_addr_format(&s->src, addr, sizeof(addr)),
		s->direction == TRIPOD_INCOMING ? "outside" : "inside");
	return text;
}

// ---- What goes wrong, and what that excuses ----

// No port went up or down in that time, and no node failed, left or came back in the other.
static bool undisturbed_for(const struct world *w, uint64_t ports_ns, uint64_t ns)
{
	if (w->check.kinds.moved_ns + ports_ns > w->now_ns)
		return false;
	for (unsigned i = 0; i < w->o.nodes; i++) {
		uint64_t failed_ns = w->faults.node[i].failed_ns,
			 back_ns = w->faults.node[i].back_ns;
		if (w->faults.node[i].bad || w->node[i].state != NODE_UP ||
			(failed_ns != 0 && failed_ns + ns > w->now_ns) ||
			(back_ns != 0 && back_ns + ns > w->now_ns))
			return false;
	}
	return true;
}

// Is anything too small, or was somebody let through without an answer?
static bool degraded(const struct world *w)
{
	uint64_t all[COUNTERS];

	world_counters(w, all);
	return all[C_kind_full] + all[C_kind_limited] > 0 ||
	       (!w->o.limit_refuses && all[C_kind_timeouts] > 0);
}

void check_kind_ports(struct world *w)
{
	w->check.kinds.moved_ns = w->now_ns;
}

// ---- A walk ----

void check_kind_record(struct world *w, unsigned i, const struct conn *c, const struct conn_repl *r)
{
	if (c->dir[1].key.proto == 0 || r->part[PART_SHARED].writer != i ||
		w->node[i].state != NODE_UP || w->faults.node[i].bad)
		return;
	struct check_source *s = of_key(w, &c->dir[0].key);
	if (s == NULL)
		return;
	struct check_conn *known = check_conn_of(w, &c->dir[0].key);
	// Without copies, nodes that have opened one connection count it each.
	if (known->counted_walk == w->check.walk && w->o.durability != DURABILITY_NONE)
		return;
	known->counted_walk = w->check.walk;
	s->live++;
	s->open += c->dir[0].key.proto != IPPROTO_TCP ||
		   tcp_state(&c->dir[0].tcp, &c->dir[1].tcp) != TCP_CLOSED;
}

static uint32_t most(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

// What a worker has, or may have been given.
static uint32_t occupied(const struct kind_claim *q)
{
	return most(most(q->units, q->held + q->waiting), q->asking ? q->wanted : 0);
}

static void walk_claims(struct world *w, const struct kind_table *t)
{
	for (uint32_t k = 1; k <= t->highest; k++) {
		const struct kind_claim *q = kind_at(t, k);
		struct check_source *s = q->n.used ? of_key(w, &q->n.key.tuple) : NULL;
		if (s == NULL)
			continue;
		s->held += q->held;
		s->occupied += occupied(q);
	}
}

static void walk_writers(struct world *w, unsigned i, const struct kind_table *t)
{
	for (uint32_t k = 1; k <= t->highest; k++) {
		const struct kind_entry *e = kind_at(t, k);
		struct check_source *s =
			e->n.used && e->writer == i ? of_key(w, &e->n.key.tuple) : NULL;
		if (s == NULL)
			continue;
		s->writers++;
		s->written = e;
	}
}

static const struct kind_part *part_of(const struct kind_entry *e, const struct kind_part *as)
{
	for (unsigned p = 0; p < e->n_parts; p++) {
		if (e->part[p].node == as->node && e->part[p].worker == as->worker)
			return &e->part[p];
	}
	return NULL;
}

static bool equal(const struct kind_entry *a, const struct kind_entry *b)
{
	bool same = a->epoch == b->epoch && a->version == b->version && a->writer == b->writer &&
		    memcmp(a->state, b->state, sizeof(a->state)) == 0;

	for (unsigned p = 0; same && p < a->n_parts; p++) {
		const struct kind_part *other = part_of(b, &a->part[p]);
		// What has been asked and changed nothing is not told.
		same = other == NULL ? a->part[p].units == 0 : other->units == a->part[p].units;
	}
	return same;
}

static void walk_copies(struct world *w, const struct kind_table *t)
{
	for (uint32_t k = 1; k <= t->highest; k++) {
		const struct kind_entry *e = kind_at(t, k);
		struct check_source *s = e->n.used ? of_key(w, &e->n.key.tuple) : NULL;
		if (s != NULL && s->written != NULL)
			s->copies += equal(s->written, e) && equal(e, s->written);
	}
}

static uint32_t units_of(const struct kind_entry *e)
{
	uint32_t units = 0;

	for (unsigned p = 0; e != NULL && p < e->n_parts; p++)
		units += e->part[p].units;
	return units;
}

// Who has what of it, into the trace.
static void note(struct world *w, const struct check_source *s)
{
	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++) {
			const struct kinds *q = &node_shard(w->node[i].node, k)->kinds;
			for (uint32_t n = 1; n <= q->claims.highest; n++) {
				const struct kind_claim *c = kind_at(&q->claims, n);
				if (c->n.used && of_key(w, &c->n.key.tuple) == s)
					trace_note(&w->trace, w->now_ns, i,
						"worker %u: %u connections, %u units, %u wait%s", k,
						c->held, c->units, c->waiting,
						c->asking ? ", asks" : "");
			}
			for (uint32_t n = 1; n <= q->entries.highest; n++) {
				const struct kind_entry *e = kind_at(&q->entries, n);
				if (!e->n.used || of_key(w, &e->n.key.tuple) != s)
					continue;
				trace_note(&w->trace, w->now_ns, i,
					"worker %u: entry (%u, %u, %u), %u units in %u parts", k,
					e->epoch, e->version, e->writer, units_of(e), e->n_parts);
			}
		}
	}
}

// More than there may be: so many at one time only while nodes disagreed on who gives. What TCP has closed may
// come back for a while with a copy, when an end has not heard of it.
static void check_limit(struct world *w, struct check_source *s, bool excused)
{
	uint32_t over = s->open > w->o.limit ? s->open - w->o.limit : 0;
	uint32_t may = most(
		s->live, s->occupied); // what has been given can be used until it is taken back

	w->check.kinds.most_over = most(w->check.kinds.most_over, over);
	if (over > s->over && !excused) {
		note(w, s);
		check_violation(w, "kind", NULL, 0, "%s has %u connections of %u", text_of(s),
			s->open, w->o.limit);
	}
	s->over = may > w->o.limit ? may - w->o.limit : 0;
}

// Nothing has gone wrong for long.
static void check_settled(struct world *w, struct check_source *s)
{
	uint32_t units = units_of(s->written), wanted = w->o.k + 1;
	bool none = s->live == 0 && s->writers == 0;
	bool wrong = !none && (s->writers != 1 || units != s->live || s->held != s->live ||
				      s->copies < wanted);
	uint64_t now = check_hash((uint32_t[]){s->live, s->held, units, s->writers, s->copies}, 20,
		s->written == NULL ? 0 : s->written->version);

	w->check.kinds.settled += s->live > 0 && !wrong;
	s->settled = wrong && now == s->before ? s->settled + 1 : 0;
	s->before = now;
	if (s->settled != SETTLED_WALKS)
		return;
	note(w, s);
	check_violation(w, "kind", NULL, 0,
		"%s has %u connections, workers hold %u, units %u, %u writers, "
		"%u copies of %u",
		text_of(s), s->live, s->held, units, s->writers, s->copies, wanted);
}

void check_kinds(struct world *w)
{
	struct check_kinds *c = &w->check.kinds;

	if (w->o.limit == 0)
		return;
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < w->o.nodes; i++) {
			for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++) {
				struct shard *s = node_shard(w->node[i].node, k);
				if (pass == 0) {
					walk_claims(w, &s->kinds.claims);
					walk_writers(w, i, &s->kinds.entries);
				} else {
					walk_copies(w, &s->kinds.entries);
				}
			}
		}
	}
	bool known = !degraded(w), agreed = known && undisturbed_for(w, AGREE_NS, AGREE_NS),
	     settled = known && w->check.quiet && undisturbed_for(w, FORGOTTEN_NS, FORGOTTEN_NS);
	for (uint32_t at = 0; at < c->room; at++) {
		struct check_source *s = &c->source[at];
		if (!s->used || s->walk != w->check.walk)
			continue;
		check_limit(w, s, !agreed);
		if (s->occupied >= w->o.limit)
			s->refused_ns = 0;
		if (settled)
			check_settled(w, s);
	}
}

// ---- Refusals ----

// All workers together, now.
static uint32_t occupied_now(const struct world *w, const struct kind_key *key)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++) {
			struct shard *s = node_shard(w->node[i].node, k);
			uint32_t at = kind_find(&s->kinds.claims, kind_hash(s, key), key);
			sum += at == 0 ? 0 : occupied(kind_claim_at(s, at));
		}
	}
	return sum;
}

static void refused(struct world *w, unsigned i, const struct kind_claim *q)
{
	struct check_source *s = of_key(w, &q->n.key.tuple);

	if (s == NULL)
		return;
	uint32_t sum = occupied_now(w, &q->n.key);
	// What the dead had counts for ten seconds more, what has moved twice until it is given back.
	if (sum >= w->o.limit || !undisturbed_for(w, REFUSED_NS, FORGOTTEN_NS) || degraded(w)) {
		s->refused_ns = 0;
		return;
	}
	w->check.kinds.roomy++;
	if (s->refused_ns == 0)
		s->refused_ns = w->now_ns;
	if (s->refused_ns + REFUSED_NS < w->now_ns)
		check_violation(w, "kind", NULL, 0,
			"node %u: %s is refused one more, all workers have %u of %u, and have had "
			"less for %llu ms",
			i, text_of(s), sum, w->o.limit,
			(unsigned long long)((w->now_ns - s->refused_ns) / MS));
}

void check_kind_step(struct world *w, unsigned i, unsigned worker)
{
	struct sim_worker *k = &w->node[i].worker[worker];
	const struct shard *s = node_shard(w->node[i].node, worker);
	const struct kind_table *t = &s->kinds.claims;

	if (w->o.limit == 0 || s->counters[C_kind_refused] == k->kinds_refused)
		return;
	k->kinds_refused = s->counters[C_kind_refused];
	for (uint32_t n = 1; n <= t->highest; n++) {
		const struct kind_claim *q = kind_at(t, n);
		if (q->n.used && q->answered_ns == w->now_ns && q->refused_until_ns > w->now_ns)
			refused(w, i, q);
	}
}
