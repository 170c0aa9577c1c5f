// SPDX-License-Identifier: BSD-3-Clause
// The phases of a run: the rack starts; the safety phase, in which things go wrong; the liveness phase,
// in which nothing does any more, and everything must come to an end.
#include "sim/world.h"

#include <stdlib.h>

#include "sim/pieces.h"

#define BEGIN_NS (100 * SEC) // nodes have been able to forget what was before
#define WALK_NS (250 * MS)
#define START_MAX_NS                                                                               \
	(40 * SEC) // until all ports are up: a half of NAT ports may have to clear first
#define UNANSWERED_NS (4 * SEC) // by then what nobody answers is forgotten (rackfile.c)
#define DRAIN_MAX_NS (1 * SEC) // beyond the repair time, since the ports are up
#define QUIET_NS (5 * SEC) // of the liveness phase, before connections are closed
#define COUNTED_NS                                                                                 \
	(12 * SEC) // ... and so much longer where they are counted by source (check_kind.c)
#define FINISH_MAX_NS (90 * SEC) // until hosts have closed all
#define EMPTY_MAX_NS (60 * SEC) // until nodes have forgotten all

void world_event(struct world *w, enum event_type type, uint64_t at_ns, unsigned node,
	unsigned worker, uint32_t serial)
{
	struct event e = {
		.at_ns = at_ns,
		.tie = (uint32_t)rng_next(&w->tie_rng),
		.serial = serial,
		.type = (uint8_t)type,
		.node = (uint8_t)node,
		.worker = (uint8_t)worker,
	};

	events_push(&w->events, &e);
}

// ---- Hosts ----

static void hosts_plan(struct world *w, uint64_t at_ns)
{
	if (at_ns == UINT64_MAX)
		return;
	w->hosts_due_ns = at_ns < w->now_ns ? w->now_ns : at_ns;
	world_event(w, EVENT_HOSTS, w->hosts_due_ns, 0, 0, ++w->hosts_serial);
}

static void hosts_changed(struct world *w)
{
	uint64_t due_ns = hosts_due_ns(w->hosts);

	if (due_ns < w->hosts_due_ns)
		hosts_plan(w, due_ns);
}

static void on_send(void *ctx, enum tripod_direction side, const uint8_t *bytes, uint16_t len)
{
	net_from_hosts(ctx, side, bytes, len);
}

static void on_event(void *ctx, const struct hosts_event *e)
{
	check_hosts(ctx, e);
}

void world_hosts_start(struct world *w)
{
	struct hosts_conf conf = w->o.hosts;

	conf.gateway_mac = RACKFILE_GATEWAY_MAC;
	conf.send = on_send;
	conf.event = on_event;
	conf.ctx = w;
	w->hosts = hosts_new(&conf, w->now_ns);
	if (w->hosts == NULL) {
		fprintf(stderr, "tripod-sim: the hosts cannot be made\n");
		abort();
	}
	hosts_plan(w, hosts_tick(w->hosts, w->now_ns));
}

// ---- Time ----

static void to_hosts(struct world *w, const struct event *e)
{
	enum tripod_direction side = (enum tripod_direction)e->node;

	struct peek p;

	if (peek(e->frame->data, e->frame->len, side, &p) && flood_owns(&p.tuple)) {
		w->flood.arrived++;
		net_bytes_release(w, e->frame);
		return;
	}
	w->totals.frames_to_hosts++;
	if (w->hosts != NULL) {
		uint16_t len = e->frame->len;
		const uint8_t *whole = w->pieces == NULL
					       ? e->frame->data
					       : pieces_join(w->pieces, e->frame->data, &len);
		if (whole != NULL) {
			hosts_rx(w->hosts, side, whole, len, w->now_ns);
			hosts_changed(w);
		}
	}
	net_bytes_release(w, e->frame);
}

