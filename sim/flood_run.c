// SPDX-License-Identifier: BSD-3-Clause
#include "sim/flood_run.h"

#include "sim/report.h"
#include "sim/world.h"

#define BEFORE_NS SEC // connections are there, and announced
#define LONG_NS SEC // of a flood
#define MOVE_EVERY_NS (20 * MS) // a port goes down, or up again
#define PAIRS_TRIES (1 << 26)
#define PULL_MOST_NS (5 * MS) // of 99 in 100 valid ones

// A rack as one would build it, on good links; k is 1, so that many flows that move have to be pulled.
static struct world *rack_new(const struct flood_run *f)
{
	struct overrides fixed = OVERRIDES_NONE;
	struct options o;

	fixed.nodes = (int)f->nodes;
	fixed.k = fixed.workers = 1;
	fixed.durability = DURABILITY_ASYNC;
	fixed.model = ECMP_RESILIENT;
	fixed.fields = ECMP_OUTSIDE_ENDPOINT;
	fixed.prediction = PREDICTION_NONE;
	fixed.faults = 0;
	options_draw(&o, f->seed, &fixed);
	options_plain(&o);
	o.heartbeat_ms = 20;
	o.dead_after_ms = 100;
	o.flush_us = 200;
	o.connections = 16384;
	o.hosts.clients = 500;
	o.hosts.servers = 16;
	o.hosts.opens_per_s = 600;
	o.hosts.connections_max = 1000;
	o.hosts.request_reply_percent = 60;
	o.hosts.idle_percent = 60;
	o.hosts.idle_max_ms = 400;
	return world_new(&o, NULL);
}

struct cost {
	uint64_t control[SIM_NODES_MAX], pulled[CHECK_PULL_TICKS + 1], at_ns;
};

static void take(const struct world *w, struct cost *c)
{
	for (unsigned i = 0; i < w->o.nodes; i++)
		c->control[i] = w->node[i].control;
	for (unsigned t100 = 0; t100 <= CHECK_PULL_TICKS; t100++)
		c->pulled[t100] = w->check.pulled[t100];
	c->at_ns = w->now_ns;
}

// The time within which `percent` of the pulls between the two were answered.
static uint64_t pull_ns(
	const struct cost *before, const struct cost *after, unsigned percent, uint64_t *n)
{
	uint64_t all = 0, sum = 0;

	for (unsigned t = 0; t <= CHECK_PULL_TICKS; t++)
		all += after->pulled[t] - before->pulled[t];
	*n = all;
	for (unsigned t = 0; t <= CHECK_PULL_TICKS; t++) {
		sum += after->pulled[t] - before->pulled[t];
		if (all > 0 && sum * 100 >= all * percent)
			return (t + 1) * CHECK_PULL_TICK_NS;
	}
	return 0;
}

static void storm(struct world *w)
{
	uint64_t end_ns = w->now_ns + LONG_NS;
	unsigned victim = w->o.nodes - 1, moves = 0;

	while (w->now_ns < end_ns) {
		unsigned port = rng_below(&w->move_rng, victim);
		if (!w->port[port].flapped)
			faults_make(w, FAULT_FLAP, port, MOVE_EVERY_NS / MS - 5);
		if (++moves == LONG_NS / MOVE_EVERY_NS / 2)
			faults_make(w, FAULT_KILL, victim, 0);
		world_until(w, w->now_ns + MOVE_EVERY_NS);
	}
}

static json_t *costs(
	const struct world *w, const struct cost *before, const struct cost *after, uint64_t memory)
{
	uint64_t most = 0, n, p50 = pull_ns(before, after, 50, &n);
	uint64_t p99 = pull_ns(before, after, 99, &n), ns = after->at_ns - before->at_ns;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		uint64_t sent = after->control[i] - before->control[i];
		most = sent > most ? sent : most;
	}
	// Valid traffic is so little here that it has room in what the configuration allows.
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "kind",
		flood_names[w->flood.kind], "per_s", (json_int_t)w->flood.per_s, "sent",
		(json_int_t)w->flood.sent, "control_per_s", (json_int_t)(most * SEC / ns),
		"control_bound_per_s", (json_int_t)check_control_bound(w, SEC, 0), "memory_bytes",
		(json_int_t)memory, "pulls", (json_int_t)n, "pull_p50_ms", (double)p50 / 1e6,
		"pull_p99_ms", (double)p99 / 1e6);
}

