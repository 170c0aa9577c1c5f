// SPDX-License-Identifier: BSD-3-Clause
// Readiness. A node that starts is heard by the members long before it takes traffic: they send it
// what it should hold, and its port comes up when all have. A node that drains goes the other way:
// everything that it handles gets a copy elsewhere, then its port goes down, and it answers whoever
// asks until it leaves. docs/ARCHITECTURE.md, "Joining and draining".
#include "core/defect.h"
#include "core/shard.h"

#define UNSETTLED_NS (10 * 1000 * MS) // after a change of the switch's ports

const char *node_phase_name(enum node_phase phase)
{
	static const char *const names[] = {
		[NODE_STARTING] = "starting",
		[NODE_JOINING] = "joining",
		[NODE_READY] = "ready",
		[NODE_DRAINING] = "draining",
		[NODE_MOVING] = "moving",
		[NODE_DRAINED] = "drained",
		[NODE_LEAVING] = "leaving",
	};
	return phase <= NODE_LEAVING ? names[phase] : "?";
}

// ---- Joining ----

bool ready_has_served(const struct shard *s, unsigned node)
{
	const struct node *n = s->node;
	uint64_t boot = n->members.m[node].boot;
	bool all = boot != 0;

	for (unsigned w = 0; w < n->conf.workers; w++)
		all = all && atomic_load_explicit(
				     &n->shard[w]->served[node], memory_order_acquire) == boot;
	return all;
}

void ready_served_by(struct shard *s, unsigned node)
{
	if (s->now_ns < s->node->unserved_until_ns)
		return;
	s->node->served_by |= 1ull << node;
	s->node->reported |= 1ull << node;
}

static uint64_t refused(const struct node *n)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < n->conf.workers; w++)
		sum += *(const volatile uint64_t *)&n->shard[w]->counters[C_log_records_refused];
	return sum;
}

// With another chain there are more connections of which a node that joins should have copies: what the
// members have said so far is of those without, and so is what is still on its way.
void ready_chains(struct shard *s)
{
	struct node *n = s->node;

	n->served_by = 0;
	if (!n->joined) {
		n->reported = 0;
		n->refused_before = refused(n);
	}
	n->unserved_until_ns = s->now_ns + 3 * n->conf.heartbeat_ms * MS;
}

void ready_lost(struct shard *s, unsigned node)
{
	s->node->served_by &= ~(1ull << node);
}

uint64_t ready_unserved(const struct node *n)
{
	return n->members.live & ~n->served_by & ~(1ull << n->conf.id);
}

bool ready_hearing(const struct node *n, uint64_t now_ns)
{
	return now_ns - n->started_ns <= 2 * n->conf.dead_after_ms * MS;
}

// ---- NAT ports of former lives ----
//
// A node hands out NAT ports of its own block, one half of it in a life, the other in the next. What
// the life before the last has opened with the same half may live on elsewhere. It is here as well, and
// its port not free, once every member has sent what this node has opened; or it has ended by now.

uint64_t ready_unreported(const struct node *n)
{
	return n->members.configured & ~n->reported & ~(1ull << n->conf.id);
}

// What was sent and refused is not known here, after all.
static void look_at_ports(struct shard *s)
{
	struct node *n = s->node;

	if (atomic_load_explicit(&n->ports_clear, memory_order_relaxed))
		return;
	if (s->now_ns - n->started_ns >= n->conf.half_clear_ms * MS ||
		(ready_unreported(n) == 0 && refused(n) == n->refused_before))
		atomic_store_explicit(&n->ports_clear, true, memory_order_relaxed);
}

bool ready_ports_awaited(const struct node *n)
{
	return n->conf.chain->divides &&
	       !atomic_load_explicit(&n->ports_clear, memory_order_relaxed);
}

// ---- Taking traffic ----

// Everything for which a start waits.
static bool join_complete(const struct shard *s)
{
	const struct node *n = s->node;

	return !ready_hearing(n, s->now_ns) && ready_unserved(n) == 0 && index_unknown(n) == 0 &&
	       !fetch_pending(s) && !ready_ports_awaited(n);
}

// The time is over; but flows that need a port are better off elsewhere, if anybody is there.
static bool join_expired(const struct shard *s)
{
	const struct node *n = s->node;

	return !ready_hearing(n, s->now_ns) &&
	       s->now_ns - n->started_ns > n->conf.join_timeout_ms * MS &&
	       !(ready_ports_awaited(n) && (s->ports & ~shard_self(s)) != 0);
}

