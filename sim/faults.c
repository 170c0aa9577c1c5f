// SPDX-License-Identifier: BSD-3-Clause
#include "sim/faults.h"

#include "sim/world.h"

#define HANDOVER_MS 250 // as daemon/main.c: a node that leaves still forwards for so long

static uint32_t below(struct world *w, uint32_t bound)
{
	return rng_below(&w->fault_rng, bound);
}

// ---- The contract ----

bool faults_whole(struct world *w, unsigned i)
{
	struct faults *f = &w->faults;

	if (f->node[i].bad)
		return false;
	if (f->node[i].back_ns == 0)
		return true;
	if (!(w->up & 1ull << i)) // not yet there
		f->node[i].back_ns = w->now_ns;
	return w->now_ns - f->node[i].back_ns >= f->repair_ns;
}

static bool all_whole(struct world *w)
{
	bool all = true;

	for (unsigned i = 0; i < w->o.nodes; i++)
		all &= faults_whole(w, i);
	return all;
}

// May so many more nodes fail now?
static bool room(struct world *w, unsigned victims)
{
	struct faults *f = &w->faults;
	unsigned recent = 0, base = 0;

	if (w->o.beyond)
		return true;
	if (f->partitioned)
		return false;
	for (unsigned i = 0; i < w->o.nodes; i++) {
		bool whole = faults_whole(w, i);
		bool lately = !whole && w->now_ns - f->node[i].failed_ns < f->repair_ns;
		recent += lately;
		base += whole || lately;
	}
	unsigned most = w->o.k < base - 1 ? w->o.k : base - 1;
	return base > 0 && recent + victims <= most;
}

// Not there on purpose: nothing is excused, but the others are one fewer.
static void away(struct world *w, unsigned i)
{
	w->faults.node[i].bad = true;
	w->faults.node[i].failed_ns = w->now_ns;
	w->faults.node[i].back_ns = 1;
}

static void failed(struct world *w, unsigned i, enum fault_kind kind)
{
	away(w, i);
	check_failure(w, i, kind);
}

static void back(struct world *w, unsigned i)
{
	w->faults.node[i].bad = false;
	w->faults.node[i].back_ns = w->now_ns;
}

// What it has not heard meanwhile it hears from now on.
static void awake(struct world *w, unsigned i)
{
	back(w, i);
	check_awake(w, i);
}

// A node that is up and whole; -1: none of some tried.
static int victim(struct world *w)
{
	for (unsigned tries = 0; tries < 16; tries++) {
		unsigned i = below(w, w->o.nodes);
		if (w->node[i].state == NODE_UP && faults_whole(w, i))
			return (int)i;
	}
	return -1;
}

// ---- Faults ----

static void again_us(struct world *w, unsigned serial, uint64_t us)
{
	struct fault *f = &w->faults.list[serial];

	f->ends_ns = w->now_ns + us * 1000;
	world_event(w, EVENT_FAULT, f->ends_ns, 0, 0, serial);
}

static void again(struct world *w, unsigned serial, uint64_t ms)
{
	again_us(w, serial, ms * 1000);
}

static void cut(struct world *w, const struct fault *f, bool on)
{
	uint64_t all = w->o.ecmp.ports;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		bool inside = f->side >> i & 1;
		uint64_t to = inside ? all & ~f->side : f->one_way ? 0 : f->side;
		w->cut[i] = on ? to : 0;
	}
}

static void begin_partition(struct world *w, struct fault *f)
{
	w->faults.partitioned = true;
	for (unsigned i = 0; i < w->o.nodes; i++) {
		if (f->side >> i & 1)
			failed(w, i, FAULT_PARTITION);
	}
	cut(w, f, true);
	trace_note(&w->trace, w->now_ns, 255, "nodes %llx are cut off%s",
		(unsigned long long)f->side, f->one_way ? " one way" : "");
}

static void end_partition(struct world *w, const struct fault *f)
{
	cut(w, f, false);
	w->faults.partitioned = false;
	for (unsigned i = 0; i < w->o.nodes; i++) {
		if (f->side >> i & 1)
			back(w, i);
	}
	trace_note(&w->trace, w->now_ns, 255, "nobody is cut off any more");
	check_partition_over(w);
}

