// SPDX-License-Identifier: BSD-3-Clause
// What the hosts experience. A broken connection is a violation unless the contract excuses it; the
// rules are written down in README.md, and no others may be added here.
#include <stdlib.h>

#include "sim/check.h"
#include "sim/world.h"

// ---- NAT: no two live connections share what the responder sees ----

static uint32_t live_slot(const struct checker *c, const struct tripod_tuple *key)
{
	uint32_t at = (uint32_t)check_hash(key, sizeof(*key), 2) & (c->live_room - 1);

	while (c->live[at].id != 0 && !tripod_tuple_equal(&c->live[at].key, key))
		at = (at + 1) & (c->live_room - 1);
	return at;
}

static void live_remove(struct checker *c, uint32_t at)
{
	c->live[at].id = 0;
	c->live_n--;
	// Those behind it move up, so that no search ends too early.
	for (uint32_t next = (at + 1) & (c->live_room - 1); c->live[next].id != 0;
		next = (next + 1) & (c->live_room - 1)) {
		struct check_live moved = c->live[next];
		c->live[next].id = 0;
		c->live[live_slot(c, &moved.key)] = moved;
	}
}

static void live_grow(struct checker *c)
{
	struct check_live *old = c->live;
	uint32_t room = c->live_room;

	c->live_room *= 2;
	c->live = calloc(c->live_room, sizeof(*c->live));
	if (c->live == NULL)
		abort();
	for (uint32_t i = 0; i < room; i++) {
		if (old[i].id != 0)
			c->live[live_slot(c, &old[i].key)] = old[i];
	}
	free(old);
}

static void two_live(struct world *w, const struct hosts_event *e, uint64_t since_ns)
{
	struct tripod_tuple keys[2] = {e->opening, e->peer};
	char text[TRIPOD_TUPLE_STRLEN];

	check_violation(w, "nat", keys, 2,
		"two live connections reach the responder as %s, since %.6f s",
		tripod_tuple_format(&e->peer, text, sizeof(text)), (double)since_ns / 1e9);
}

// Hosts may hold on to a connection that is over: one end has aborted it and the other has not heard, or
// the gateway has lost it, which is for another rule to judge. Whether it lives, it shows by going on.
static void live_add(struct world *w, const struct hosts_event *e)
{
	struct checker *c = &w->check;

	if (e->peer.proto == 0)
		return;
	if (2 * c->live_n > c->live_room)
		live_grow(c);
	uint32_t at = live_slot(c, &e->peer);
	uint64_t before = c->live[at].id;
	if (before != 0 && before != e->id) {
		trace_note(&w->trace, w->now_ns, 255, "the tuple of another is used again");
		if (c->n_reused < CHECK_REUSED)
			c->reused[c->n_reused++] = (struct check_reused){before, w->now_ns};
		else
			two_live(w, e, w->now_ns);
	}
	c->live_n += before == 0;
	c->live[at] = (struct check_live){e->peer, e->id};
}

static void live_end(struct world *w, const struct hosts_event *e)
{
	struct checker *c = &w->check;

	if (e->peer.proto == 0)
		return;
	uint32_t at = live_slot(c, &e->peer);
	if (c->live[at].id == e->id)
		live_remove(c, at);
	for (unsigned r = c->n_reused; r-- > 0;) {
		if (c->reused[r].id != e->id)
			continue;
		if (e->last_progress_ns > c->reused[r].at_ns)
			two_live(w, e, c->reused[r].at_ns);
		c->reused[r] = c->reused[--c->n_reused];
	}
}

// ---- Failures ----

static bool copy_elsewhere(struct world *w, unsigned i, const struct conn *c)
{
	const struct tripod_tuple *key = &c->dir[0].key;
	unsigned k = toeplitz_worker(toeplitz_tuple(key), w->o.workers);

	for (unsigned n = 0; n < w->o.nodes; n++) {
		if (n == i || w->node[n].state != NODE_UP || w->faults.node[n].bad)
			continue;
		const struct store *s = &node_shard(w->node[n].node, k)->store;
		struct store_hit hit = store_find(s, key, store_hash(s, key));
		if (hit.what == STORE_CONN && store_conn(s, hit.index)->state == CONN_LIVE &&
			store_conn(s, hit.index)->incarnation == c->incarnation)
			return true;
	}
	return false;
}

