// SPDX-License-Identifier: BSD-3-Clause
// What nodes tell each other is bounded by the configuration and by what valid traffic asks for, however
// much comes beside it. And how long a packet waits for a connection that this node has to ask for.
#include <netinet/in.h>

#include "sim/check.h"
#include "sim/world.h"

// Questions for index sets, answers to them, changes, and changes again for who has missed them: each.
#define ROUNDS_PER_S 1000
#define PER_PACKET 8 // messages of a node for each packet that hosts send or get, at most

uint64_t check_control_bound(const struct world *w, uint64_t ns, uint64_t valid_packets)
{
	const struct options *o = &w->o;
	uint64_t others = o->nodes - 1;
	uint64_t beats = others * 1000 / o->heartbeat_ms + 1;

	return (beats + 4 * ROUNDS_PER_S * others) * ns / SEC + PER_PACKET * valid_packets;
}

// What this node has done of its own accord: of copies that were lost, of copies that nobody tells of, and
// for who asks the switch. Each has a budget of its own.
static uint64_t work_of(const struct world *w, const struct sim_node *n)
{
	uint64_t counters[COUNTERS];

	if (n->node == NULL)
		return 0;
	node_counters(n->node, -1, counters);
	return counters[C_repairs] + counters[C_copies_compared] * (w->o.nodes - 1) +
	       counters[C_predicates_rx];
}

// Whose index has no room for what the others have, it asks them of each unknown tuple, as many as it may
// and they answer. That is counted, and told.
static uint64_t blind_questions(const struct world *w, uint64_t ns)
{
	uint64_t all[COUNTERS];

	if (!w->o.tiny)
		return 0;
	world_counters(w, all);
	return all[C_index_full] == 0 ? 0
				      : 2ull * (w->o.nodes - 1) * w->o.workers * w->o.pull_per_s *
						(ns + 100 * MS) / SEC;
}

void check_control(struct world *w)
{
	struct checker *c = &w->check;
	struct hosts_totals t = {};

	if (w->hosts != NULL)
		hosts_totals(w->hosts, &t);
	uint64_t ns = w->now_ns - c->control_ns;
	uint64_t most = check_control_bound(w, ns, t.packets - c->packets) + blind_questions(w, ns);
	for (unsigned i = 0; i < w->o.nodes; i++) {
		struct sim_node *n = &w->node[i];
		uint64_t sent = n->control - n->control_before, work = work_of(w, n);
		// Since it was last looked at, or since it started.
		uint64_t done = work >= n->work_before ? work - n->work_before : work;
		uint64_t may = most + done;
		n->control_before = n->control;
		n->work_before = work;
		if (sent > may)
			check_violation(w, "control", NULL, 0,
				"node %u has sent %llu messages to other nodes in %llu ms, %llu at "
				"most",
				i, (unsigned long long)sent, (unsigned long long)(ns / MS),
				(unsigned long long)may);
	}
	c->control_ns = w->now_ns;
	c->packets = t.packets;
}

// ---- Pulls ----

static uint32_t slot_of(unsigned i, const struct tripod_tuple *key)
{
	return (uint32_t)check_hash(key, sizeof(*key), 16 + i) % CHECK_PULLS;
}

void check_pull_begins(struct world *w, unsigned i, const struct peek *p)
{
	const struct tripod_tuple *key = &p->tuple;
	bool opens = key->proto == IPPROTO_TCP && (p->tcp_flags & 0x12) == 0x02;

	if (opens || p->icmp_error || w->node[i].state != NODE_UP)
		return;
	const struct store *s =
		&node_shard(w->node[i].node, toeplitz_worker(toeplitz_tuple(key), w->o.workers))
			 ->store;
	struct check_pull *pull = &w->check.pull[slot_of(i, key)];
	if (store_find(s, key, store_hash(s, key)).what == STORE_MISS &&
		!tripod_tuple_equal(&pull->key, key))
		*pull = (struct check_pull){.key = *key, .node = (uint8_t)i, .at_ns = w->now_ns};
}

void check_pull_ends(
	struct world *w, unsigned i, const struct conn *c, unsigned d, uint64_t answered_ns)
{
	struct check_pull *pull = &w->check.pull[slot_of(i, &c->dir[d].key)];

	if (pull->node != i || !tripod_tuple_equal(&pull->key, &c->dir[d].key))
		return;
	uint64_t began_ns = pull->at_ns, ticks = (w->now_ns - pull->at_ns) / CHECK_PULL_TICK_NS;
	memset(pull, 0, sizeof(*pull));
	// Else it was not known anywhere when the packet came.
	if (answered_ns != 0 && answered_ns <= began_ns)
		w->check.pulled[ticks < CHECK_PULL_TICKS ? ticks : CHECK_PULL_TICKS]++;
}

uint64_t check_pulls_within(const struct world *w, uint64_t ns)
{
	uint64_t n = 0;

	for (unsigned t = 0; t <= CHECK_PULL_TICKS && t < ns / CHECK_PULL_TICK_NS; t++)
		n += w->check.pulled[t];
	return n;
}