// All nodes are given the next version, each in its own time; then each makes it current.
static void begin_reconfigure(struct world *w, struct fault *f)
{
	unsigned serial = (unsigned)(f - w->faults.list);
	struct hosts_totals t = {};

	w->faults.reconfiguring = true;
	w->newest++;
	for (unsigned i = 0; i < w->o.nodes; i++) {
		world_event(w, EVENT_FAULT, w->now_ns + below(w, 300) * MS, i, 0, serial);
		world_event(w, EVENT_FAULT, w->now_ns + (600 + below(w, 900)) * MS, i, 0, serial);
	}
	world_event(w, EVENT_FAULT, w->now_ns + 1600 * MS, 255, 0, serial);
	if (w->hosts != NULL)
		hosts_totals(w->hosts, &t);
	w->totals.reconfigured += t.open;
}

// ---- Flows that move, although nobody has failed ----

static void flutter(struct world *w, unsigned i, bool down)
{
	w->port[i].fluttered = down;
	net_port_changed(w, i);
}

// Some ports, as when a card of the switch has a bad contact: flows of one node reach a second, and then a
// third, before the second could tell.
static void begin_flutter(struct world *w, struct fault *f)
{
	f->side = 1ull << f->node;
	for (unsigned more = 2 + rng_below(&w->move_rng, 4); more > 0; more--)
		f->side |= 1ull << rng_below(&w->move_rng, w->o.nodes);
	w->faults.fluttering = f->side;
	f->stage = (uint8_t)(20 + rng_below(&w->move_rng, 230));
	f->pace_us = 200u << rng_below(&w->move_rng, 5);
	trace_note(&w->trace, w->now_ns, 255, "ports %llx flutter every %u us",
		(unsigned long long)f->side, f->pace_us);
}

static void end_flutter(struct world *w, const struct fault *f)
{
	for (unsigned i = 0; i < w->o.nodes; i++) {
		if (f->side >> i & 1)
			flutter(w, i, false);
	}
	w->faults.fluttering = 0;
	trace_note(&w->trace, w->now_ns, 255, "ports %llx flutter no more",
		(unsigned long long)f->side);
}

// Each of the ports goes up or down, or stays. true: there is one more change to come.
static bool flutter_stage(struct world *w, struct fault *f, unsigned serial)
{
	if (f->stage-- == 0)
		return false;
	for (uint64_t side = f->side; side != 0; side &= side - 1) {
		unsigned i = (unsigned)__builtin_ctzll(side);
		bool others = w->up & ~(1ull << i); // somebody has to be there
		flutter(w, i, others && rng_below(&w->move_rng, 2) == 0);
	}
	again_us(w, serial, 1 + rng_below(&w->move_rng, 2 * f->pace_us));
	return true;
}

static void begin_flood(struct world *w, const struct fault *f)
{
	enum flood_kind kind = (enum flood_kind)w->o.flood_kind;

	w->faults.flooded = true;
	if (kind == FLOOD_KINDS)
		kind = (enum flood_kind)rng_below(&w->flood.rng, FLOOD_KINDS);
	if (kind == FLOOD_COLLIDING && w->flood.n_pairs == 0)
		flood_find_pairs(w, 1 << 20);
	flood_begin(w, kind, w->o.flood_per_s);
	trace_note(&w->trace, w->now_ns, 255, "a flood of %u packets/s, %s, begins",
		w->o.flood_per_s, flood_names[kind]);
	world_event(w, EVENT_FAULT, w->now_ns + 1, 1, 0, (unsigned)(f - w->faults.list));
}

static void set_slow(struct world *w, uint32_t us)
{
	w->slow_us = us;
	w->faults.slow = us > 0;
	trace_note(&w->trace, w->now_ns, 255, "nodes hear each other %u us later", us);
}