// A message to a node that is to have a copy has been lost since the connection was answered, and the sender cannot have
// noticed that and sent it again.
bool check_log_lost(const struct world *w, unsigned i, const struct shard *s, uint32_t record,
	uint64_t answered_ns)
{
	uint64_t nodes = store_repl(&s->store, record)->holders & ~(1ull << i);

	for (; nodes != 0; nodes &= nodes - 1) {
		unsigned to = (unsigned)__builtin_ctzll(nodes);
		uint64_t lost_ns = w->node[i].lost_ns[to], rto_ns = 0;
		for (unsigned k = 0; k < w->o.workers; k++) {
			const struct channel *c = &s->peer[to].channel[k];
			rto_ns = c->rto_ns > rto_ns ? c->rto_ns : rto_ns;
		}
		if (lost_ns >= answered_ns && lost_ns + rto_ns + check_window_ns(w) >= w->now_ns)
			return true;
	}
	return false;
}

void check_failure(struct world *w, unsigned i, enum fault_kind kind)
{
	struct checker *c = &w->check;

	c->failure[c->n_failures++ % CHECK_FAILURES] = (struct check_failure){
		.at_ns = w->now_ns, .node = (uint8_t)i, .kind = (uint8_t)kind};
	if (w->node[i].node == NULL)
		return;
	for (unsigned k = 0; k < w->o.workers; k++) {
		const struct shard *s = node_shard(w->node[i].node, k);
		for (uint32_t r = 1; r <= s->store.capacity; r++) {
			const struct conn *conn = store_conn(&s->store, r);
			if (conn->state != CONN_LIVE || flood_owns(&conn->dir[0].key) ||
				copy_elsewhere(w, i, conn))
				continue;
			struct check_conn *known = check_conn_of(w, &conn->dir[0].key);
			if (known->incarnation != conn->incarnation)
				continue;
			known->alone_ns = w->now_ns;
			known->log_lost = check_log_lost(w, i, s, r, known->answered_ns);
		}
	}
}

void check_partition_over(struct world *w)
{
	struct checker *c = &w->check;

	for (unsigned f = 0; f < c->n_failures && f < CHECK_FAILURES; f++) {
		if (c->failure[f].kind == FAULT_PARTITION && c->failure[f].end_ns == 0)
			c->failure[f].end_ns = w->now_ns;
	}
}

static void parted(struct world *w, unsigned i, struct check_conn *k, unsigned d)
{
	unsigned last = k->dir[d].last;

	if (last == 255 && k->opening != 0)
		last = k->opener; // nothing has passed since the answer
	if (last < w->o.nodes && ((w->cut[i] >> last | w->cut[last] >> i) & 1))
		k->parted_ns = w->now_ns;
}

// A switch that sends no flow elsewhere while nodes are cut off sends fragments where it always has: to nodes that have
// relayed them until now, and know no more of their connection.
void check_arrival(struct world *w, unsigned i, const struct peek *p)
{
	if (!w->faults.partitioned || !p->first)
		return;
	struct check_conn *k = check_conn_of(w, &p->tuple);
	parted(w, i, k, 0);
	struct check_conn *answered = k->owner != 0 ? check_conn_by_hash(w, k->owner) : NULL;
	if (answered != NULL)
		parted(w, i, answered, 1);
}

void check_awake(struct world *w, unsigned i)
{
	struct checker *c = &w->check;

	for (unsigned f = c->n_failures; f-- > 0 && f + CHECK_FAILURES >= c->n_failures;) {
		struct check_failure *x = &c->failure[f % CHECK_FAILURES];
		if (x->node != i || x->kind == FAULT_PARTITION)
			continue;
		x->end_ns = w->now_ns;
		break;
	}
}

// ---- Broken connections ----

uint64_t check_window_ns(const struct world *w)
{
	uint64_t flight = 2 * (w->o.latency_ns + w->o.jitter_ns) + w->o.queue_us * 1000ull +
			  w->o.slow_us * 1000ull;

	return w->o.flush_us * 1000ull + 2000ull * (w->o.late_us + w->o.poll_us) + flight +
	       w->o.reorder_us * 1000ull;
}

bool check_limits_hit(struct world *w)
{
	static const enum counter limits[] = {C_drop_table_full, C_drop_embryonic_full,
		C_drop_wait_full, C_drop_ring_full, C_drop_relay_limit, C_drop_index_full,
		C_drop_neighbour_full, C_drop_sync_full, C_connections_evicted, C_pulls_limited,
		C_log_records_refused, C_log_queue_full, C_index_full};
	uint64_t all[COUNTERS], sum = w->totals.nic_drops;

	world_counters(w, all);
	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		sum += all[limits[i]];
	return sum > 0;
}