static void join(struct shard *s)
{
	struct node *n = s->node;

	if (n->joined)
		return;
	if (join_complete(s) || DEFECT(readiness)) {
		n->joined = true;
	} else if (join_expired(s)) {
		count(s, C_join_timeouts);
		n->joined = true;
	}
}

// ---- Draining ----

static bool all_copied(const struct shard *s, uint32_t drain)
{
	const struct node *n = s->node;
	bool all = (s->ports & ~shard_self(s)) != 0; // somebody must be there to take them

	for (unsigned w = 0; w < n->conf.workers; w++)
		all = all &&
		      atomic_load_explicit(&n->shard[w]->drained, memory_order_acquire) == drain;
	return all;
}

// No packet has come from the switch for a while, and its session with this node is down.
static bool quiet(const struct shard *s)
{
	const struct node *n = s->node;
	uint64_t last = n->moving_ns;

	for (unsigned w = 0; w < n->conf.workers; w++) {
		uint64_t at = atomic_load_explicit(&n->shard[w]->workload_ns, memory_order_relaxed);
		if (at > last)
			last = at;
	}
	return !(n->conf.bfd_enabled && n->bfd.state == BFD_UP) &&
	       s->now_ns - last >= n->conf.drain_quiet_ms * MS;
}

static enum node_phase drain_phase(const struct shard *s, enum node_phase was, uint32_t drain)
{
	bool moving = (was == NODE_MOVING || was == NODE_DRAINED) && s->node->moving == drain;

	if (moving)
		return quiet(s) ? NODE_DRAINED : NODE_MOVING;
	return all_copied(s, drain) ? NODE_MOVING : NODE_DRAINING;
}

void ready_worker_tick(struct shard *s)
{
	uint32_t drain = atomic_load_explicit(&s->node->drain, memory_order_relaxed);
	bool hears = !ready_hearing(s->node, s->now_ns);

	// Only now does it know who is there, and what it has to look after.
	if (hears && !s->hears)
		repl_repair_start(s, true);
	s->hears = hears;
	if (drain == s->drain)
		return;
	s->drain = drain;
	if (drain != 0) {
		s->draining |= shard_self(s);
		s->ports &= ~shard_self(s);
	} else {
		s->draining &= ~shard_self(s);
		s->ports |= shard_self(s);
	}
	kind_members(s);
	repl_repair_start(s, true);
}

// ---- Both ----

static enum node_phase next_phase(const struct shard *s, enum node_phase was)
{
	const struct node *n = s->node;
	uint32_t drain = atomic_load_explicit(&n->drain, memory_order_relaxed);

	if (atomic_load_explicit(&n->leaving, memory_order_relaxed))
		return NODE_LEAVING;
	if (!atomic_load_explicit(&n->ready, memory_order_relaxed))
		return NODE_STARTING;
	if (!n->joined)
		return NODE_JOINING;
	return drain == 0 ? NODE_READY : drain_phase(s, was, drain);
}

void ready_tick(struct shard *s)
{
	struct node *n = s->node;
	enum node_phase was = shard_phase(s), phase;

	look_at_ports(s);
	join(s);
	phase = next_phase(s, was);
	if (phase == was)
		return;
	if (phase == NODE_MOVING && was != NODE_DRAINED) {
		n->moving = atomic_load_explicit(&n->drain, memory_order_relaxed);
		n->moving_ns = s->now_ns;
	}
	n->takes_traffic = phase == NODE_READY || phase == NODE_DRAINING;
	atomic_store_explicit(&n->phase, phase, memory_order_relaxed);
	atomic_store_explicit(&n->phase_ns, s->now_ns, memory_order_relaxed);
	// The switch is about to move flows here, or away: what is unknown is asked for first.
	atomic_store_explicit(&n->suspect_ns, s->now_ns + UNSETTLED_NS, memory_order_relaxed);
	n->members.next_hello_ns = s->now_ns; // the others hear of it before the switch does
}

uint8_t ready_hello(const struct shard *s)
{
	uint8_t asks = ready_ports_awaited(s->node) ? WIRE_HELLO_ASKING : 0;

	switch (shard_phase(s)) {
	case NODE_READY:
		return WIRE_HELLO_READY | asks;
	case NODE_DRAINING:
		return WIRE_HELLO_READY | WIRE_HELLO_DRAINING | asks;
	case NODE_MOVING:
	case NODE_DRAINED:
		return WIRE_HELLO_DRAINING | asks;
	case NODE_LEAVING:
		return WIRE_HELLO_LEAVING;
	case NODE_STARTING:
	case NODE_JOINING:
		break;
	}
	return WIRE_HELLO_ASKING;
}