static void begin(struct world *w, struct fault *f)
{
	unsigned i = f->node;

	switch (f->kind) {
	case FAULT_KILL:
		failed(w, i, f->kind);
		node_run_kill(w, i);
		break;
	case FAULT_FREEZE:
		failed(w, i, f->kind);
		node_run_freeze(w, i, true);
		break;
	case FAULT_STALL:
		failed(w, i, f->kind);
		node_run_stall(w, i, f->worker, true);
		break;
	case FAULT_PARTITION:
		begin_partition(w, f);
		break;
	case FAULT_FLAP:
		w->port[i].flapped = true;
		net_port_changed(w, i);
		break;
	case FAULT_LOSS:
		failed(w, i, f->kind);
		w->port[i].loss = 100000 + below(w, 900001);
		trace_note(&w->trace, w->now_ns, i, "loses %u%% of all frames",
			w->port[i].loss / 10000);
		break;
	case FAULT_RESTART:
		away(w, i);
		trace_note(&w->trace, w->now_ns, i, "wants to leave");
		node_set_ready(w->node[i].node, false);
		break;
	case FAULT_DRAIN:
		away(w, i);
		trace_note(&w->trace, w->now_ns, i, "drains");
		node_set_draining(w->node[i].node, true);
		break;
	case FAULT_RECONFIGURE:
		begin_reconfigure(w, f);
		break;
	case FAULT_FLUTTER:
		begin_flutter(w, f);
		break;
	case FAULT_FLOOD:
		begin_flood(w, f);
		break;
	case FAULT_SLOW:
		set_slow(w, 1 + rng_below(&w->move_rng, w->o.slow_us));
		break;
	default:
		break;
	}
}

// A drain goes on until nothing arrives any more; then the node takes its part again, or restarts.
static bool drain_stage(struct world *w, struct fault *f, unsigned serial)
{
	struct node_status st;

	if (f->stage == 0) {
		node_status(w->node[f->node].node, &st);
		if (st.phase != NODE_DRAINED) {
			again(w, serial, 20);
			return true;
		}
		trace_note(&w->trace, w->now_ns, f->node, "is drained");
		f->stage = below(w, 2) == 0 ? 3 : 1;
		if (f->stage == 3) {
			again(w, serial, 20 + below(w, 500));
			return true;
		}
	} else if (f->stage == 3) {
		node_set_draining(w->node[f->node].node, false);
		trace_note(&w->trace, w->now_ns, f->node, "drains no more");
		back(w, f->node);
		f->active = false;
		return true;
	}
	return false;
}

// The next stage of a planned restart. true: there is one more.
static bool next_stage(struct world *w, struct fault *f, unsigned serial)
{
	unsigned i = f->node;

	switch (f->stage++) {
	case 0:
		node_set_leaving(w->node[i].node);
		again(w, serial, w->o.heartbeat_ms + 10);
		return true;
	case 1:
		node_run_kill(w, i);
		again(w, serial, 20 + below(w, 500));
		return true;
	default:
		node_run_start(w, i);
		back(w, i);
		return false;
	}
}

static void end(struct world *w, struct fault *f)
{
	unsigned i = f->node;

	f->active = false;
	switch (f->kind) {
	case FAULT_KILL:
	case FAULT_ADD:
		node_run_start(w, i);
		back(w, i);
		break;
	case FAULT_FREEZE:
		node_run_freeze(w, i, false);
		awake(w, i);
		break;
	case FAULT_STALL:
		node_run_stall(w, i, f->worker, false);
		awake(w, i);
		break;
	case FAULT_PARTITION:
		end_partition(w, f);
		break;
	case FAULT_FLAP:
		w->port[i].flapped = false;
		net_port_changed(w, i);
		break;
	case FAULT_LOSS:
		w->port[i].loss = 0;
		trace_note(&w->trace, w->now_ns, i, "loses no more");
		awake(w, i);
		break;
	case FAULT_FLUTTER:
		end_flutter(w, f);
		break;
	case FAULT_FLOOD:
		w->faults.flooded = false;
		break;
	case FAULT_SLOW:
		set_slow(w, 0);
		break;
	default:
		break;
	}
}