const char *const check_excuse_names[EXCUSES] = {
	[EXCUSE_BEYOND] = "excused_beyond",
	[EXCUSE_NO_COPIES] = "excused_no_copies",
	[EXCUSE_LIMIT] = "excused_limit",
	[EXCUSE_TWICE] = "excused_twice",
	[EXCUSE_FRESH] = "excused_fresh",
	[EXCUSE_LOG_LOST] = "excused_log_lost",
	[EXCUSE_CUT_OFF] = "excused_cut_off",
};

static bool moved_while_cut_off(
	const struct world *w, const struct hosts_event *e, const struct check_conn *k)
{
	uint64_t times[] = {
		k->dir[0].moved_ns, k->dir[1].moved_ns, k->answered_ns, e->opened_ns, k->parted_ns};
	uint64_t window = check_window_ns(w);

	for (unsigned f = 0; f < w->check.n_failures && f < CHECK_FAILURES; f++) {
		const struct check_failure *x = &w->check.failure[f];
		uint64_t end = x->end_ns == 0 ? w->now_ns : x->end_ns + SEC;
		if (x->kind != FAULT_PARTITION)
			continue;
		for (unsigned t = 0; t < sizeof(times) / sizeof(times[0]); t++) {
			if (times[t] + window >= x->at_ns && times[t] <= end)
				return true;
		}
	}
	return false;
}

// README.md, "What is excused".
static enum check_excuse excuse(struct world *w, const struct hosts_event *e)
{
	const struct check_conn *k = check_conn_of(w, &e->opening);

	if (w->o.beyond)
		return EXCUSE_BEYOND;
	if (w->o.durability == DURABILITY_NONE)
		return EXCUSE_NO_COPIES;
	if (w->o.tiny && check_limits_hit(w))
		return EXCUSE_LIMIT;
	if (k->twice_ns != 0 && e->last_progress_ns < k->twice_ns + 2 * SEC)
		return EXCUSE_TWICE;
	if (w->o.durability == DURABILITY_ASYNC && k->alone_ns != 0) {
		uint64_t age = k->alone_ns - k->answered_ns;
		if (k->answered_ns == 0 || age <= check_window_ns(w))
			return EXCUSE_FRESH;
		if (k->log_lost)
			return EXCUSE_LOG_LOST;
	}
	return moved_while_cut_off(w, e, k) ? EXCUSE_CUT_OFF : EXCUSES;
}

static void broken(struct world *w, const struct hosts_event *e)
{
	struct tripod_tuple keys[2] = {e->opening, e->peer};
	char text[TRIPOD_TUPLE_STRLEN];

	w->check.broken++;
	enum check_excuse why = excuse(w, e);
	tripod_tuple_format(&e->opening, text, sizeof(text));
	if (why != EXCUSES) {
		w->check.excused++;
		w->check.excused_by[why]++;
		trace_note(&w->trace, w->now_ns, 255, "broken, %s: %.60s", check_excuse_names[why],
			text);
		return;
	}
	check_violation(w, "broken", keys, e->peer.proto != 0 ? 2 : 1,
		"%s %s: %s (established %.3f s, last progress %.3f s)", hosts_kind_name(e->kind),
		text, e->why, (double)e->established_ns / 1e9, (double)e->last_progress_ns / 1e9);
}

void check_hosts(struct world *w, const struct hosts_event *e)
{
	struct tripod_tuple keys[2] = {e->opening, e->peer};
	char text[TRIPOD_TUPLE_STRLEN];

	trace_mix(&w->trace, e->id ^ (uint64_t)e->what << 56);
	switch (e->what) {
	case HOSTS_ESTABLISHED:
		w->check.connections++;
		live_add(w, e);
		break;
	case HOSTS_DONE:
	case HOSTS_REFUSED:
		live_end(w, e);
		break;
	case HOSTS_BROKEN:
		live_end(w, e);
		broken(w, e);
		break;
	case HOSTS_CORRUPT:
		live_end(w, e);
		w->check.corrupt++;
		check_violation(w, "corrupt", keys, e->id != 0 ? 2 : 0, "%s %s: %s",
			hosts_kind_name(e->kind),
			e->id != 0 ? tripod_tuple_format(&e->opening, text, sizeof(text)) : "",
			e->why);
		break;
	}
	if (e->what != HOSTS_DONE || e->longest_stall_ns <= w->check.longest_stall_ns)
		return;
	w->check.longest_stall_ns = e->longest_stall_ns;
	if (e->longest_stall_ns < SEC)
		return;
	trace_note(&w->trace, w->now_ns, 255, "the longest stall until now, %llu ms: %.60s",
		(unsigned long long)(e->longest_stall_ns / MS),
		tripod_tuple_format(&e->opening, text, sizeof(text)));
}