static void to_node(struct world *w, const struct event *e)
{
	bool inside = e->vlan / 10 == 2;
	struct peek p;

	if (e->vlan >= 10 && e->vlan < 30 && node_run_alive(w, e->node) &&
		peek(e->frame->data, e->frame->len, inside ? TRIPOD_OUTGOING : TRIPOD_INCOMING,
			&p)) {
		trace_packet(&w->trace, w->now_ns, TRACE_RX, e->node, e->vlan % 10 == 1, &p);
		if (e->vlan % 10 == 0 && !flood_owns(&p.tuple) && !p.later)
			check_pull_begins(w, e->node, &p);
		if (e->vlan % 10 == 0)
			check_arrival(w, e->node, &p);
	}
	node_run_arrive(w, e->node, e->worker, e->frame, e->vlan);
}

static void happen(struct world *w, const struct event *e)
{
	switch ((enum event_type)e->type) {
	case EVENT_TO_NODE:
		to_node(w, e);
		break;
	case EVENT_TO_HOSTS:
		to_hosts(w, e);
		break;
	case EVENT_RUN:
		if (w->node[e->node].node != NULL &&
			w->node[e->node].worker[e->worker].serial == e->serial)
			node_run_step(w, e->node, e->worker);
		break;
	case EVENT_PORT:
		if (w->port[e->node].serial == e->serial)
			net_port_due(w, e->node);
		break;
	case EVENT_HOSTS:
		if (w->hosts_serial == e->serial) {
			w->hosts_due_ns = UINT64_MAX;
			hosts_plan(w, hosts_tick(w->hosts, w->now_ns));
		}
		break;
	case EVENT_FAULT:
		faults_event(w, e->serial, e->node);
		break;
	case EVENT_WALK:
		check_walk(w);
		for (unsigned i = 0; i < w->o.nodes; i++)
			node_run_retire(w, i);
		world_event(w, EVENT_WALK, w->now_ns + WALK_NS, 0, 0, 0);
		break;
	}
}

void world_until(struct world *w, uint64_t end_ns)
{
	struct event e;

	while (w->events.n > 0 && w->events.heap[0].at_ns <= end_ns && events_pop(&w->events, &e)) {
		w->now_ns = e.at_ns;
		happen(w, &e);
	}
	w->now_ns = end_ns;
}

// ---- A run ----

struct world *world_new(const struct options *o, FILE *trace)
{
	struct world *w = calloc(1, sizeof(*w));

	if (w == NULL)
		abort();
	w->o = *o;
	w->mistaken = o->ecmp;
	w->mistaken.seed++;
	w->now_ns = BEGIN_NS;
	w->hosts_due_ns = UINT64_MAX;
	w->pieces = o->cut_bytes != 0 ? pieces_new() : NULL;
	struct rng mix = {.state = o->seed};
	struct rng *all[] = {&w->net_rng, &w->fault_rng, &w->run_rng, &w->tie_rng, &w->node_rng,
		&w->move_rng, &w->flood.rng, &w->end_rng};
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		all[i]->state = rng_next(&mix) ^ (i + 1) * 0xd6e8feb86659fd93ull;
	trace_init(&w->trace, trace);
	check_init(w);
	faults_init(w);
	net_init(w);
	for (unsigned i = 0; i < o->nodes - o->late; i++)
		node_run_start(w, i);
	return w;
}

void world_free(struct world *w)
{
	struct event e;

	while (events_pop(&w->events, &e)) {
		if (e.frame != NULL)
			net_bytes_release(w, e.frame);
	}
	events_free(&w->events);
	for (unsigned i = 0; i < SIM_NODES_MAX; i++)
		node_run_free(w, i);
	while (w->free_bytes != NULL) {
		struct bytes *b = w->free_bytes;
		w->free_bytes = b->next;
		free(b);
	}
	hosts_free(w->hosts);
	pieces_free(w->pieces);
	check_free(w);
	trace_free(&w->trace);
	for (unsigned v = 0; v < SIM_VERSIONS; v++)
		free(w->rackfile[v]);
	free(w);
}