unsigned faults_make(struct world *w, enum fault_kind kind, unsigned node, unsigned ms)
{
	struct faults *f = &w->faults;

	if (f->n + 1 >= FAULTS_MAX)
		return 0;
	unsigned serial = ++f->n;
	f->list[serial] = (struct fault){.kind = kind,
		.node = (uint8_t)node,
		.worker = kind < FAULT_FLUTTER ? (uint8_t)below(w, w->o.workers) : 0,
		.active = true,
		.began_ns = w->now_ns};
	if (kind == FAULT_PARTITION) {
		f->list[serial].side = 1ull << node;
		f->list[serial].one_way = below(w, 3) == 0;
		for (unsigned more = below(w, w->o.k); more > 0; more--)
			f->list[serial].side |= 1ull << below(w, w->o.nodes);
	}
	begin(w, &f->list[serial]);
	if (kind == FAULT_RESTART || kind == FAULT_DRAIN)
		ms = kind == FAULT_DRAIN ? 20 : HANDOVER_MS;
	if (kind == FAULT_RECONFIGURE)
		ms = 0;
	if (ms > 0)
		again(w, serial, ms);
	return serial;
}

static unsigned duration_ms(struct world *w, enum fault_kind kind)
{
	switch (kind) {
	case FAULT_KILL: // one in four is not there again before the end
		return below(w, 4) == 0 ? 0 : 20 + below(w, 1500);
	case FAULT_FLAP:
		return 20 + below(w, 800);
	case FAULT_LOSS:
		return 20 + below(w, 500);
	case FAULT_PARTITION:
		return 20 + below(w, 1500);
	default:
		return below(w, 3) == 0 ? 20 + below(w, 3000) : 20 + below(w, 600);
	}
}

static void draw(struct world *w)
{
	static const enum fault_kind kinds[] = {FAULT_KILL, FAULT_KILL, FAULT_FREEZE, FAULT_STALL,
		FAULT_PARTITION, FAULT_FLAP, FAULT_FLAP, FAULT_LOSS, FAULT_RESTART, FAULT_DRAIN,
		FAULT_RECONFIGURE};
	enum fault_kind kind = kinds[below(w, sizeof(kinds) / sizeof(kinds[0]))];
	int node = victim(w);
	bool fits = node >= 0 && options_fault(&w->o, kind);

	if (!fits)
		return;
	if (kind == FAULT_FLAP)
		fits = w->o.beyond || (!w->faults.partitioned && w->up != 1ull << node);
	else if (kind == FAULT_PARTITION)
		fits = !w->faults.partitioned &&
		       (w->o.beyond ||
			       (all_whole(w) && !w->faults.fluttering && w->up == w->o.ecmp.ports));
	else if (kind == FAULT_RECONFIGURE)
		fits = !w->faults.reconfiguring && w->newest + 1 < SIM_VERSIONS;
	else
		fits = room(w, 1);
	if (fits)
		faults_make(w, kind, (unsigned)node, duration_ms(w, kind));
	else
		w->faults.skipped++;
}

// With a stream of its own: what else goes wrong stays as it is.
static void draw_moves(struct world *w)
{
	struct faults *f = &w->faults;
	unsigned i = rng_below(&w->move_rng, w->o.nodes);
	bool moves = options_fault(&w->o, FAULT_FLUTTER) && !f->fluttering &&
		     (w->o.beyond || !f->partitioned);

	if (options_fault(&w->o, FAULT_SLOW) && !f->slow)
		faults_make(w, FAULT_SLOW, 0, 20 + rng_below(&w->move_rng, 400));
	if (options_fault(&w->o, FAULT_FLOOD) && !f->flooded && rng_below(&w->move_rng, 3) == 0)
		faults_make(w, FAULT_FLOOD, 0, 20 + rng_below(&w->move_rng, 400));
	unsigned serial =
		moves && rng_below(&w->move_rng, 3) > 0 ? faults_make(w, FAULT_FLUTTER, i, 0) : 0;
	if (serial != 0)
		again_us(w, serial, 1);
	uint64_t wait_ns = w->o.fault_every_ms * MS / 4 +
			   rng_below(&w->move_rng, w->o.fault_every_ms * 500) * 1000ull;
	world_event(w, EVENT_FAULT, w->now_ns + wait_ns, 1, 0, 0);
}