static long long whole(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

static uint64_t memory_of(const struct world *w)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < w->o.nodes; i++)
		sum += w->node[i].size;
	return sum;
}

static void one(const struct flood_run *f, json_t *report, enum flood_kind kind, uint32_t per_s)
{
	static struct cost before, after;
	struct world *w = rack_new(f);

	world_until(w, w->now_ns + SEC);
	world_hosts_start(w);
	world_until(w, w->now_ns + BEFORE_NS);
	if (kind == FLOOD_COLLIDING)
		flood_find_pairs(w, PAIRS_TRIES);
	uint64_t memory = memory_of(w);
	take(w, &before);
	w->o.flood_per_s = per_s;
	w->o.flood_kind = kind;
	faults_make(w, FAULT_FLOOD, 0, LONG_NS / MS);
	storm(w);
	take(w, &after);
	check_control(w);
	json_t *cost = costs(w, &before, &after, memory);
	world_finish(w);
	json_object_set_new(cost, "broken", json_integer((json_int_t)w->check.broken));
	json_object_set_new(cost, "broken_beyond_contract",
		json_integer((json_int_t)(w->check.broken - w->check.excused)));
	if (whole(cost, "pulls") == 0)
		check_violation(w, "pulls", NULL, 0, "nothing had to be pulled: nothing is shown");
	if (json_real_value(json_object_get(cost, "pull_p99_ms")) * 1e6 > PULL_MOST_NS)
		check_violation(
			w, "pulls", NULL, 0, "one pull in a hundred takes longer than 5 ms");
	if (whole(cost, "control_per_s") > whole(cost, "control_bound_per_s"))
		check_violation(w, "control", NULL, 0, "a flood grows into messages between nodes");
	json_array_append_new(json_object_get(report, "floods"), cost);
	json_t *all = report_of(w, "");
	json_array_extend(
		json_object_get(report, "violations"), json_object_get(all, "violations"));
	json_decref(all);
	world_free(w);
	if (f->progress != NULL)
		fprintf(f->progress, "%s at %u packets/s is done\n", flood_names[kind], per_s);
}

json_t *flood_run(const struct flood_run *f)
{
	json_t *report = json_pack("{s:[], s:[]}", "floods", "violations");

	for (unsigned kind = 0; kind < FLOOD_MIXED; kind++) {
		for (uint32_t part = 100; part > 0; part /= 10)
			one(f, report, (enum flood_kind)kind, f->per_s / part);
	}
	return report;
}

void flood_run_print(const json_t *report, FILE *to)
{
	size_t i;
	json_t *v;

	fprintf(to, "%-10s %10s %14s %10s %8s %8s %8s %8s %10s\n", "flood", "packets/s",
		"messages/s", "at most", "pulls", "p50 ms", "p99 ms", "broken", "memory MB");
	json_array_foreach(json_object_get(report, "floods"), i, v)
	{
		fprintf(to, "%-10s %10lld %14lld %10lld %8lld %8.1f %8.1f %8lld %10.1f\n",
			json_string_value(json_object_get(v, "kind")), whole(v, "per_s"),
			whole(v, "control_per_s"), whole(v, "control_bound_per_s"),
			whole(v, "pulls"), json_real_value(json_object_get(v, "pull_p50_ms")),
			json_real_value(json_object_get(v, "pull_p99_ms")), whole(v, "broken"),
			(double)whole(v, "memory_bytes") / 1e6);
	}
	json_array_foreach(json_object_get(report, "violations"), i, v) fprintf(to,
		"VIOLATION of %s: %s\n", json_string_value(json_object_get(v, "checker")),
		json_string_value(json_object_get(v, "what")));
}