void world_counters(const struct world *w, uint64_t out[COUNTERS])
{
	memcpy(out, w->totals.counters, sizeof(w->totals.counters));
	for (unsigned i = 0; i < w->o.nodes; i++) {
		uint64_t one[COUNTERS];
		if (w->node[i].node == NULL)
			continue;
		node_counters(w->node[i].node, -1, one);
		for (unsigned c = 0; c < COUNTERS; c++)
			out[c] += one[c];
	}
}

static bool all_up(const struct world *w)
{
	uint64_t late = 0;

	for (unsigned i = w->o.nodes - w->o.late; i < w->o.nodes && !w->healed; i++)
		late |= 1ull << i;
	return ((w->up ^ (w->o.ecmp.ports & ~late)) & ~w->faults.draining) == 0;
}

static bool hosts_done(const struct world *w)
{
	struct hosts_totals t;

	hosts_totals(w->hosts, &t);
	return t.open == 0;
}

static bool tables_empty(const struct world *w)
{
	return check_empty((struct world *)w, false);
}

// Runs on until `done`, for a while at most.
static bool run_until(struct world *w, bool (*done)(const struct world *w), uint64_t most_ns)
{
	for (uint64_t end_ns = w->now_ns + most_ns; w->now_ns < end_ns;) {
		if (done(w))
			return true;
		world_until(w, w->now_ns + 100 * MS);
	}
	return done(w);
}

static bool drained(const struct world *w)
{
	return check_drained((struct world *)w, w->faults.draining, false);
}

static bool stop(const struct world *w)
{
	return w->check.n_violations > 0;
}

static void come_up(struct world *w)
{
	if (!run_until(w, all_up, START_MAX_NS))
		check_violation(w, "liveness", NULL, 0, "ports %llx are up, %llx should be",
			(unsigned long long)w->up,
			(unsigned long long)(w->o.ecmp.ports & ~w->faults.draining));
}

void world_finish(struct world *w)
{
	struct hosts_totals t;

	faults_heal(w);
	hosts_pause(w->hosts, true);
	come_up(w);
	// A drain waits for as long as there is no room elsewhere for what it gives.
	bool over = run_until(w, drained, DRAIN_MAX_NS + w->faults.repair_ns);
	if (!over && !(w->o.tiny && check_limits_hit(w)))
		check_drained(w, w->faults.draining, true);
	faults_undrain(w);
	come_up(w);
	world_until(w, w->now_ns + w->faults.repair_ns + UNANSWERED_NS);
	w->check.quiet = true;
	world_until(w, w->now_ns + QUIET_NS + (w->o.limit != 0 ? COUNTED_NS : 0));
	w->check.quiet = false;
	check_predictions(w);
	check_tables(w);
	if (stop(w))
		return;
	hosts_finish(w->hosts, w->now_ns);
	hosts_changed(w);
	if (!run_until(w, hosts_done, FINISH_MAX_NS)) {
		hosts_totals(w->hosts, &t);
		check_violation(w, "liveness", NULL, 0, "%llu connections do not end",
			(unsigned long long)t.open);
	}
	if (stop(w))
		return;
	if (!run_until(w, tables_empty, EMPTY_MAX_NS))
		check_empty(w, true);
	check_tables(w);
}

void world_run(struct world *w)
{
	world_event(w, EVENT_WALK, w->now_ns + WALK_NS, 0, 0, 0);
	if (!run_until(w, all_up, START_MAX_NS)) {
		check_violation(w, "liveness", NULL, 0, "ports %llx are up at the start",
			(unsigned long long)w->up);
		return;
	}
	world_hosts_start(w);
	faults_begin(w);
	uint64_t end_ns = w->now_ns + w->o.duration_ns;
	while (w->now_ns < end_ns && !stop(w))
		world_until(w, w->now_ns + 50 * MS < end_ns ? w->now_ns + 50 * MS : end_ns);
	if (!stop(w))
		world_finish(w);
	check_walk(w);
}