// The next stage of what has several. true: there is one more.
static bool goes_on(struct world *w, struct fault *f, unsigned serial, unsigned node)
{
	if (f->kind == FAULT_RECONFIGURE) {
		if (node < w->o.nodes)
			node_run_reconfigure(w, node, w->newest);
		w->faults.reconfiguring = f->active = node < w->o.nodes;
		return true;
	}
	if (f->kind == FAULT_FLUTTER)
		return flutter_stage(w, f, serial);
	if (f->kind == FAULT_FLOOD && node == 1) {
		flood_step(w);
		world_event(w, EVENT_FAULT, w->now_ns + FLOOD_STEP_US * 1000, 1, 0, serial);
		return true;
	}
	if (f->kind == FAULT_DRAIN && (f->stage == 0 || f->stage == 3)) {
		if (drain_stage(w, f, serial))
			return true;
		f->stage = 0;
		f->kind = FAULT_RESTART;
	}
	return f->kind == FAULT_RESTART && next_stage(w, f, serial);
}

void faults_event(struct world *w, uint32_t serial, unsigned node)
{
	struct fault *f = &w->faults.list[serial];

	if (w->healed)
		return;
	if (serial == 0 && node == 1) {
		draw_moves(w);
	} else if (serial == 0) {
		draw(w);
		uint64_t wait_ns = w->o.fault_every_ms * MS / 2 +
				   below(w, w->o.fault_every_ms * 1000) * 1000ull;
		world_event(w, EVENT_FAULT, w->now_ns + wait_ns, 0, 0, 0);
	} else if (f->active && !goes_on(w, f, serial, node)) {
		end(w, f);
	}
}

void faults_init(struct world *w)
{
	struct faults *f = &w->faults;

	f->repair_ns = (500ull + 3 * w->o.dead_after_ms) * MS +
		       (uint64_t)w->o.hosts.connections_max * SEC / w->o.repair_per_s;
	for (unsigned i = w->o.nodes - w->o.late; i < w->o.nodes; i++)
		f->node[i].bad = true;
}

void faults_begin(struct world *w)
{
	for (unsigned i = w->o.nodes - w->o.late; i < w->o.nodes; i++) {
		unsigned serial = faults_make(w, FAULT_ADD, i, 0);
		again(w, serial, 1 + below(w, (uint32_t)(w->o.duration_ns / MS)));
	}
	world_event(w, EVENT_FAULT, w->now_ns + below(w, w->o.fault_every_ms) * MS, 0, 0, 0);
	if (w->o.faults >> FAULT_FLUTTER != 0)
		world_event(w, EVENT_FAULT, w->now_ns + 1, 1, 0, 0);
}

// One more drain, of a node that takes traffic, while what was wrong is made up for; somebody must be there to take
// what it gives.
static void drain_at_last(struct world *w)
{
	unsigned i = rng_below(&w->end_rng, w->o.nodes);
	uint64_t draining = w->faults.draining | 1ull << i;

	if (!options_fault(&w->o, FAULT_DRAIN) || rng_below(&w->end_rng, 2) == 0 ||
		!(w->up & 1ull << i) || (unsigned)__builtin_popcountll(draining) >= w->o.nodes)
		return;
	w->faults.draining = draining;
	node_set_draining(w->node[i].node, true);
	trace_note(&w->trace, w->now_ns, i, "drains at last");
}

void faults_undrain(struct world *w)
{
	for (; w->faults.draining != 0; w->faults.draining &= w->faults.draining - 1) {
		unsigned i = (unsigned)__builtin_ctzll(w->faults.draining);
		node_set_draining(w->node[i].node, false);
		back(w, i);
		trace_note(&w->trace, w->now_ns, i, "drains no more");
	}
}

void faults_heal(struct world *w)
{
	w->healed = true;
	trace_note(&w->trace, w->now_ns, 255, "all is healed");
	for (unsigned serial = 1; serial <= w->faults.n; serial++) {
		struct fault *f = &w->faults.list[serial];
		if (!f->active)
			continue;
		if (f->kind == FAULT_RECONFIGURE) {
			for (unsigned i = 0; i < 2 * w->o.nodes; i++)
				node_run_reconfigure(w, i % w->o.nodes, w->newest);
			f->active = false;
		} else if (f->kind == FAULT_DRAIN) {
			w->faults.draining |= 1ull << f->node;
			f->active = false;
		} else if (f->kind == FAULT_RESTART) {
			if (w->node[f->node].state != NODE_OFF)
				node_run_kill(w, f->node);
			node_run_start(w, f->node);
			back(w, f->node);
			f->active = false;
		} else {
			end(w, f);
		}
	}
	drain_at_last(w);
}
